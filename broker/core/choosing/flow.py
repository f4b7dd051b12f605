"""What bounds the deliveries of a queue: a pause, messages in flight, messages a second.

A queue whose settings bound nothing has no flow.  All of it is volatile: a new epoch begins with
nothing in flight and a full bucket.
"""

from __future__ import annotations

from broker.limits import BATCH_COUNT_MAX, SECOND
from broker.model.settings import QueueSettings

#: A bucket holds what its rate gives in this time, and one message at least: deliveries are
#: spread over the second, and a late turn of the loop loses none of them.
_BURST_MS = 50


class Flow:
    """Integer arithmetic: a message weighs SECOND, and each millisecond adds ``per_second``."""

    __slots__ = ("_filled_at", "_level", "_level_max", "in_flight_max", "paused", "per_second")

    def __init__(self, settings: QueueSettings) -> None:
        self.paused = settings.paused
        self.in_flight_max = settings.max_in_flight
        self.per_second = settings.max_per_second or 0
        self._level_max = max(self.per_second * _BURST_MS, SECOND)
        self._level = self._level_max
        self._filled_at = 0

    def room(self, in_flight: int, now: int) -> int:
        """How many messages may be handed on now."""
        if self.paused:
            return 0
        room = BATCH_COUNT_MAX
        if self.in_flight_max is not None:
            room = min(room, max(self.in_flight_max - in_flight, 0))
        if self.per_second:
            self._fill(now)
            room = min(room, self._level // SECOND)
        return room

    def spend(self, messages: int) -> None:
        if self.per_second:
            self._level -= messages * SECOND

    def next_at(self, now: int) -> int | None:
        """When the rate allows the next message; None where the rate is not what bounds."""
        if self.paused or not self.per_second or self._level >= SECOND:
            return None
        return now - (self._level - SECOND) // self.per_second

    def _fill(self, now: int) -> None:
        gained = (now - self._filled_at) * self.per_second
        self._level = min(self._level + gained, self._level_max)
        self._filled_at = now


def flow_of(settings: QueueSettings) -> Flow | None:
    bounds = (settings.max_in_flight, settings.max_per_second)
    return Flow(settings) if settings.paused or bounds != (None, None) else None
