"""Recurring schedules as the shell sees them: it knows the calendar, the slots know what was put.

A schedule's message for one instant is a put like any other, in a turn of its slot.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.core.timing.schedules import Scheduled, note_schedule, put_scheduled, schedules_of
from broker.node.replica import Replica
from broker.node.replicas import Replicas


class Recurring:
    """``active`` takes the slots that were given work; ``advance`` hears that a turn is wanted."""

    def __init__(
        self,
        replicas: Replicas,
        active: dict[int, Replica],
        may_act: Callable[[Replica, int], bool],
        advance: Callable[[int], None],
    ) -> None:
        self._replicas = replicas
        self._active = active
        self._may_act = may_act
        self._advance = advance

    def schedules(self, now_ms: int) -> list[Scheduled]:
        """Those of the slots that this broker serves and acts for."""
        self._advance(now_ms)
        found: list[Scheduled] = []
        for replica in self._replicas:
            if replica.machine.is_serving and self._may_act(replica, now_ms):
                replica.machine.log.advance_time(now_ms)
                before = replica.log.last_lsn
                found += schedules_of(replica.machine)
                if replica.log.last_lsn > before:
                    self._active[replica.slot] = replica
        return found

    def put_scheduled(self, now_ms: int, scheduled: Scheduled, at: int) -> None:
        """Puts a schedule's message for one instant, once; raises what refuses it for now."""
        self._advance(now_ms)
        replica = self._replicas.find(scheduled.slot)
        assert replica is not None
        replica.machine.log.advance_time(now_ms)
        self._active[replica.slot] = replica
        put_scheduled(replica.machine, scheduled.queue, scheduled.name, at)

    def note_schedule(self, scheduled: Scheduled, next_at: int, error: str) -> None:
        """What the stats of its queue say of a schedule."""
        replica = self._replicas.find(scheduled.slot)
        assert replica is not None
        note_schedule(replica.machine, scheduled, next_at, error)
