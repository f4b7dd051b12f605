"""The effect of a message once, however often it is delivered.

    inbox = Inbox(sqlite3.connect("shop.db"))

    for message in mq.queue("payments").consume():
        with inbox.once(message) as is_new:
            if is_new:
                inbox.db.execute("UPDATE account SET balance = balance + ?", (message.body,))

The block is one transaction of the database: the effect and the note that this message had it.
At its end the transaction is committed, and only then the message acked.  A consumer that dies
between the two gets the message again, finds the note, and acks.  An exception undoes both, and
gives the message back.

Law: of two consumers with one message the database lets one in; the other waits for it, and finds
the note or does it itself.  Effects outside of the database are not undone.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from broker.client.message import Message
from broker.client.view import MessageView

_CREATE = """
CREATE TABLE IF NOT EXISTS {table} (
    message VARCHAR(700) PRIMARY KEY,
    at DOUBLE PRECISION NOT NULL
)
"""


def identity(message: MessageView) -> str:
    """What is the same for each delivery of a message, and for no other message of the queue.

    That is the application's id where the queue knows it (``dedup``, ``index_ids``).  Else it is
    position and time of the put: a queue that is deleted and made anew begins at position 0 again.
    """
    name = message.id.decode("latin-1") if isinstance(message.id, bytes) else message.id
    if name != f"{message.queue}:{message.position}":
        return f"{message.queue} {name}"
    return f"{name}@{message.put_at}"


class Inbox:
    """``db`` is any DB-API connection that is not in autocommit, for one thread at a time.

    ``placeholder`` is its driver's mark of a parameter: ``?``, or ``%s`` as in PostgreSQL's.
    ``key`` tells messages apart, where they are not what ``identity`` takes them for.
    """

    def __init__(
        self,
        db: Any,
        *,
        table: str = "inbox",
        placeholder: str = "?",
        key: Callable[[MessageView], str] = identity,
    ) -> None:
        if _is_in_autocommit(db):
            raise ValueError("the connection is in autocommit: note and effect would be two things")
        self.db = db
        self._table = table
        self._mark = placeholder
        self._key = key
        db.cursor().execute(_CREATE.format(table=table))
        db.commit()

    @contextmanager
    def once(self, message: Message) -> Iterator[bool]:
        """Gives whether the message is new, for a block that works in the same transaction.

        The message is acked at the end of the block, and given back when an exception leaves it.
        """
        with message, self.noted(message) as is_new:
            yield is_new

    @contextmanager
    def noted(self, message: MessageView) -> Iterator[bool]:
        """As ``once``, and leaves the message to the caller: for ``AsyncMessage``, and for batches.

        The transaction is committed at the end of the block, and undone by an exception.
        """
        try:
            is_new = self.note(message)
            yield is_new
        except BaseException:
            self.db.rollback()
            raise
        self.db.commit()

    def note(self, message: MessageView) -> bool:
        """Notes the message in the open transaction; False when that was done before.

        The transaction is the caller's to commit, before the ack, or to roll back: after False
        there is nothing in it, so it is called first.
        """
        try:
            self.db.cursor().execute(
                f"INSERT INTO {self._table} VALUES ({self._mark}, {self._mark})",
                (self._key(message), time.time()),
            )
        except self.db.IntegrityError:
            self.db.rollback()
            return False
        return True

    def forget(self, older_than: float) -> int:
        """Removes notes of so many seconds ago; gives how many.

        What is forgotten is new again, so keep them for longer than a message may wait, with its
        delays, retries and time among the dead letters.
        """
        cursor = self.db.cursor()
        cursor.execute(
            f"DELETE FROM {self._table} WHERE at < {self._mark}", (time.time() - older_than,)
        )
        self.db.commit()
        return int(cursor.rowcount)


def _is_in_autocommit(db: Any) -> bool:
    if isinstance(db, sqlite3.Connection):
        # Python 3.12 has an attribute for it; -1 there means the rule of older ones.
        return db.isolation_level is None and getattr(db, "autocommit", -1) in (-1, True)
    return getattr(db, "autocommit", False) is True
