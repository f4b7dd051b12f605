"""How one selector sees the window: which sheets may have something for it, in order.

Takers with equal selectors share a lens.  A sheet is looked at once; it comes again only when one
of its messages opens.
"""

from __future__ import annotations

from heapq import heappop, heappush

from broker.core.choosing.sheet import Sheet
from broker.model.selector import Selector

#: Entries of sheets that are gone are cleared out when there are more than so many.
_STALE_MAX = 64


class Lens:
    __slots__ = ("_queued", "_ranks", "masks", "selector")

    def __init__(self, selector: Selector | None) -> None:
        self.selector = selector
        #: rank of a sheet -> bits of the messages that match
        self.masks: dict[int, int] = {}
        #: Heap of sheets to look at, some of which may be gone.
        self._ranks: list[int] = []
        self._queued: set[int] = set()

    def seen(self, sheet: Sheet) -> int:
        """The bits of what may be chosen and matches, once the sheet was looked at."""
        if self.selector is None:
            return sheet.open
        return sheet.open & self.masks.get(sheet.rank, 0)

    def push(self, rank: int) -> None:
        """A message of the sheet opened."""
        if rank not in self._queued:
            self._queued.add(rank)
            heappush(self._ranks, rank)

    def top(self) -> int | None:
        """The first sheet to look at."""
        while self._ranks:
            if self._ranks[0] in self._queued:
                return self._ranks[0]
            heappop(self._ranks)
        return None

    def pop(self) -> None:
        """The first sheet has nothing now."""
        self._queued.discard(heappop(self._ranks))

    def forget(self, rank: int) -> None:
        """The sheet is gone."""
        self.masks.pop(rank, None)
        self._queued.discard(rank)
        if len(self._ranks) > 2 * len(self._queued) + _STALE_MAX:
            self._ranks = sorted(self._queued)
