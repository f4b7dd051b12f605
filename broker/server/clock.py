"""The broker's time.

Law: ``now`` is the wall clock at the start plus the time that passed since (suspends
included), drawn towards the wall clock by at most one part in a hundred.  So it never falls
and never leaps, whatever is done to the wall clock; a wall clock that is right again is
reached again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: At most 1 / SLEW_DIVISOR of the time that passed is added or taken away.
SLEW_DIVISOR = 100


#: Goes on while the machine is suspended.  macOS has no such clock in Python; there a suspend
#: is time that did not pass until the slew has caught up with it.
_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed_ns() -> int:
    """Time since some fixed instant."""
    return time.clock_gettime_ns(_ELAPSED)


class Clock:
    """``now_ms()`` in milliseconds since the Unix epoch; the sources give nanoseconds."""

    def __init__(
        self,
        elapsed_ns: Callable[[], int] = elapsed_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._read_elapsed = elapsed_ns
        self._read_wall = wall_ns
        self._elapsed = elapsed_ns()
        self._now = wall_ns()

    def now_ms(self) -> int:
        elapsed = self._read_elapsed()
        passed = elapsed - self._elapsed
        self._elapsed = elapsed
        now = self._now + passed
        most = passed // SLEW_DIVISOR
        self._now = now + max(-most, min(most, self._read_wall() - now))
        return self._now // 1_000_000

    def deadline_at(self, elapsed_ms: int) -> int:
        """What ``now_ms`` shows, at the earliest, when ``elapsed_ns`` reaches ``elapsed_ms``.

        So a right that ends then is given up in time, however far this clock is being drawn.
        """
        self.now_ms()
        left = elapsed_ms * 1_000_000 - self._elapsed
        return (self._now + left - abs(left) // SLEW_DIVISOR) // 1_000_000
