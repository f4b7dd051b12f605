"""Who takes next from a queue: takers in line.

Those of the highest priority come first, equal ones in turn.  Where nobody has a priority of its
own, which is nearly everywhere, every step is the deque's own.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque

from broker.core.session import Taker


def _turn(taker: Taker) -> int:
    return -taker.priority


class Line(deque[Taker]):
    __slots__ = ()

    def join(self, taker: Taker) -> None:
        """Behind the last of its equals."""
        if not self or taker.priority <= self[-1].priority:
            self.append(taker)
        else:
            self.insert(bisect_right(self, -taker.priority, key=_turn), taker)

    def join_first(self, taker: Taker) -> None:
        """Before the first of its equals."""
        if not self or taker.priority >= self[0].priority:
            self.appendleft(taker)
        else:
            self.insert(bisect_left(self, -taker.priority, key=_turn), taker)

    def equals_of(self, taker: Taker) -> int:
        """How many wait with the priority of ``taker``, who is not in line and came first."""
        if not self or self[-1].priority == taker.priority:
            return len(self)
        return bisect_right(self, -taker.priority, key=_turn)
