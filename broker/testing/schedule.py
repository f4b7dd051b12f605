"""What happens next: a heap of events, one of which is one step, and the trace of all of them.

Owns the world's time, integer microseconds from 0.  Law: events of one instant happen in the order
in which they were scheduled, and every event that happens is in the trace.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Any

MS = 1_000
SECOND = 1_000_000

Action = Callable[..., object]


class Event:
    """Something that will happen, unless it is cancelled."""

    __slots__ = ("action", "args", "at_us", "label")

    def __init__(
        self, at_us: int, label: str, action: Action | None, args: tuple[Any, ...]
    ) -> None:
        self.at_us = at_us
        self.label = label
        self.action = action
        self.args = args

    def cancel(self) -> None:
        self.action = None


class Schedule:
    """``tell`` is given each line of the trace as it is written; None tells nobody."""

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self.now_us = 0
        self.steps = 0
        self._tell = tell
        self._heap: list[tuple[int, int, Event]] = []
        self._ties = 0
        self._hash = blake2b(digest_size=16)

    def at(self, at_us: int, label: str, action: Action, *args: Any) -> Event:
        event = Event(max(at_us, self.now_us), label, action, args)
        self._ties += 1
        heappush(self._heap, (event.at_us, self._ties, event))
        return event

    def after(self, delay_us: int, label: str, action: Action, *args: Any) -> Event:
        return self.at(self.now_us + delay_us, label, action, *args)

    def step(self) -> bool:
        """Lets the next event happen; False when there is none."""
        while self._heap:
            _, _, event = heappop(self._heap)
            action, event.action = event.action, None
            if action is not None:
                self.now_us = event.at_us
                self.steps += 1
                self.note(event.label)
                action(*event.args)
                return True
        return False

    def note(self, text: str) -> None:
        """Adds a fact of this instant to the trace."""
        line = f"{self.now_us} {text}\n"
        self._hash.update(line.encode())
        if self._tell is not None:
            self._tell(f"{self.now_us / SECOND:10.6f} {text}")

    def trace_hash(self) -> str:
        return self._hash.hexdigest()
