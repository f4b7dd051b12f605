"""The clock of one broker: it drifts, is slewed, and never falls while a process runs.

Law: integer arithmetic only, so that two runs agree to the microsecond.
"""

from __future__ import annotations

from broker.testing.schedule import MS

MILLION = 1_000_000
#: Node time at the world's instant 0, in milliseconds: far from 0, as wall clocks are.
EPOCH_MS = 1_700_000_000_000


class DriftingClock:
    """Runs at ``rate`` microseconds for each million of the world's."""

    def __init__(self) -> None:
        self._anchor_us = 0
        self._base_us = EPOCH_MS * MS
        self.rate = MILLION

    def _read_us(self, world_us: int) -> int:
        return self._base_us + (world_us - self._anchor_us) * self.rate // MILLION

    def now_ms(self, world_us: int) -> int:
        return self._read_us(world_us) // MS

    def set_rate(self, world_us: int, rate: int) -> None:
        """A drift, or the slewing that follows a jump of the wall clock."""
        self._base_us = self._read_us(world_us)
        self._anchor_us = world_us
        self.rate = rate

    def shift(self, world_us: int, shift_ms: int) -> None:
        """Another wall clock than before: only a process that starts reads it."""
        self.set_rate(world_us, self.rate)
        self._base_us += shift_ms * MS

    def world_us_at(self, now_ms: int) -> int:
        """The first instant of the world at which this clock shows ``now_ms``."""
        left_us = now_ms * MS - self._base_us
        return self._anchor_us + -(-left_us * MILLION // self.rate)
