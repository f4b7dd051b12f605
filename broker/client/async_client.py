"""The async client: the methods of ``Client``, awaited, in one event loop."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from broker.client import definitions
from broker.client.async_calls import AsyncCalls
from broker.client.async_driver import OnError, log
from broker.client.async_queue import AsyncQueue
from broker.client.channels.async_methods import AsyncChannelMethods
from broker.client.definitions import Definitions, Imported
from broker.client.options import (
    addresses_of,
    maybe_milliseconds,
    milliseconds,
    settings_map,
)
from broker.client.services.async_services import AsyncServiceMethods
from broker.client.session import BYE_S, CLOSE_S, Session, SessionOptions
from broker.client.transaction import AsyncTransaction
from broker.errors import ClientClosed, ConnectionLost, MsgQueueError, WaitTimeout
from broker.limits import BATCH_COUNT_DEFAULT, MIB
from broker.names import require_name


class AsyncClient(AsyncChannelMethods, AsyncServiceMethods):
    """A connection to a broker that mends itself, for the tasks of one event loop.

    ``async with AsyncClient(address) as mq`` connects and closes; without it call ``connect``
    first.  The options are those of ``Client``.
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
        self._options = SessionOptions(
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
        self._on_error = on_error
        self._connect_timeout = connect_timeout
        self._request_timeout = request_timeout
        self._made: AsyncCalls | None = None

    async def connect(self) -> None:
        """Connects to the first broker that answers; raises ConnectionLost when none does."""
        if self._made is not None:
            return
        calls = self._made = self._make_calls()
        connection = calls.session.connection
        connected = False
        try:
            connected = await calls.wait(
                lambda: connection.is_open, connection.waiters, self._connect_timeout
            )
        finally:
            if not connected:
                calls.close()
        if not connected:
            places = ", ".join(self._options.addresses)
            raise ConnectionLost(f"no broker at {places}: {connection.trouble or 'no answer'}")

    async def queue(self, name: str, **settings: Any) -> AsyncQueue:
        """The queue called ``name``; with settings it is declared first (see ``Client.queue``)."""
        require_name(name)
        if settings:
            fields = {"cmd": "declare", "queue": name, "settings": settings_map(settings)}
            await self._calls.ask(fields)
        return AsyncQueue(self._calls, name)

    async def queues(self) -> list[str]:
        """The names of all queues, in order."""
        return await self._calls.carry_out(definitions.list_queues())

    async def stats(self) -> dict[str, Any]:
        """What the broker counts over all queues."""
        return await self._calls.carry_out(definitions.all_stats())

    async def export(self) -> Definitions:
        """The definitions of all queues: names and settings, none of the messages."""
        return await self._calls.carry_out(definitions.export())

    async def import_(self, exported: Definitions, update: bool = False) -> Imported:
        """Declares what was exported; with ``update`` also changes queues that differ."""
        return await self._calls.carry_out(definitions.import_(exported, update))

    def transaction(self) -> AsyncTransaction:
        """Settles and puts that happen together: ``async with mq.transaction() as tx``.

        ``tx.ack(message)`` and ``tx.put(queue, body)`` gather; the end of the block commits.
        """
        return AsyncTransaction(self._calls)

    async def flush(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Sends all that is gathered and waits until the broker has it on disk.

        It waits for what was put and settled before it was called.  Raises the error of a put
        whose confirm nobody waited for, or WaitTimeout.
        """
        calls = self._calls
        calls.require_open()
        calls.session.flush()
        if not await calls.wait_for(calls.session.unconfirmed, timeout):
            raise WaitTimeout("not all is confirmed in time; the client goes on trying")
        calls.raise_ignored()

    @property
    def counters(self) -> dict[str, int]:
        """What happened to this client, in numbers that only grow."""
        return self._calls.session.counters.as_map()

    @property
    def is_connected(self) -> bool:
        return self._made is not None and self._made.session.is_connected

    async def close(self, timeout: float = CLOSE_S) -> None:  # noqa: ASYNC109
        """Flushes, says bye and closes; messages still held go back to their queues.

        Raises afterwards: ConnectionLost when not all was confirmed in time, or the error of a
        put whose confirm nobody waited for.
        """
        calls = self._made
        if calls is None or calls.is_closed or calls.is_forked:
            return
        try:
            await calls.close_parts(timeout)
            calls.session.consumers.leave_all()
            calls.session.flush()
            await calls.wait_for(calls.session.unconfirmed, timeout)
            await calls.wait_for(calls.session.say_bye(calls.now_ms()), BYE_S)
        finally:
            calls.close()
        calls.session.require_confirmed()
        calls.raise_ignored()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self.close()
            return
        try:
            await self.close()
        except MsgQueueError as closing:
            # The error that ended the block is the one to be seen.
            log.warning("closing after an error: %s: %s", closing.name, closing)

    def _make_calls(self) -> AsyncCalls:
        """What carries the calls out; a broker in memory has its own."""
        session = Session(self._options, os.urandom)
        return AsyncCalls(session, self._on_error, self._request_timeout)

    @property
    def _calls(self) -> AsyncCalls:
        if self._made is None:
            raise ClientClosed("not connected: use 'async with', or await connect() first")
        return self._made
