"""The sync client: connects, gives queues, flushes and closes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from broker.client import definitions
from broker.client.channels.sync_methods import ChannelMethods
from broker.client.definitions import Definitions, Imported
from broker.client.options import addresses_of, maybe_milliseconds, milliseconds, settings_map
from broker.client.outcome import all_done
from broker.client.services.sync_services import ServiceMethods
from broker.client.session import CLOSE_S, Session, SessionOptions
from broker.client.sync_calls import SyncCalls
from broker.client.sync_driver import OnError, log
from broker.client.sync_queue import Queue
from broker.client.transaction import Transaction
from broker.errors import ConnectionLost, MsgQueueError, WaitTimeout
from broker.limits import BATCH_COUNT_DEFAULT, MIB
from broker.names import require_name


class Client(ChannelMethods, ServiceMethods):
    """A connection to a broker that mends itself.  Safe to use from many threads.

    ``address`` may list several brokers with commas between them: the first that answers is
    used, and the next when it is lost.  Times are in seconds.

    - ``put_timeout``: how long one put is tried, over reconnects and refusals that may pass;
      then its confirm fails.  None tries for ever.
    - ``request_timeout``: the same for every other command.
    - ``retry``: names of further refusals that a put is to sit out, such as ``queue_full``.
    - ``on_error``: told of failed puts whose confirm nobody waits for and of lost leases.
      Without it the former are raised by the next ``put``, ``flush`` or ``close``, and the
      latter are logged.  It is called by a thread of the client's.
    - ``producer``: a name under which this client puts, over restarts.  The newest client of the
      name fences the others: their puts raise ProducerFenced.

    A client does not survive a fork: used in the child it raises ForkedClient.
    """

    def __init__(
        self,
        address: str = "tcp://127.0.0.1:5570",
        *,
        name: str = "python",
        connect_timeout: float | None = 10.0,
        request_timeout: float = 30.0,
        put_timeout: float | None = 120.0,
        session_timeout: float = 15.0,
        linger: float = 0.005,
        batch: int = BATCH_COUNT_DEFAULT,
        unconfirmed_bytes_max: int = 64 * MIB,
        retry: Iterable[str] = (),
        on_error: OnError | None = None,
        producer: str | None = None,
    ) -> None:
        session_options = SessionOptions(
            addresses=addresses_of(address),
            name=name,
            session_timeout_ms=milliseconds(session_timeout),
            linger_ms=milliseconds(linger),
            batch_count=batch,
            unconfirmed_bytes_max=unconfirmed_bytes_max,
            put_timeout_ms=maybe_milliseconds(put_timeout),
            retried=frozenset(retry),
            tells_failed_puts=on_error is not None,
            producer=producer and require_name(producer),
            started_at_ms=time.time_ns() // 1_000_000,
        )
        self._calls = self._make_calls(session_options, on_error, request_timeout)
        self._calls.start()
        self._connect(address, connect_timeout)

    def queue(self, name: str, **settings: Any) -> Queue:
        """The queue called ``name``; with settings it is declared first.

        ``lease``, ``ttl``, ``delay``, ``backoff``, ``backoff_max`` and ``dedup_window`` are in
        seconds; ``docs/clients.md`` lists all settings.  Raises SettingsMismatch when it exists
        with others.
        """
        require_name(name)
        if settings:
            fields = {"cmd": "declare", "queue": name, "settings": settings_map(settings)}
            self._calls.ask(fields)
        return Queue(self._calls, name)

    def queues(self) -> list[str]:
        """The names of all queues, in order."""
        return self._calls.carry_out(definitions.list_queues())

    def stats(self) -> dict[str, Any]:
        """What the broker counts over all queues."""
        return self._calls.carry_out(definitions.all_stats())

    def export(self) -> Definitions:
        """The definitions of all queues: names and settings, none of the messages."""
        return self._calls.carry_out(definitions.export())

    def import_(self, exported: Definitions, update: bool = False) -> Imported:
        """Declares what was exported; with ``update`` also changes queues that differ."""
        return self._calls.carry_out(definitions.import_(exported, update))

    def transaction(self) -> Transaction:
        """Settles and puts that happen together: ``with mq.transaction() as tx``.

        ``tx.ack(message)`` and ``tx.put(queue, body)`` gather; the end of the block commits.
        """
        return Transaction(self._calls)

    def flush(self, timeout: float | None = None) -> None:
        """Sends all that is gathered and waits until the broker has it on disk.

        It waits for what was put and settled before it was called.  Raises the error of a put
        whose confirm nobody waited for, or WaitTimeout.
        """
        calls = self._calls
        with calls.changing:
            calls.require_open()
            calls.session.flush()
            unconfirmed = calls.session.unconfirmed
        if not calls.wait(all_done(unconfirmed), timeout):
            raise WaitTimeout("not all is confirmed in time; the client goes on trying")
        with calls.changing:
            calls.raise_ignored()

    @property
    def counters(self) -> dict[str, int]:
        """What happened to this client, in numbers that only grow."""
        return self._calls.session.counters.as_map()

    @property
    def is_connected(self) -> bool:
        return self._calls.session.is_connected

    def close(self, timeout: float = CLOSE_S) -> None:
        """Flushes, says bye and closes; messages still held go back to their queues.

        Raises afterwards: ConnectionLost when not all was confirmed in time, or the error of a
        put whose confirm nobody waited for.
        """
        self._calls.end(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except MsgQueueError as closing:
            # The error that ended the block is the one to be seen.
            log.warning("closing after an error: %s: %s", closing.name, closing)

    def _make_calls(
        self, options: SessionOptions, on_error: OnError | None, request_timeout: float
    ) -> SyncCalls:
        """What carries the calls out; a broker in memory has its own."""
        session = Session(options, os.urandom)
        return SyncCalls(session, on_error, options.linger_ms, request_timeout)

    def _connect(self, address: str, timeout: float | None) -> None:
        calls = self._calls
        try:
            if calls.wait(lambda: self.is_connected, timeout):
                return
        except BaseException:
            calls.close()
            raise
        trouble = calls.session.connection.trouble or "no answer"
        calls.close()
        raise ConnectionLost(f"no broker at {address}: {trouble}")
