"""One channel as the sync client shows it."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from datetime import datetime
from typing import Any

from broker.client import options
from broker.client.bulk import BulkBatches, BulkColumns
from broker.client.channels import plans
from broker.client.channels.event import Event
from broker.client.channels.published import BulkPublishConfirm, PublishConfirm
from broker.client.channels.wording import channel_settings
from broker.client.content import Headers
from broker.client.put_batch import MessageId
from broker.client.putting import Putting
from broker.client.sync_calls import SyncCalls
from broker.limits import BATCH_COUNT_DEFAULT


class Channel(Putting):
    """Made by ``Client.channel``; safe to use from many threads.  Times are in seconds."""

    def __init__(self, calls: SyncCalls, name: str) -> None:
        self.name = name
        self._calls = calls
        self._puts = calls.session.puts.channel(name)

    def publish(
        self,
        body: Any,
        headers: Headers | None = None,
        *,
        type: str | None = None,  # noqa: A002
        content_type: str | None = None,
        key: MessageId | None = None,
    ) -> PublishConfirm:
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
        while True:
            with calls.lock:
                batch = self._puts.open
                count = batch.add(spec, element, size) if batch is not None else 0
                if count == 0:
                    batch = self._open_batch(spec, size)
                    count = batch.add_first(element, size) if batch is not None else 0
                if batch is not None:
                    if columns is not None:
                        batch.add_columns(columns)
                    if count >= batch.full_at:
                        calls.send_batch(self._puts)
                        calls.keep_receiving(count > 1)
                    return PublishConfirm(calls, self.name, batch, count - 1)
            calls.wait(lambda: self._puts.has_room, None)

    def publish_many(
        self,
        bodies: Iterable[Any],
        batch: int = BATCH_COUNT_DEFAULT,
        *,
        headers: Headers | None = None,
        type: str | None = None,  # noqa: A002
        content_type: str | None = None,
        keys: Iterable[MessageId] | None = None,
    ) -> BulkPublishConfirm:
        """Publishes all of ``bodies`` in batches; one confirm for all of them.

        The options hold for every message; ``keys`` have a value for each.
        """
        columns = BulkColumns(None, keys, None)
        shared = options.put_spec(None, None, None, None, None, type, columns.names)
        bulk = BulkBatches(self._puts.name, shared, headers, content_type)
        sent = self._put_all(bulk.cut(bodies, columns, batch))
        return BulkPublishConfirm(self._calls, self.name, sent)

    def history(
        self,
        after: int | None = None,
        *,
        since: float | datetime | None = None,
        max: int | None = None,  # noqa: A002
    ) -> Generator[Event, None, None]:
        """What the channel keeps, in order: behind a sequence, or from an instant on.

        It is read page by page as the iteration goes on.
        """
        since_ms = None if since is None else options.instant_ms(since)
        reading = plans.HistoryReading(self.name, after, since_ms, max)
        while (fields := reading.command()) is not None:
            yield from reading.take(self._calls.ask(fields))

    def last(self) -> Event | None:
        """The newest message that the channel keeps."""
        return self._calls.carry_out(plans.last(self.name))

    def stats(self) -> dict[str, Any]:
        """How far it is, what it keeps, who subscribes, and its settings, in milliseconds."""
        return self._calls.carry_out(plans.stats(self.name))

    def update(
        self,
        *,
        history: int | bool | None = None,
        history_age: float | None = None,
        history_bytes: int | None = None,
        durable: bool | None = None,
    ) -> dict[str, Any]:
        """Changes these settings; gives all of them, in milliseconds."""
        changes = channel_settings(history, history_age, history_bytes, durable)
        return self._calls.carry_out(plans.update(self.name, changes))

    def delete(self) -> int:
        """Deletes the channel and its history; gives how many messages were kept."""
        return self._calls.carry_out(plans.delete(self.name))

    def __repr__(self) -> str:
        return f"<Channel {self.name!r}>"
