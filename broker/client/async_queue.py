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
from broker.client.bulk import BulkBatches
from broker.client.codec import ELEMENT_OVERHEAD
from broker.client.confirm import AsyncBulkConfirm, AsyncConfirm
from broker.client.consumers import Consumer
from broker.client.content import Headers
from broker.client.credit import CreditWindow
from broker.client.pump import now_ms
from broker.client.put_batch import MessageId, PutBatch, PutSpec
from broker.limits import BATCH_COUNT_DEFAULT


class AsyncQueue:
    """Made by ``AsyncClient.queue``; for the tasks of one event loop.  Times are in seconds."""

    def __init__(self, calls: AsyncCalls, name: str) -> None:
        self.name = name
        self._calls = calls
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
            and priority is None
            and ttl is None
            and delay is None
            and at is None
        ):
            element, size, spec = body, len(body) + ELEMENT_OVERHEAD, options.PLAIN
        else:
            element, size, content_type = options.put_element(body, headers, content_type, id)
            spec = options.put_spec(content_type, priority, delay, at, ttl, type, id is not None)
        calls = self._calls
        batch = self._puts.open
        count = batch.add(spec, element, size) if batch is not None else 0
        if batch is None or count == 0:
            batch = await self._open_batch(spec, size)
            count = batch.add_first(element, size)
        if id is not None:
            batch.ids.append(id)
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
        at: float | datetime | None = None,
        ttl: float | None = None,
        type: str | None = None,  # noqa: A002
        content_type: str | None = None,
        ids: Iterable[MessageId] | None = None,
    ) -> AsyncBulkConfirm:
        """Puts all of ``bodies`` in batches; one confirm for all of them.

        The options hold for every message; ``ids`` has one for each.
        """
        shared = options.put_spec(None, priority, delay, at, ttl, type, ids is not None)
        calls = self._calls
        batches: list[PutBatch] = []
        for made in BulkBatches(self.name, shared, headers, content_type).cut(bodies, ids, batch):
            await self._room()
            self._puts.close()
            made.created_at = now_ms()
            self._puts.add(made)
            calls.turn()
            await asyncio.sleep(0)
            batches.append(made)
        return AsyncBulkConfirm(calls, batches)

    def consume(
        self,
        *,
        credit: int | None = None,
        lease: float | None = None,
        auto_ack: bool = False,
        concurrency: int = 1,
        timeout: float | None = None,
        max: int | None = None,  # noqa: A002
    ) -> AsyncGenerator[AsyncMessage, None]:
        """Messages as they come; the iteration ends after ``max``, or ``timeout`` idle seconds.

        ``credit`` is how many messages this consumer has on hand, prefetched ones included; it
        adapts to the consumer's pace when None.  ``concurrency`` tells how many of them it
        works on at once.  With ``auto_ack`` a message is removed before it is delivered, so one
        that was prefetched and not looked at is lost.
        """
        window = options.credit_window(credit, concurrency, max)
        consumer = self._consumer(window, lease, auto_ack, concurrency)
        return iterate(self._calls, consumer, timeout, max)

    def consume_batches(
        self,
        max: int = BATCH_COUNT_DEFAULT,  # noqa: A002
        *,
        credit: int | None = None,
        lease: float | None = None,
        auto_ack: bool = False,
        concurrency: int = 1,
        timeout: float | None = None,
    ) -> AsyncGenerator[AsyncMessageBatch, None]:
        """As ``consume``, up to ``max`` messages at a time."""
        window = options.credit_window(credit, concurrency, None, batch=max)
        consumer = self._consumer(window, lease, auto_ack, concurrency)
        return iterate_batches(self._calls, consumer, max, timeout)

    async def get(
        self,
        timeout: float | None = 0,  # noqa: ASYNC109
        *,
        lease: float | None = None,
        auto_ack: bool = False,
    ) -> AsyncMessage | None:
        """One message, or None when ``timeout`` seconds brought none (None waits for ever)."""
        messages = await self.get_many(1, timeout, lease=lease, auto_ack=auto_ack)
        return messages[0] if messages else None

    async def get_many(
        self,
        max: int,  # noqa: A002
        timeout: float | None = 0,  # noqa: ASYNC109
        *,
        lease: float | None = None,
        auto_ack: bool = False,
    ) -> list[AsyncMessage]:
        """Up to ``max`` messages: as soon as there is one, what is there."""
        runs = await self._calls.get(options.get_command(self.name, max, lease, auto_ack), timeout)
        return [AsyncMessage(self._calls, run, index) for run in runs for index in range(run.count)]

    async def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = (await self._calls.ask({"cmd": "stats", "queue": self.name}))[
            "stats"
        ]
        return stats

    async def purge(self) -> int:
        """Removes what is ready or delayed; gives how many messages that were."""
        count: int = (await self._calls.ask({"cmd": "purge", "queue": self.name}))["count"]
        return count

    async def delete(self, if_empty: bool = True) -> int:
        """Deletes the queue; raises QueueNotEmpty, unless ``if_empty`` is False."""
        fields = {"cmd": "delete", "queue": self.name, "if_empty": if_empty}
        count: int = (await self._calls.ask(fields))["count"]
        return count

    def __repr__(self) -> str:
        return f"<AsyncQueue {self.name!r}>"

    async def _open_batch(self, spec: PutSpec, size: int) -> PutBatch:
        """A fresh batch, once there is room for one."""
        options.require_size(size)
        await self._room()
        batch = self._puts.begin(spec, size, now_ms())
        if batch.full_at > 1:
            self._calls.soon()
        return batch

    async def _room(self) -> None:
        self._calls.require_open()
        self._calls.raise_ignored()
        if not self._puts.has_room:
            await self._calls.wait(lambda: self._puts.has_room, self._puts.waiters, None)

    def _consumer(
        self, window: CreditWindow, lease: float | None, auto_ack: bool, concurrency: int
    ) -> Consumer:
        self._calls.require_open()
        lease_ms = options.maybe_milliseconds(lease)
        consumers = self._calls.session.consumers
        return consumers.add(self.name, window, lease_ms, auto_ack, concurrency)
