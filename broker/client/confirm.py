"""Confirms of puts: what came of one message, or of many.

Owns nothing but the way back to the batch.  An ignored confirm is fine: its error is raised by
the client's next put, flush or close, or told to ``on_error``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.client.put_batch import PutBatch, PutResult

if TYPE_CHECKING:
    from broker.client.async_calls import AsyncCalls
    from broker.client.sync_calls import SyncCalls


class BatchResult(NamedTuple):
    """Where a whole batch is kept.  ``first`` is None for one that the broker had already.

    ``duplicates`` are the indices of messages that were not taken for their ids; the others have
    positions from ``first`` on, without a gap.
    """

    queue: str
    first: int | None
    messages: int
    copies: int
    duplicate: bool
    duplicates: tuple[int, ...] = ()


class Confirm:
    """Of one ``put``."""

    __slots__ = ("_batch", "_calls", "_index")

    def __init__(self, calls: SyncCalls, batch: PutBatch, index: int) -> None:
        self._calls = calls
        self._batch = batch
        self._index = index

    @property
    def done(self) -> bool:
        """True when the put is on disk, or has failed for good."""
        return self._batch.done

    def wait(self, timeout: float | None = None) -> PutResult:
        """Waits until the message is on disk; raises why it is not, or WaitTimeout."""
        self._calls.wait_for_puts([self._batch], timeout)
        return self._batch.part(self._index)


class BulkConfirm:
    """Of one ``put_many``."""

    __slots__ = ("_batches", "_calls")

    def __init__(self, calls: SyncCalls, batches: list[PutBatch]) -> None:
        self._calls = calls
        self._batches = batches

    @property
    def done(self) -> bool:
        return all(batch.done for batch in self._batches)

    def wait(self, timeout: float | None = None) -> list[BatchResult]:
        """Waits until all are on disk; raises the first error, or WaitTimeout."""
        self._calls.wait_for_puts(self._batches, timeout)
        return [batch_result(leaf) for batch in self._batches for leaf in batch.leaves]


class AsyncConfirm:
    """Of one ``await put``."""

    __slots__ = ("_batch", "_calls", "_index")

    def __init__(self, calls: AsyncCalls, batch: PutBatch, index: int) -> None:
        self._calls = calls
        self._batch = batch
        self._index = index

    @property
    def done(self) -> bool:
        """True when the put is on disk, or has failed for good."""
        return self._batch.done

    async def wait(self, timeout: float | None = None) -> PutResult:  # noqa: ASYNC109
        """Waits until the message is on disk; raises why it is not, or WaitTimeout."""
        await self._calls.wait_for_puts([self._batch], timeout)
        return self._batch.part(self._index)


class AsyncBulkConfirm:
    """Of one ``await put_many``."""

    __slots__ = ("_batches", "_calls")

    def __init__(self, calls: AsyncCalls, batches: list[PutBatch]) -> None:
        self._calls = calls
        self._batches = batches

    @property
    def done(self) -> bool:
        return all(batch.done for batch in self._batches)

    async def wait(self, timeout: float | None = None) -> list[BatchResult]:  # noqa: ASYNC109
        """Waits until all are on disk; raises the first error, or WaitTimeout."""
        await self._calls.wait_for_puts(self._batches, timeout)
        return [batch_result(leaf) for batch in self._batches for leaf in batch.leaves]


def batch_result(batch: PutBatch) -> BatchResult:
    header = batch.value()
    return BatchResult(
        batch.queue,
        header.get("first"),
        batch.count,
        header.get("copies", 1),
        bool(header.get("duplicate", False)),
        tuple(header.get("duplicates", ())),
    )
