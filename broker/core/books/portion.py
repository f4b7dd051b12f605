"""Some positions of one lane that share their fate: what a lease holds and what comes back."""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter

from broker.model.stored_batch import Extent, StoredBatch

#: (first position, number of positions, bytes) of a stored batch
BatchSize = tuple[int, int, int]


class Portion:
    """``count`` positions from ``first`` with ``size`` bytes and the same attempts.

    ``extent`` covers the whole stored batches that they lie in; a batch is erased only when
    no portion covers it.  ``expires_at`` is 0 for never.  ``batches`` are those batches in order;
    without them the portion has not been read since it came back, and its size is 0.
    """

    __slots__ = (
        "attempts",
        "batches",
        "count",
        "expires_at",
        "extent",
        "first",
        "returned_by",
        "size",
    )

    def __init__(
        self,
        extent: Extent,
        first: int,
        count: int,
        attempts: int,
        size: int = 0,
        expires_at: int = 0,
        batches: list[BatchSize] | None = None,
    ) -> None:
        self.extent = extent
        self.first = first
        self.count = count
        self.attempts = attempts
        self.size = size
        self.expires_at = expires_at
        self.batches = batches or []
        #: Whose it was before it came back in this epoch: a session's id where the session ended,
        #: b"" where it was nacked or its lease ended; None where it was never handed out.
        self.returned_by: bytes | None = None

    @classmethod
    def of_batch(cls, batch: StoredBatch, first: int, count: int, attempts: int) -> Portion:
        extent = Extent(batch.lane, batch.first, batch.count)
        size = batch.bytes_between(first, count)
        batches = [(batch.first, batch.count, batch.size)]
        return cls(extent, first, count, attempts, size, batch.expires_at, batches)

    def bytes_between(self, first: int, count: int) -> int:
        """The bytes of a part: of each batch the share that ``StoredBatch`` gives, so that what is
        added with a put and taken away in parts, over whatever portions, is the same."""
        if count == self.count:
            return self.size
        end, size = first + count, 0
        index = max(bisect_right(self.batches, first, key=itemgetter(0)) - 1, 0)
        while index < len(self.batches) and self.batches[index][0] < end:
            start, length, whole = self.batches[index]
            low, high = max(first - start, 0), min(end - start, length)
            size += whole * high // length - whole * low // length
            index += 1
        return size

    def bytes_of(self, shares: list[tuple[int, int]]) -> int:
        """The bytes of parts that do not overlap: all of it costs one look, however scattered."""
        if sum(count for _, count in shares) == self.count:
            return self.size
        return sum(self.bytes_between(first, count) for first, count in shares)

    def part(self, first: int, count: int, attempts: int) -> Portion:
        size = self.bytes_between(first, count)
        part = Portion(self.extent, first, count, attempts, size, self.expires_at, self.batches)
        part.returned_by = self.returned_by
        return part

    def try_join(self, batch: StoredBatch, first: int, count: int) -> bool:
        """Takes in the positions that follow, when they share this portion's fate."""
        if first != self.first + self.count or batch.expires_at != self.expires_at:
            return False
        end = batch.first + batch.count
        self.extent = Extent(batch.lane, self.extent.first, end - self.extent.first)
        self.count += count
        self.size += batch.bytes_between(first, count)
        if self.batches[-1][0] != batch.first:
            self.batches.append((batch.first, batch.count, batch.size))
        return True
