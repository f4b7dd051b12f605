"""What was taken out of a queue's ready messages, before it is anybody's."""

from __future__ import annotations

from broker import limits
from broker.model.stored_batch import StoredBatch

#: Batches up to this size share a frame with their neighbours; larger ones are not copied.  A copy
#: of 64 KiB takes some 10 us, a delivery more than that at either end.
SMALL_BATCH_BYTES = 64 * limits.KIB
#: Neighbours put within this time may share a run, whose ``put_at`` is its first message's.
RUN_SPREAD_MS = 1_000


class Picked:
    """Positions of one batch, picked for a delivery; all have the same attempts."""

    __slots__ = ("attempts", "batch", "count", "first")

    def __init__(self, batch: StoredBatch, first: int, count: int, attempts: int) -> None:
        self.batch = batch
        self.first = first
        self.count = count
        self.attempts = attempts


def fitting(batch: StoredBatch, size: int) -> int:
    """How many messages of the batch's mean size fit into ``size`` bytes, at least one."""
    if batch.size <= size:
        return batch.count
    return max(size * batch.count // batch.size, 1)
