"""One queue as the async client shows it: the methods of ``Queue``, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from datetime import datetime
from typing import Any

from broker.client import options
from broker.client.async_calls import AsyncCalls
from broker.client.async_consume import iterate, iterate_batches
from broker.client.async_message import AsyncMessage, AsyncMessageBatch
from broker.client.async_operations import AsyncQueueOperations
from broker.client.bulk import BulkBatches, BulkColumns
from broker.client.codec import ELEMENT_OVERHEAD
from broker.client.confirm import AsyncBulkConfirm, AsyncConfirm
from broker.client.consumer import Consumer
from broker.client.content import Headers
from broker.client.credit import CreditWindow
from broker.client.put_batch import MessageId
from broker.client.putting import AsyncPutting
from broker.client.selector import Selector
from broker.limits import BATCH_COUNT_DEFAULT


class AsyncQueue(AsyncQueueOperations, AsyncPutting):
    """Made by ``AsyncClient.queue``; for the tasks of one event loop.  Times are in seconds."""

    def __init__(self, calls: AsyncCalls, name: str) -> None:
        super().__init__(calls, name)
        self._puts = calls.session.puts.queue(name)

    async def put(
        self,
        body: Any,
        headers: Headers | None = None,
        *,
        priority: int | None = None,
        delay: float | None = None,
        at: float | datetime | None = None,
        ttl: float | None = None,
        type: str | None = None,  # noqa: A002
        content_type: str | None = None,
        id: MessageId | None = None,  # noqa: A002
        key: MessageId | None = None,
    ) -> AsyncConfirm:
        """Puts one message and returns at once; the confirm tells when it is on disk.

        Blocks while too much is unconfirmed.  Raises CannotEncode and TooLarge for this
        message, and the error of an earlier put whose confirm nobody waited for.
        """
        element: Any
        if (
            body.__class__ is bytes
            and headers is None
            and type is None
            and content_type is None
            and id is None
            and key is None
            and priority is None
            and ttl is None
            and delay is None
            and at is None
        ):
            element, size, spec = body, len(body) + ELEMENT_OVERHEAD, options.PLAIN
            columns = None
        else:
            element, size, content_type = options.put_element(body, headers, content_type)
            columns = options.put_columns(id, key)
            names = () if columns is None else tuple(columns)
            spec = options.put_spec(content_type, priority, delay, at, ttl, type, names)
        calls = self._calls
        batch = self._puts.open
        count = batch.add(spec, element, size) if batch is not None else 0
        if batch is None or count == 0:
            batch = await self._open_batch(spec, size)
            count = batch.add_first(element, size)
        if columns is not None:
            batch.add_columns(columns)
        if count >= batch.full_at:
            self._puts.close()
            calls.turn()
            if count > 1:
                # A task that puts without an end lets the others run once a batch.
                await asyncio.sleep(0)
        return AsyncConfirm(calls, batch, count - 1)

    async def put_many(
        self,
        bodies: Iterable[Any],
        batch: int = BATCH_COUNT_DEFAULT,
        *,
        headers: Headers | None = None,
        priority: int | None = None,
        delay: float | None = None,
        at: float | datetime | Iterable[float | datetime | None] | None = None,
        ttl: float | None = None,
        type: str | None = None,  # noqa: A002
        content_type: str | None = None,
        ids: Iterable[MessageId] | None = None,
        keys: Iterable[MessageId] | None = None,
    ) -> AsyncBulkConfirm:
        """Puts all of ``bodies`` in batches; one confirm for all of them.

        The options hold for every message; ``ids``, ``keys``, and ``at`` where it is no single
        instant, have a value for each.
        """
        if isinstance(at, int | float | datetime):
            columns, of_all = BulkColumns(ids, keys, None), at
        else:
            columns, of_all = BulkColumns(ids, keys, at), None
        shared = options.put_spec(None, priority, delay, of_all, ttl, type, columns.names)
        bulk = BulkBatches(self.name, shared, headers, content_type)
        return AsyncBulkConfirm(self._calls, await self._put_all(bulk.cut(bodies, columns, batch)))

    def consume(
        self,
        *,
        credit: int | None = None,
        lease: float | None = None,
        auto_ack: bool = False,
        concurrency: int = 1,
        selector: Selector | None = None,
        priority: int | None = None,
        timeout: float | None = None,
        max: int | None = None,  # noqa: A002
    ) -> AsyncGenerator[AsyncMessage, None]:
        """Messages as they come; the iteration ends after ``max``, or ``timeout`` idle seconds.

        ``credit`` is how many messages this consumer has on hand, prefetched ones included; it
        adapts to the consumer's pace when None.  ``concurrency`` tells how many of them it
        works on at once.  ``selector`` takes only what matches; of consumers that wait, those
        with the highest ``priority`` (0 if not given) are served first.  With ``auto_ack`` a
        message is removed before it is delivered, so one that was prefetched and not looked at
        is lost.
        """
        window = options.credit_window(credit, concurrency, max)
        consumer = self._consumer(window, lease, auto_ack, concurrency, selector, priority)
        return iterate(self._calls, consumer, timeout, max)

    def consume_batches(
        self,
        max: int = BATCH_COUNT_DEFAULT,  # noqa: A002
        *,
        credit: int | None = None,
        lease: float | None = None,
        auto_ack: bool = False,
        concurrency: int = 1,
        selector: Selector | None = None,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[AsyncMessageBatch, None]:
        """As ``consume``, up to ``max`` messages at a time."""
        window = options.credit_window(credit, concurrency, None, batch=max)
        consumer = self._consumer(window, lease, auto_ack, concurrency, selector, priority)
        return iterate_batches(self._calls, consumer, max, timeout)

    async def get(
        self,
        timeout: float | None = 0,  # noqa: ASYNC109
        *,
        lease: float | None = None,
        auto_ack: bool = False,
        selector: Selector | None = None,
    ) -> AsyncMessage | None:
        """One message, or None when ``timeout`` seconds brought none (None waits for ever)."""
        messages = await self.get_many(
            1, timeout, lease=lease, auto_ack=auto_ack, selector=selector
        )
        return messages[0] if messages else None

    async def get_many(
        self,
        max: int,  # noqa: A002
        timeout: float | None = 0,  # noqa: ASYNC109
        *,
        lease: float | None = None,
        auto_ack: bool = False,
        selector: Selector | None = None,
    ) -> list[AsyncMessage]:
        """Up to ``max`` messages: as soon as there is one, what is there."""
        fields = options.get_command(self.name, max, lease, auto_ack, selector)
        runs = await self._calls.get(fields, timeout)
        return [AsyncMessage(self._calls, run, index) for run in runs for index in range(run.count)]

    def __repr__(self) -> str:
        return f"<AsyncQueue {self.name!r}>"

    def _consumer(
        self,
        window: CreditWindow,
        lease: float | None,
        auto_ack: bool,
        concurrency: int,
        selector: Selector | None,
        priority: int | None,
    ) -> Consumer:
        self._calls.require_open()
        return self._calls.session.consumers.add(
            self.name,
            window,
            options.maybe_milliseconds(lease),
            auto_ack,
            concurrency,
            options.preference(selector, priority),
        )
