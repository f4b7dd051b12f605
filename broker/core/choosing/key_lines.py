"""Which message of each ordering key may go: at most one is away, and the first in line is next.

    heads   key -> the rank of its one message that may go or is away
    lines   key -> heap of the ranks behind it, which are blocked

Nearly every key has one message at a time, and costs one entry.  Entries of a line that are not
blocked any more are stale and are passed over.  Law: a key whose head is away stays shut until
that message is gone for good or ready again.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from broker.core.choosing.sheet import Sheet, position_of


class KeyLines:
    __slots__ = ("_find", "_heads", "_lines")

    def __init__(self, find: Callable[[int], Sheet | None]) -> None:
        """``find`` gives the sheet of a position."""
        self._find = find
        self._heads: dict[Any, int] = {}
        self._lines: dict[Any, list[int]] = {}

    def arrive(self, sheet: Sheet, low: int, high: int) -> list[Sheet]:
        """Messages of a sheet are ready; gives other sheets of which one may go now."""
        heads, keys = self._heads, sheet.keys
        opened: list[Sheet] = []
        if keys is None:
            return opened
        for index, rank in enumerate(range(sheet.rank + low, sheet.rank + high), low):
            key = keys[index]
            if key is None:
                continue
            head = heads.setdefault(key, rank)
            if head != rank:
                self._queue_up(sheet, index, key, head)
            elif key in self._lines:
                other = self._let_better_pass(sheet, index, key)
                if other is not None:
                    opened.append(other)
        return opened

    def _queue_up(self, sheet: Sheet, index: int, key: Any, head: int) -> None:
        """A second message of a key: behind its head, unless it is better and that is not away."""
        rank = sheet.rank + index
        leader = self._find(position_of(head))
        if rank < head and leader is not None and leader.ready >> (head - leader.rank) & 1:
            self._heads[key] = rank
            self._block(leader, head - leader.rank, key)
        else:
            self._block(sheet, index, key)

    def _let_better_pass(self, sheet: Sheet, index: int, key: Any) -> Sheet | None:
        """The head came back; what has a higher priority or was put before it goes first."""
        self._block(sheet, index, key)
        first = self._open_next(key)
        return None if first is sheet else first

    def _block(self, sheet: Sheet, index: int, key: Any) -> None:
        sheet.blocked |= 1 << index
        heappush(self._lines.setdefault(key, []), sheet.rank + index)

    def _open_next(self, key: Any) -> Sheet | None:
        """The first in line may go; gives its sheet."""
        line = self._lines.get(key)
        while line:
            rank = heappop(line)
            sheet = self._find(position_of(rank))
            if sheet is not None and sheet.blocked >> (rank - sheet.rank) & 1:
                sheet.blocked ^= 1 << (rank - sheet.rank)
                self._heads[key] = rank
                return sheet
        self._heads.pop(key, None)
        self._lines.pop(key, None)
        return None

    def hold(self, sheet: Sheet, low: int, high: int) -> None:
        """Messages of a sheet are away without having been chosen."""
        for index in range(low, high):
            key = None if sheet.keys is None else sheet.keys[index]
            sheet.blocked &= ~(1 << index)
            if key is None:
                continue
            rank = sheet.rank + index
            head = self._heads.setdefault(key, rank)
            leader = self._find(position_of(head)) if head != rank else None
            if leader is not None and leader.ready >> (head - leader.rank) & 1:
                self._heads[key] = rank
                self._block(leader, head - leader.rank, key)

    def is_head(self, sheet: Sheet, index: int) -> bool:
        key = None if sheet.keys is None else sheet.keys[index]
        return key is None or self._heads.get(key) == sheet.rank + index

    def release(self, sheet: Sheet, low: int, high: int) -> list[Sheet]:
        """Messages of a sheet are gone for good; gives the sheets of which one may go now."""
        heads, keys = self._heads, sheet.keys
        opened: list[Sheet] = []
        if keys is None:
            return opened
        for index, rank in enumerate(range(sheet.rank + low, sheet.rank + high), low):
            key = keys[index]
            if key is None or heads.get(key) != rank:
                continue
            if key not in self._lines:
                del heads[key]
            else:
                other = self._open_next(key)
                if other is not None:
                    opened.append(other)
        return opened
