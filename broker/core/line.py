"""Who takes next from a queue: takers in line.

Those of the highest priority come first, equal ones in turn.  Where nobody has a priority of its
own, which is nearly everywhere, the line is one deque.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from broker.core.session import Taker
from broker.limits import CONSUMER_PRIORITY_DEFAULT


class Line:
    __slots__ = ("_turns",)

    def __init__(self) -> None:
        #: priority -> those who wait with it, in turn; the highest priority first
        self._turns: dict[int, deque[Taker]] = {CONSUMER_PRIORITY_DEFAULT: deque()}

    def __bool__(self) -> bool:
        return any(self._turns.values())

    def __iter__(self) -> Iterator[Taker]:
        for turn in self._turns.values():
            yield from turn

    def equals_of(self, taker: Taker) -> int:
        """How many wait with the priority of ``taker``, who is not in line."""
        return len(self._turn_of(taker))

    def append(self, taker: Taker) -> None:
        self._turn_of(taker).append(taker)

    def appendleft(self, taker: Taker) -> None:
        self._turn_of(taker).appendleft(taker)

    def popleft(self) -> Taker:
        """The taker whose turn it is; there must be one."""
        return next(turn for turn in self._turns.values() if turn).popleft()

    def _turn_of(self, taker: Taker) -> deque[Taker]:
        turn = self._turns.get(taker.priority)
        if turn is None:
            turn = self._turns[taker.priority] = deque()
            self._turns = dict(sorted(self._turns.items(), reverse=True))
        return turn
