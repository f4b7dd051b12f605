"""Ready messages of one lane, where some come due one by one.

    ranges    what came back, as in every other book
    timed     per batch with own due times: a bitmap of what is due and waits

To who looks at it the bitmaps are ranges like the others.  Neighbours become one range by
themselves; a waiting message costs a bit, and an instant costs one operation a batch.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator

from broker.core.books.portion import Portion
from broker.core.books.range_map import RangeMap
from broker.model.stored_batch import StoredBatch


class TimedReady:
    """``bits`` stand for positions from ``first`` on; ``portion`` covers the batch."""

    __slots__ = ("bits", "first", "is_plain", "portion", "step")

    def __init__(self, first: int, portion: Portion, step: int) -> None:
        self.first = first
        self.portion = portion
        self.step = step
        self.bits = 0
        #: False once it is known that its messages must be looked at one by one.
        self.is_plain = True

    def part_of(self, position: int) -> int:
        """Where the stored part begins that holds ``position``."""
        return position - (position - self.first) % self.step

    def lowest(self) -> tuple[int, int]:
        """The first run, as (first, count)."""
        bits = self.bits
        low = (bits & -bits).bit_length() - 1
        inverted = ~(bits >> low)
        return self.first + low, (inverted & -inverted).bit_length() - 1

    def runs(self, first: int, end: int) -> list[tuple[int, int]]:
        """The runs within [first, end), as (first, count)."""
        bits = self.bits & _mask(self.first, first, end)
        runs: list[tuple[int, int]] = []
        while bits:
            low = (bits & -bits).bit_length() - 1
            inverted = ~(bits >> low)
            count = (inverted & -inverted).bit_length() - 1
            runs.append((self.first + low, count))
            bits &= -1 << (low + count)
        return runs

    def due_parts(self, end: int, parts_max: int) -> Iterator[DuePart]:
        """The stored parts with ready messages below ``end``, in order, at most so many."""
        step, whole = self.step, (1 << self.step) - 1
        bits = self.bits & _mask(self.first, 0, end)
        while bits and parts_max:
            low = ((bits & -bits).bit_length() - 1) // step * step
            own = bits >> low & whole
            yield self, self.first + low, own
            bits ^= own << low
            parts_max -= 1


#: (batch, first position, bitmap): the ready messages of one stored part of the batch
DuePart = tuple[TimedReady, int, int]


def _mask(base: int, first: int, end: int) -> int:
    """Bits of [first, end) in a bitmap that begins at ``base``."""
    low, high = max(first - base, 0), max(end - base, 0)
    return (1 << high) - (1 << low) if low < high else 0


class ReadyBook(RangeMap[Portion]):
    __slots__ = ("_starts", "_timed", "window")

    def __init__(self) -> None:
        super().__init__()
        self._timed: dict[int, TimedReady] = {}
        #: Their keys, ascending.
        self._starts: list[int] = []
        #: Stored parts that were read for the head, by first position (see read_back.py).
        self.window: dict[int, StoredBatch] = {}

    def open(self, first: int, bits: int, portion: Portion, step: int) -> None:
        """Messages of the batch at ``first`` came due, none of which is held already."""
        timed = self._timed.get(first)
        if timed is None:
            timed = self._timed[first] = TimedReady(first, portion, step)
            insort(self._starts, first)
        timed.bits |= bits
        self.positions += bits.bit_count()

    def timed_at(self, position: int) -> TimedReady | None:
        """The batch with own due times that a waiting message belongs to."""
        index = bisect_right(self._starts, position) - 1
        if index < 0:
            return None
        timed = self._timed[self._starts[index]]
        return timed if timed.bits >> (position - timed.first) & 1 else None

    def timed_runs(self, first: int, runs_max: int) -> Iterator[tuple[TimedReady, int, int]]:
        """The runs that came due one by one from ``first`` on, at most about so many."""
        start = max(bisect_right(self._starts, first) - 1, 0)
        for key in self._starts[start : start + runs_max]:
            timed = self._timed[key]
            for low, count in timed.runs(first, timed.first + timed.bits.bit_length()):
                yield timed, low, count
                runs_max -= 1
            if runs_max <= 0:
                return

    @property
    def has_timed(self) -> bool:
        return bool(self._starts)

    def first_returned(self, end: int) -> int:
        """The lowest position of what came back, ``end`` where nothing did."""
        return self._firsts[0] if self._firsts else end

    def due_parts(self, end: int, messages: int, parts_max: int) -> list[DuePart]:
        """The first parts with ready messages below ``end``, with as many messages or a few more;
        none of batches that must be looked at one by one, nor behind these."""
        found: list[DuePart] = []
        for start in self._starts:
            timed = self._timed[start]
            if start >= end or not timed.is_plain or messages <= 0 or len(found) >= parts_max:
                break
            found += timed.due_parts(end, min(messages, parts_max - len(found)))
            messages -= timed.bits.bit_count()
        return found

    def give(self, part: DuePart, bits: int) -> None:
        """These messages of the part are ready no more."""
        timed, first, _ = part
        self._clear_bits(timed, bits << (first - timed.first))

    def __len__(self) -> int:
        return len(self._firsts) + len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int, Portion]]:
        yield from self.overlapping(0, self._end())

    def _end(self) -> int:
        """Behind the last position of all."""
        ends = [0]
        if self._firsts:
            ends.append(self._firsts[-1] + self._parts[self._firsts[-1]][0])
        if self._starts:
            last = self._timed[self._starts[-1]]
            ends.append(last.first + last.bits.bit_length())
        return max(ends)

    def values(self) -> list[Portion]:
        return [*super().values(), *(timed.portion for timed in self._timed.values())]

    def head(self) -> tuple[int, int, Portion]:
        if not self._starts:
            return super().head()
        timed = self._timed[self._starts[0]]
        first, count = timed.lowest()
        if self._firsts and self._firsts[0] < first:
            return super().head()
        return first, count, timed.portion

    def overlapping(self, first: int, count: int) -> list[tuple[int, int, Portion]]:
        found = super().overlapping(first, count)
        runs = [
            (low, size, timed.portion)
            for timed in self._touched(first, first + count)
            for low, size in timed.runs(first, first + count)
        ]
        return sorted([*found, *runs], key=lambda part: part[0]) if runs else found

    def take_all(self, ranges: list[tuple[int, int]]) -> list[tuple[int, int, Portion]]:
        if not self._starts:
            return super().take_all(ranges)
        return [part for first, count in ranges for part in self.take(first, count)]

    def take(self, first: int, count: int) -> list[tuple[int, int, Portion]]:
        timed = self.timed_at(first)
        if timed is not None:
            wanted = ((1 << count) - 1) << (first - timed.first)
            if timed.bits & wanted == wanted:
                self._clear_bits(timed, wanted)
                return [(first, count, timed.portion)]
        return self._take_mixed(first, count)

    def _take_mixed(self, first: int, count: int) -> list[tuple[int, int, Portion]]:
        touched = self._touched(first, first + count)
        if not touched:
            return super().take(first, count)
        taken = self.overlapping(first, count)
        for timed in touched:
            self._clear_bits(timed, timed.bits & _mask(timed.first, first, first + count))
        super().take(first, count)
        return taken

    def _clear_bits(self, timed: TimedReady, gone: int) -> None:
        timed.bits ^= gone
        self.positions -= gone.bit_count()
        if not timed.bits:
            del self._timed[timed.first]
            del self._starts[bisect_right(self._starts, timed.first) - 1]

    def _touched(self, first: int, end: int) -> list[TimedReady]:
        """Batches that may have messages in [first, end)."""
        starts = self._starts
        low = max(bisect_right(starts, first) - 1, 0)
        high = bisect_right(starts, end - 1)
        found = [self._timed[start] for start in starts[low:high]]
        return [timed for timed in found if timed.bits & _mask(timed.first, first, end)]

    def clear(self) -> None:
        super().clear()
        self._timed.clear()
        self._starts.clear()
        self.window.clear()
