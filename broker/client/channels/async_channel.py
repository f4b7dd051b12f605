"""One channel as the async client shows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from datetime import datetime
from typing import Any

from broker.client import options
from broker.client.async_calls import AsyncCalls
from broker.client.bulk import BulkBatches, BulkColumns
from broker.client.channels import plans
from broker.client.channels.event import Event
from broker.client.channels.published import AsyncBulkPublishConfirm, AsyncPublishConfirm
from broker.client.channels.wording import channel_settings
from broker.client.content import Headers
from broker.client.put_batch import MessageId
from broker.client.putting import AsyncPutting
from broker.limits import BATCH_COUNT_DEFAULT


class AsyncChannel(AsyncPutting):
    """Made by ``AsyncClient.channel``; for the tasks of one event loop.  Times are in seconds."""

    def __init__(self, calls: AsyncCalls, name: str) -> None:
        self.name = name
        self._calls = calls
        self._puts = calls.session.puts.channel(name)

    async def publish(
        self,
        body: Any,
        headers: Headers | None = None,
        *,
        type: str | None = None,  # noqa: A002
        content_type: str | None = None,
        key: MessageId | None = None,
    ) -> AsyncPublishConfirm:
        """Publishes one message and returns at once; the confirm tells its sequence, and how many
        subscriptions it goes to.

        Blocks while too much is unconfirmed.  Raises CannotEncode and TooLarge for this message,
        and the error of an earlier put or publish whose confirm nobody waited for.
        """
        element, size, content_type = options.put_element(body, headers, content_type)
        columns = options.put_columns(None, key)
        names = () if columns is None else tuple(columns)
        spec = options.put_spec(content_type, None, None, None, None, type, names)
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
                # A task that publishes without an end lets the others run once a batch.
                await asyncio.sleep(0)
        return AsyncPublishConfirm(calls, self.name, batch, count - 1)

    async def publish_many(
        self,
        bodies: Iterable[Any],
        batch: int = BATCH_COUNT_DEFAULT,
        *,
        headers: Headers | None = None,
        type: str | None = None,  # noqa: A002
        content_type: str | None = None,
        keys: Iterable[MessageId] | None = None,
    ) -> AsyncBulkPublishConfirm:
        """Publishes all of ``bodies`` in batches; one confirm for all of them.

        The options hold for every message; ``keys`` have a value for each.
        """
        columns = BulkColumns(None, keys, None)
        shared = options.put_spec(None, None, None, None, None, type, columns.names)
        bulk = BulkBatches(self._puts.name, shared, headers, content_type)
        sent = await self._put_all(bulk.cut(bodies, columns, batch))
        return AsyncBulkPublishConfirm(self._calls, self.name, sent)

    async def history(
        self,
        after: int | None = None,
        *,
        since: float | datetime | None = None,
        max: int | None = None,  # noqa: A002
    ) -> AsyncGenerator[Event, None]:
        """What the channel keeps, in order: behind a sequence, or from an instant on.

        It is read page by page as the iteration goes on.
        """
        since_ms = None if since is None else options.instant_ms(since)
        reading = plans.HistoryReading(self.name, after, since_ms, max)
        while (fields := reading.command()) is not None:
            for event in reading.take(await self._calls.ask(fields)):
                yield event

    async def last(self) -> Event | None:
        """The newest message that the channel keeps."""
        return await self._calls.carry_out(plans.last(self.name))

    async def stats(self) -> dict[str, Any]:
        """How far it is, what it keeps, who subscribes, and its settings, in milliseconds."""
        return await self._calls.carry_out(plans.stats(self.name))

    async def update(
        self,
        *,
        history: int | bool | None = None,
        history_age: float | None = None,
        history_bytes: int | None = None,
        durable: bool | None = None,
    ) -> dict[str, Any]:
        """Changes these settings; gives all of them, in milliseconds."""
        changes = channel_settings(history, history_age, history_bytes, durable)
        return await self._calls.carry_out(plans.update(self.name, changes))

    async def delete(self) -> int:
        """Deletes the channel and its history; gives how many messages were kept."""
        return await self._calls.carry_out(plans.delete(self.name))

    def __repr__(self) -> str:
        return f"<AsyncChannel {self.name!r}>"
