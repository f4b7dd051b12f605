"""The stored batches of transient queues: in memory alone, as long as one of their messages lives.

Owns those batches and the rows of their instants.  It decides nothing and writes nothing.  Law: a
batch is here from its commit until its last message is settled, and no longer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush

from broker.core.books.bodies import Bodies, IdBatch, IdPlace, IndexRow
from broker.core.books.settled import SettledSet
from broker.model.due_chunks import DueChunk
from broker.model.entries import BatchPut, TimedPut
from broker.model.stored_batch import StoredBatch

_ROWS_PER_TURN = 1_000
#: So few rows or batches that are gone are not worth a look.
_GONE_MIN = 64

#: A row, and what it says of a batch whose messages have due times of their own.
Noted = tuple[IndexRow, DueChunk | None]


class MemoryIndex:
    """Rows in the order of their instants.  One whose batch is gone may stay for a while."""

    __slots__ = ("_gone", "_heap")

    def __init__(self) -> None:
        self._heap: list[Noted] = []
        self._gone = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def at(self) -> int | None:
        return self._heap[0][0].at if self._heap else None

    def add(self, row: IndexRow, chunk: DueChunk | None = None) -> None:
        heappush(self._heap, (row, chunk))

    def take(self, now: int) -> list[Noted]:
        """The rows that are due, a bounded number a turn; they are here no longer."""
        due: list[Noted] = []
        while self._heap and self._heap[0][0].at <= now and len(due) < _ROWS_PER_TURN:
            due.append(heappop(self._heap))
        return due

    def note_gone(self, batches: int, is_held: Callable[[IndexRow], bool]) -> None:
        """So many batches are gone; what they leave here goes once it is about half."""
        self._gone += batches
        if self._gone >= _GONE_MIN and self._gone * 2 > len(self._heap):
            self._gone = 0
            self._heap = [noted for noted in self._heap if is_held(noted[0])]
            heapify(self._heap)


class _Lane:
    """The batches of one lane by their first positions; some of ``firsts`` may be gone."""

    __slots__ = ("batches", "firsts")

    def __init__(self) -> None:
        self.batches: dict[int, StoredBatch] = {}
        self.firsts: list[int] = []

    def add(self, batch: StoredBatch) -> None:
        self.batches[batch.first] = batch
        self.firsts.append(batch.first)

    def overlapping(self, first: int, end: int) -> Iterator[StoredBatch]:
        """The batches that hold positions of [first, end), in order."""
        firsts = self.firsts
        for index in range(max(bisect_right(firsts, first) - 1, 0), bisect_left(firsts, end)):
            batch = self.batches.get(firsts[index])
            if batch is not None and batch.end > first:
                yield batch

    def erase(self, settled: SettledSet, first: int, end: int) -> list[StoredBatch]:
        """Takes away the batches of [first, end) that are settled as a whole."""
        gone = [
            batch
            for batch in self.overlapping(first, end)
            if settled.first_live(batch.first) >= batch.end
        ]
        for batch in gone:
            del self.batches[batch.first]
        left_over = len(self.firsts) - len(self.batches)
        if left_over >= _GONE_MIN and left_over * 2 > len(self.firsts):
            self.firsts = [at for at in self.firsts if at in self.batches]
        return gone


class MemoryBodies:
    """By queue number; a queue is here from its beginning to its end, with messages or without."""

    def __init__(self) -> None:
        #: queue number -> lane -> its batches
        self.queues: dict[int, dict[int, _Lane]] = {}
        self.due = MemoryIndex()
        self.expiry = MemoryIndex()

    @property
    def batches(self) -> int:
        return sum(len(lane.batches) for lanes in self.queues.values() for lane in lanes.values())

    def instants(self) -> list[int]:
        """When to look at the rows again."""
        return [index.at for index in (self.due, self.expiry) if index.at is not None]

    def begin(self, number: int) -> None:
        """The queue holds nothing."""
        self.queues[number] = {}

    def forget(self, number: int) -> None:
        """The queue is deleted, or begins anew."""
        lanes = self.queues.pop(number, {})
        self._note_gone([b for lane in lanes.values() for b in lane.batches.values()])

    def add(self, entry: BatchPut) -> None:
        """A put is committed.  The rows of its due times are the caller's to note."""
        parts = entry.parts if isinstance(entry, TimedPut) else (entry.body,)
        lane = self.queues[entry.number].setdefault(entry.body.lane, _Lane())
        for part in parts:
            lane.add(part)
            if part.expires_at:
                place = (entry.number, part.lane, part.first, part.count)
                self.expiry.add(IndexRow(part.expires_at, *place))

    def erase(self, number: int, settled: SettledSet, ranges: list[tuple[int, int]]) -> None:
        """Messages are settled: batches of which none is left go."""
        for lane in self.queues[number].values():
            for first, count in ranges:
                gone = lane.erase(settled, first, first + count)
                if gone:
                    self._note_gone(gone)

    def _note_gone(self, gone: list[StoredBatch]) -> None:
        for index, name in ((self.due, "due_at"), (self.expiry, "expires_at")):
            if len(index):
                index.note_gone(sum(getattr(b, name) > 0 for b in gone), self._is_held)

    def _is_held(self, row: IndexRow) -> bool:
        lane = self.queues.get(row.number, {}).get(row.lane)
        return lane is not None and any(lane.overlapping(row.first, row.first + row.length))

    def read(
        self, number: int, lane: int, first: int, end: int, count_max: int, bytes_max: int
    ) -> list[StoredBatch]:
        batches: list[StoredBatch] = []
        held = self.queues[number].get(lane)
        for batch in held.overlapping(first, end) if held is not None else ():
            batches.append(batch)
            bytes_max -= batch.size
            if len(batches) >= count_max or bytes_max <= 0:
                break
        return batches

    def read_at(self, number: int, places: list[tuple[int, int]]) -> list[StoredBatch]:
        lanes = self.queues[number]
        return [
            batch
            for lane, first in sorted(places)
            if lane in lanes and (batch := lanes[lane].batches.get(first)) is not None
        ]


class BodiesByQueue:
    """Implements the ``Bodies`` port over both: a transient queue's are in memory, others' on disk.

    The indexes of instants and ids are the disk's; a transient queue has no ids.
    """

    def __init__(self, disk: Bodies, memory: MemoryBodies) -> None:
        self._disk = disk
        self._memory = memory
        self.due_chunk = disk.due_chunk
        self.expiring = disk.expiring
        self.coming_due = disk.coming_due

    def read(
        self, number: int, lane: int, first: int, end: int, count_max: int, bytes_max: int
    ) -> list[StoredBatch]:
        kept = self._memory if number in self._memory.queues else self._disk
        return kept.read(number, lane, first, end, count_max, bytes_max)

    def read_at(self, number: int, places: list[tuple[int, int]]) -> list[StoredBatch]:
        kept = self._memory if number in self._memory.queues else self._disk
        return kept.read_at(number, places)

    def find_ids(self, number: int, hashes: list[bytes]) -> dict[bytes, list[IdPlace]]:
        return self._disk.find_ids(number, hashes)

    def id_batches(self, number: int, first: int, count_max: int) -> list[IdBatch]:
        return self._disk.id_batches(number, first, count_max)
