"""Confirms of publishes: what came of one message, or of many.

Owns nothing but the way back to the batch, as the confirms of puts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.client.channels.publishing import (
    PublishedBatch,
    PublishResult,
    published,
    published_batch,
)

if TYPE_CHECKING:
    from broker.client.async_calls import AsyncCalls
    from broker.client.put_batch import PutBatch
    from broker.client.sync_calls import SyncCalls


class PublishConfirm:
    """Of one ``publish``."""

    __slots__ = ("_batch", "_calls", "_channel", "_index")

    def __init__(self, calls: SyncCalls, channel: str, batch: PutBatch, index: int) -> None:
        self._calls = calls
        self._channel = channel
        self._batch = batch
        self._index = index

    @property
    def done(self) -> bool:
        """True when the broker has taken it, or it has failed for good."""
        return self._batch.done

    def wait(self, timeout: float | None = None) -> PublishResult:
        """Waits until the broker has taken it; raises why it has not, or WaitTimeout."""
        self._calls.wait_for_puts([self._batch], timeout)
        return published(self._channel, self._batch, self._index)


class BulkPublishConfirm:
    """Of one ``publish_many``."""

    __slots__ = ("_batches", "_calls", "_channel")

    def __init__(self, calls: SyncCalls, channel: str, batches: list[PutBatch]) -> None:
        self._calls = calls
        self._channel = channel
        self._batches = batches

    @property
    def done(self) -> bool:
        return all(batch.done for batch in self._batches)

    def wait(self, timeout: float | None = None) -> list[PublishedBatch]:
        """Waits until the broker has taken all; raises the first error, or WaitTimeout."""
        self._calls.wait_for_puts(self._batches, timeout)
        return [published_batch(self._channel, batch) for batch in self._batches]


class AsyncPublishConfirm:
    """Of one ``await publish``."""

    __slots__ = ("_batch", "_calls", "_channel", "_index")

    def __init__(self, calls: AsyncCalls, channel: str, batch: PutBatch, index: int) -> None:
        self._calls = calls
        self._channel = channel
        self._batch = batch
        self._index = index

    @property
    def done(self) -> bool:
        """True when the broker has taken it, or it has failed for good."""
        return self._batch.done

    async def wait(self, timeout: float | None = None) -> PublishResult:  # noqa: ASYNC109
        """Waits until the broker has taken it; raises why it has not, or WaitTimeout."""
        await self._calls.wait_for_puts([self._batch], timeout)
        return published(self._channel, self._batch, self._index)


class AsyncBulkPublishConfirm:
    """Of one ``await publish_many``."""

    __slots__ = ("_batches", "_calls", "_channel")

    def __init__(self, calls: AsyncCalls, channel: str, batches: list[PutBatch]) -> None:
        self._calls = calls
        self._channel = channel
        self._batches = batches

    @property
    def done(self) -> bool:
        return all(batch.done for batch in self._batches)

    async def wait(self, timeout: float | None = None) -> list[PublishedBatch]:  # noqa: ASYNC109
        """Waits until the broker has taken all; raises the first error, or WaitTimeout."""
        await self._calls.wait_for_puts(self._batches, timeout)
        return [published_batch(self._channel, batch) for batch in self._batches]
