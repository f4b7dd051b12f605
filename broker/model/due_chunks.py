"""The instants of a batch whose messages have due times of their own, cut into spans.

A chunk holds the messages whose instants lie in one span, in their order, 4 bytes each.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right

from broker import limits


class DueChunk:
    """Messages of one batch: ``indexes`` into it, each due ``delta`` after ``at``, ascending.

    ``step`` is the number of messages in each of the batch's parts.
    """

    __slots__ = ("at", "deltas", "indexes", "step")

    def __init__(self, at: int, step: int, deltas: array[int], indexes: array[int]) -> None:
        self.at = at
        self.step = step
        self.deltas = deltas
        self.indexes = indexes

    @property
    def mask(self) -> int:
        return bits_of(self.indexes)


def chunks_of(times: array[int], step: int) -> list[DueChunk]:
    """The chunks of a batch, by the due times of its messages."""
    order = sorted(range(len(times)), key=times.__getitem__)
    chunks: list[DueChunk] = []
    low = 0
    while low < len(order):
        at = times[order[low]]
        if times[order[-1]] - at <= limits.TIMED_SPAN:
            high = len(order)
        else:
            high = bisect_right(order, at + limits.TIMED_SPAN, low, key=times.__getitem__)
        indexes = order[low:high]
        deltas = array("H", [times[index] - at for index in indexes])
        chunks.append(DueChunk(at, step, deltas, array("H", indexes)))
        low = high
    return chunks


def bits_of(indexes: array[int]) -> int:
    bits = 0
    for index in indexes:
        bits |= 1 << index
    return bits
