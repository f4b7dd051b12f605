"""What was taken of a subscription and is being looked at, part by part, for both faces.

Owns how gaps reach the application.  It never takes anything itself.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from broker.client.channels.runs import Gap, Part, open_part
from broker.errors import EventsMissed
from broker.model.selector import Selector

log = logging.getLogger("msgqueue.client")

OnGap = Callable[[Gap], object]


class Handing:
    """How one subscription hands on what it takes; ``on_gap`` None is a line in the log."""

    def __init__(self, selector: Selector | None, on_gap: OnGap | None, raises_gaps: bool) -> None:
        self.selector = selector
        self.on_gap = on_gap
        self.raises_gaps = raises_gaps


class Handed:
    """What one iteration has taken."""

    def __init__(self, handing: Handing) -> None:
        self._handing = handing
        self._items: deque[Part | Gap] = deque()
        self._opened: deque[Part | Gap] = deque()

    def fill(self, items: deque[Part | Gap]) -> None:
        self._items = items

    def next_part(self) -> Part | None:
        """Messages to hand on; None when there are no more.  Tells the gaps before them."""
        while True:
            if self._opened:
                item = self._opened.popleft()
                if isinstance(item, Gap):
                    self._tell(item)
                    continue
                return item
            if not self._items:
                return None
            item = self._items.popleft()
            if isinstance(item, Gap):
                self._tell(item)
            else:
                self._opened.extend(open_part(item, self._handing.selector))

    def put_back(self, part: Part) -> None:
        self._opened.appendleft(part)

    def rest(self) -> deque[Part | Gap]:
        """What nobody has looked at."""
        self._opened.extend(self._items)
        return self._opened

    def _tell(self, gap: Gap) -> None:
        missed = "an unknown number of" if gap.missed is None else str(gap.missed)
        text = f"{gap.channel}: {missed} messages are missed, at sequence {gap.first}"
        if self._handing.on_gap is not None:
            self._handing.on_gap(gap)
        if self._handing.raises_gaps:
            raise EventsMissed(text)
        if self._handing.on_gap is None:
            log.warning("%s", text)
