"""Messages of a database transaction: put when it is committed, never before, and never lost.

    with db:                                             # the application's own transaction
        db.execute("INSERT INTO orders VALUES (?, ?)", (17, "book"))
        Outbox(db).put("orders", {"order": 17})          # a row beside it, nothing more

    Relay(mq, lambda: sqlite3.connect("shop.db")).run()  # a process or thread of its own

To put and to commit in turn would lose one of the two when the program dies between them.  So the
message is a row of the same transaction, and the relay puts what it finds there, removing it when
the broker has confirmed.

Law: a row is removed after its confirm, so a relay that dies puts some rows again.  Each has an id
of its own: a queue with ``dedup="window"`` takes it once, if the relay is back within the window.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from broker.client.content import Headers, encode_body, require_headers
from broker.client.sync_client import Client
from broker.names import require_name
from patterns.work_queue import stopped_by_signals

#: For other databases: the same columns, ``number`` growing by itself.
CREATE = """
CREATE TABLE IF NOT EXISTS {table} (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id VARCHAR(255) NOT NULL,
    queue VARCHAR(255) NOT NULL,
    body BLOB NOT NULL,
    content_type VARCHAR(255),
    headers TEXT,
    ordering_key VARCHAR(255)
)
"""
_COLUMNS = "id, queue, body, content_type, headers, ordering_key"
_ROWS_MAX = 500


class Outbox:
    """``db`` is any DB-API connection; ``placeholder`` its mark of a parameter, ``?`` or ``%s``."""

    def __init__(self, db: Any, *, table: str = "outbox", placeholder: str = "?") -> None:
        self._db = db
        self._table = table
        self._marks = ", ".join([placeholder] * 6)

    def create(self) -> None:
        """Makes the table in SQLite, where it is not there."""
        self._db.cursor().execute(CREATE.format(table=self._table))
        self._db.commit()

    def put(
        self,
        queue: str,
        body: Any,
        headers: Headers | None = None,
        *,
        content_type: str | None = None,
        key: str | None = None,
        id: str | None = None,  # noqa: A002
    ) -> str:
        """Adds a message to the open transaction, and gives its id.  Headers are JSON values."""
        raw, content_type = encode_body(body, content_type)
        message_id = id or uuid.uuid4().hex
        packed = json.dumps(require_headers(headers)) if headers else None
        self._db.cursor().execute(
            f"INSERT INTO {self._table} ({_COLUMNS}) VALUES ({self._marks})",
            (message_id, require_name(queue), raw, content_type, packed, key),
        )
        return message_id


class Relay:
    """Puts what stands in an outbox.  One at a time, if the order of the rows is to be kept.

    ``connect`` makes a connection of the relay's own.  A row that the broker refuses for good ends
    ``run`` with the error, and waits: nothing behind it is skipped over.
    """

    def __init__(
        self,
        mq: Client,
        connect: Callable[[], Any],
        *,
        table: str = "outbox",
        placeholder: str = "?",
        poll: float = 0.2,
    ) -> None:
        self._mq = mq
        self._connect = connect
        self._table = table
        self._mark = placeholder
        self._poll = poll
        self._is_stopping = False

    def stop(self) -> None:
        """Ends ``run`` soon; from any thread, and from a signal handler."""
        self._is_stopping = True

    def run(self) -> None:
        """Relays until ``stop``, SIGTERM or Ctrl-C; raises what database and client raise."""
        db = self._connect()
        try:
            with stopped_by_signals(self.stop):
                while not self._is_stopping:
                    if not self.relay(db):
                        time.sleep(self._poll)
        finally:
            db.close()

    def relay(self, db: Any) -> int:
        """Puts the oldest rows, waits until they are on disk, removes them; gives how many."""
        cursor = db.cursor()
        cursor.execute(f"SELECT number, {_COLUMNS} FROM {self._table} ORDER BY number")
        rows = cursor.fetchmany(_ROWS_MAX)
        # The database is not to wait for the broker.
        db.rollback()
        for row in rows:
            self._put(*row[1:])
        # Raises what was refused, and nothing is removed.
        self._mq.flush()
        self._remove(db, [row[0] for row in rows])
        return len(rows)

    def _put(
        self,
        message_id: str,
        queue: str,
        body: bytes,
        content_type: str | None,
        headers: str | None,
        key: str | None,
    ) -> None:
        self._mq.queue(queue).put(
            bytes(body),
            json.loads(headers) if headers else None,
            content_type=content_type,
            id=message_id,
            key=key,
        )

    def _remove(self, db: Any, numbers: Iterable[int]) -> None:
        """By their numbers: with a smaller one than these a transaction may be under way."""
        statement = f"DELETE FROM {self._table} WHERE number = {self._mark}"
        db.cursor().executemany(statement, [(number,) for number in numbers])
        db.commit()
