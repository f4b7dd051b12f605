"""Recurring schedules: asks the calendar what is due and the node to put it.

Owns the next instant of each schedule that is served here.  It is a client of the node: whether an
instant was put already is the log's to say, so that a restart or another primary neither doubles
nor forgets one.  Of the instants that passed while no primary stood only the latest is put.

Law: what is wrong with one schedule stops no other, and is logged once and shown in the stats.
"""

from __future__ import annotations

import logging

from broker.core.timing.schedules import Scheduled
from broker.errors import MsgQueueError
from broker.node.node import Node
from broker.server.cron import latest_until, next_after
from broker.server.logs import log_event

_log = logging.getLogger("broker.server")


class _Clock:
    """One schedule as it is served in one epoch; ``last_at`` counts what was handed over."""

    def __init__(self, last_at: int) -> None:
        self.last_at = last_at
        #: 0 before it was asked for; None where there is none.
        self.next_at: int | None = 0
        self.error = ""


#: (slot, epoch, queue, schedule, expression, zone)
_Key = tuple[int, int, str, str, str, str]


class Schedules:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._clocks: dict[_Key, _Clock] = {}

    def look(self, now_ms: int) -> None:
        """Puts what is due; called a few times a second."""
        clocks: dict[_Key, _Clock] = {}
        for scheduled in self._node.recurring.schedules(now_ms):
            recurring = scheduled.recurring
            key = (*scheduled[:4], recurring.cron, recurring.zone)
            clock = clocks[key] = self._clocks.get(key) or _Clock(scheduled.last_at)
            if clock.next_at is None or now_ms < clock.next_at:
                continue
            try:
                self._go_on(scheduled, clock, now_ms)
                self._tell(scheduled, clock, "")
            except MsgQueueError as error:
                self._tell(scheduled, clock, f"{error.name}: {error.text}")
        self._clocks = clocks

    def next_at(self) -> int | None:
        """When one of them is due, as of the last look."""
        return min(
            (clock.next_at for clock in self._clocks.values() if clock.next_at), default=None
        )

    def _go_on(self, scheduled: Scheduled, clock: _Clock, now_ms: int) -> None:
        cron, zone = scheduled.recurring.cron, scheduled.recurring.zone
        due_at = latest_until(cron, zone, now_ms)
        if due_at is not None and due_at > clock.last_at:
            self._node.recurring.put_scheduled(now_ms, scheduled, due_at)
            clock.last_at = due_at
        clock.next_at = next_after(cron, zone, now_ms)

    def _tell(self, scheduled: Scheduled, clock: _Clock, error: str) -> None:
        if error and error != clock.error:
            where = {"queue": scheduled.queue, "schedule": scheduled.name}
            log_event(_log, logging.WARNING, "schedule is not put", **where, reason=error)
        clock.error = error
        told = scheduled._replace(last_at=clock.last_at)
        self._node.recurring.note_schedule(told, clock.next_at or 0, error)
