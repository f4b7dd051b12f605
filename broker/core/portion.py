"""Some positions of one lane that share their fate: what a lease holds and what comes back."""

from __future__ import annotations

from broker.model.stored_batch import Extent, StoredBatch


class Portion:
    """``count`` positions from ``first`` with ``size`` bytes and the same attempts.

    ``extent`` covers the whole stored batches that they lie in; a batch is erased only when
    no portion covers it.  ``expires_at`` is 0 for never.
    """

    __slots__ = ("attempts", "count", "expires_at", "extent", "first", "size")

    def __init__(
        self, extent: Extent, first: int, count: int, size: int, expires_at: int, attempts: int
    ) -> None:
        self.extent = extent
        self.first = first
        self.count = count
        self.size = size
        self.expires_at = expires_at
        self.attempts = attempts

    @classmethod
    def of_batch(cls, batch: StoredBatch, first: int, count: int, attempts: int) -> Portion:
        extent = Extent(batch.lane, batch.first, batch.count)
        size = batch.bytes_between(first, count)
        return cls(extent, first, count, size, batch.expires_at, attempts)

    def bytes_between(self, first: int, count: int) -> int:
        """The share of ``size`` of a part; shares of disjoint parts add up exactly."""
        if count == self.count:
            return self.size
        low = first - self.first
        return self.size * (low + count) // self.count - self.size * low // self.count

    def part(self, first: int, count: int, attempts: int) -> Portion:
        size = self.bytes_between(first, count)
        return Portion(self.extent, first, count, size, self.expires_at, attempts)

    def try_join(self, batch: StoredBatch, first: int, count: int) -> bool:
        """Takes in the positions that follow, when they share this portion's fate."""
        if first != self.first + self.count or batch.expires_at != self.expires_at:
            return False
        end = batch.first + batch.count
        self.extent = Extent(batch.lane, self.extent.first, end - self.extent.first)
        self.count += count
        self.size += batch.bytes_between(first, count)
        return True
