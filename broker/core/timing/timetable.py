"""Which messages of batches with own due times come due when.

On the disk a batch has a row of the due index for each chunk: the messages whose instants lie in
one span, in the order of these.  A chunk is opened when its first message is due; from then on the
timetable holds it, 4 bytes a message, until its last one has come due.

Cost is per chunk and turn, not per message: what came due of a chunk is a bitmap.
"""

from __future__ import annotations

from bisect import bisect_right
from heapq import heappop, heappush, heapreplace

from broker import limits
from broker.core.books.bodies import IndexRow
from broker.core.books.portion import Portion
from broker.model.due_chunks import DueChunk, bits_of
from broker.model.stored_batch import Extent


class OpenChunk:
    """A chunk that has begun to come due; ``next`` is the first that has not.  ``portion`` stands
    for the whole batch."""

    __slots__ = ("chunk", "next", "portion", "row")

    def __init__(self, row: IndexRow, chunk: DueChunk) -> None:
        self.row = row
        extent = Extent(row.lane, row.first, row.length)
        self.portion = Portion(extent, row.first, row.length, 0)
        self.chunk = chunk
        self.next = 0


#: (chunk, bitmap of what came due of its batch)
CameDue = tuple[OpenChunk, int]


class Timetable:
    __slots__ = ("_heap", "_looked_at", "_number")

    def __init__(self) -> None:
        #: heap of (next instant, number, chunk)
        self._heap: list[tuple[int, int, OpenChunk]] = []
        self._number = 0
        self._looked_at = 0

    def __bool__(self) -> bool:
        return bool(self._heap)

    @property
    def at(self) -> int | None:
        """When to look again: in steps, so that many instants cost few turns."""
        if not self._heap:
            return None
        return max(self._heap[0][0], self._looked_at + limits.TIMED_STEP)

    def is_due(self, now: int) -> bool:
        return bool(self._heap) and self._heap[0][0] <= now

    def add(self, row: IndexRow, chunk: DueChunk) -> None:
        self._number += 1
        heappush(self._heap, (chunk.at, self._number, OpenChunk(row, chunk)))

    def take(self, now: int, messages_max: int) -> list[CameDue]:
        """What is due, a bounded number of messages."""
        came: list[CameDue] = []
        heap = self._heap
        if heap and heap[0][0] <= now:
            self._looked_at = now
        while heap and heap[0][0] <= now and messages_max > 0:
            _, number, opened = heap[0]
            chunk, low = opened.chunk, opened.next
            high = bisect_right(chunk.deltas, now - chunk.at, low)
            messages_max -= high - low
            came.append((opened, bits_of(chunk.indexes[low:high])))
            if high == len(chunk.deltas):
                heappop(heap)
            else:
                opened.next = high
                heapreplace(heap, (chunk.at + chunk.deltas[high], number, opened))
        if messages_max <= 0:
            # The rest follows in the next turn.
            self._looked_at = 0
        return came
