"""Disjoint ranges of positions, each with a value: the one structure for what is in flight,
what came back and what has attempts.

Cost is per range, not per position.  Taking a part splits a range; the value stays shared.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterator
from typing import Generic, TypeVar

V = TypeVar("V")
#: Ranges that are removed together are taken out in one pass where one in so many goes.
_DENSE = 16


class RangeMap(Generic[V]):
    __slots__ = ("_firsts", "_parts", "positions")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._parts: dict[int, tuple[int, V]] = {}
        #: How many positions are held in all ranges together.
        self.positions = 0

    def __len__(self) -> int:
        return len(self._firsts)

    def __iter__(self) -> Iterator[tuple[int, int, V]]:
        """Ranges in order, as (first, count, value)."""
        parts = self._parts
        for first in self._firsts:
            count, value = parts[first]
            yield first, count, value

    def values(self) -> list[V]:
        """The values, in no order; one that several ranges share may come several times."""
        return [value for _, value in self._parts.values()]

    def add(self, first: int, count: int, value: V) -> None:
        """Adds a range that overlaps none."""
        firsts = self._firsts
        if not firsts or first > firsts[-1]:
            firsts.append(first)
        else:
            insort(firsts, first)
        self._parts[first] = (count, value)
        self.positions += count

    def add_all(self, ranges: list[tuple[int, int]], value: V) -> None:
        """Adds ranges that ascend and overlap none, under one value."""
        if len(ranges) == 1:
            self.add(*ranges[0], value)
            return
        firsts = self._firsts
        begins_behind = not firsts or ranges[0][0] > firsts[-1]
        firsts += [first for first, _ in ranges]
        if not begins_behind:
            # Two ascending stretches: the sort merges them.
            firsts.sort()
        self._parts.update((first, (count, value)) for first, count in ranges)
        self.positions += sum(count for _, count in ranges)

    def remove_whole(self, starts: Collection[int]) -> None:
        """Removes the ranges that begin there."""
        if not starts:
            return
        firsts, parts = self._firsts, self._parts
        for first in starts:
            self.positions -= parts.pop(first)[0]
        low, high = bisect_left(firsts, min(starts)), bisect_right(firsts, max(starts))
        if high - low <= _DENSE * len(starts):
            firsts[low:high] = [first for first in firsts[low:high] if first in parts]
        else:
            for first in starts:
                del firsts[bisect_left(firsts, first)]

    def head(self) -> tuple[int, int, V]:
        """The lowest range; there must be one."""
        first = self._firsts[0]
        return first, *self._parts[first]

    def start_of(self, position: int) -> int:
        """Where the range begins that holds ``position``; there must be one."""
        return self._firsts[bisect_right(self._firsts, position) - 1]

    def find(self, first: int) -> tuple[int, V] | None:
        """(count, value) of the range that begins at ``first``."""
        return self._parts.get(first)

    def overlapping(self, first: int, count: int) -> list[tuple[int, int, V]]:
        """What lies in the range, cut to it, in order."""
        end = first + count
        found: list[tuple[int, int, V]] = []
        firsts, parts = self._firsts, self._parts
        index = max(bisect_right(firsts, first) - 1, 0)
        while index < len(firsts) and firsts[index] < end:
            low = firsts[index]
            size, value = parts[low]
            a, b = max(low, first), min(low + size, end)
            if a < b:
                found.append((a, b - a, value))
            index += 1
        return found

    def take(self, first: int, count: int) -> list[tuple[int, int, V]]:
        """Removes what lies in the range and gives it, cut to the range, in order."""
        part = self._parts.get(first)
        if part is not None and part[0] == count:
            del self._parts[first]
            del self._firsts[bisect_left(self._firsts, first)]
            self.positions -= count
            return [(first, count, part[1])]
        taken = self.overlapping(first, count)
        for low, size, _ in taken:
            self._remove(low, size)
        return taken

    def take_all(self, ranges: list[tuple[int, int]]) -> list[tuple[int, int, V]]:
        """``take`` of ranges that ascend and are held, which costs less than one by one."""
        first, end = ranges[0][0], ranges[-1][0] + ranges[-1][1]
        if len(ranges) == 1:
            return self.take(first, end - first)
        low = max(bisect_right(self._firsts, first) - 1, 0)
        high = bisect_left(self._firsts, end)
        starts = self._firsts[low:high]
        held = [(start, *self._parts.pop(start)) for start in starts]
        taken, left = _parted(held, ranges)
        self._firsts[low:high] = [start for start, _, _ in left]
        self._parts.update((start, (count, value)) for start, count, value in left)
        self.positions -= sum(count for _, count, _ in taken)
        return taken

    def _remove(self, low: int, size: int) -> None:
        """Removes [low, low + size), which lies inside one range."""
        index = bisect_right(self._firsts, low) - 1
        start = self._firsts[index]
        count, value = self._parts.pop(start)
        del self._firsts[index]
        self.positions -= count
        if start < low:
            self.add(start, low - start, value)
        if low + size < start + count:
            self.add(low + size, start + count - low - size, value)

    def clear(self) -> None:
        self._firsts.clear()
        self._parts.clear()
        self.positions = 0


def _parted(
    held: list[tuple[int, int, V]], ranges: list[tuple[int, int]]
) -> tuple[list[tuple[int, int, V]], list[tuple[int, int, V]]]:
    """(what of ``held`` lies in ``ranges``, the rest); both ascend."""
    taken: list[tuple[int, int, V]] = []
    left: list[tuple[int, int, V]] = []
    index = 0
    for start, count, value in held:
        low, end = start, start + count
        while index < len(ranges) and ranges[index][0] < end:
            first, size = ranges[index]
            if first > low:
                left.append((low, first - low, value))
            low = min(first + size, end)
            begin = max(first, start)
            if begin < low:
                taken.append((begin, low - begin, value))
            if first + size > end:
                break
            index += 1
        if low < end:
            left.append((low, end - low, value))
    return taken, left
