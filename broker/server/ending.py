"""The end of a broker that was asked to stop, stage by stage.

    serving -> leaving -> draining -> over        in a cluster
    serving -> draining -> over                   alone

Leaving, it serves on while others take its slots over; draining, it takes no new work and finishes
what it has.  Law: both together last no longer than ``drain_ms``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from broker.node.node import Node
from broker.server.logs import log_event
from broker.server.membership import Membership

_log = logging.getLogger("broker.server")

#: This share of the time is kept for the drain.
_DRAIN_DIVISOR = 4


class Ending:
    def __init__(
        self,
        node: Node,
        membership: Membership | None,
        *,
        stop_asked: Callable[[], bool],
        now_ms: Callable[[], int],
        drain_ms: int,
    ) -> None:
        self._node = node
        self._membership = membership
        self._stop_asked = stop_asked
        self._now_ms = now_ms
        self._drain_ms = drain_ms
        self._ends_at: int | None = None
        self._leaves_until: int | None = None

    def advance(self, now_ms: int) -> None:
        """To be called before input is taken: the next stage begins when it is time."""
        if self._ends_at is None:
            if self._stop_asked():
                self._begin(now_ms)
        elif self._has_left(now_ms):
            self._drain(now_ms)

    def is_over(self, *, is_held: bool) -> bool:
        """``is_held`` tells that the node could not act of late."""
        if self._ends_at is None:
            return False
        if self._node.is_drained and not is_held:
            return True
        if self._now_ms() < self._ends_at:
            return False
        log_event(_log, logging.WARNING, "drain cut short", drain_ms=self._drain_ms)
        return True

    def _begin(self, now_ms: int) -> None:
        self._ends_at = now_ms + self._drain_ms
        if self._membership is None:
            self._node.begin_drain(now_ms)
        else:
            self._leaves_until = self._ends_at - self._drain_ms // _DRAIN_DIVISOR
            self._membership.begin_leave(now_ms)

    def _has_left(self, now_ms: int) -> bool:
        if self._leaves_until is None:
            return False
        return self._node.has_left or now_ms >= self._leaves_until

    def _drain(self, now_ms: int) -> None:
        self._leaves_until = None
        if not self._node.has_left:
            log_event(_log, logging.WARNING, "left without handing all slots over")
        self._node.begin_drain(now_ms)
