"""What all services of one broker share: their replies, their deadlines, their totals and bounds.

Law: whoever ends a call does so here, once; an end is told to the caller, or he is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from broker.core.services.call import Call
from broker.limits import CALL_BYTES_MAX
from broker.model.replies import Reply

if TYPE_CHECKING:
    from broker.core.services.service import Service

#: Ended calls leave the heap when it holds so many more than there are calls.
_STALE_MAX = 1_000

#: What a service counts -> under which name all of them are counted together.
COUNTED = {
    "calls": "calls",
    "answered": "calls_answered",
    "parts": "calls_parts",
    "no_responder": "calls_no_responder",
    "timeout": "calls_timeout",
    "handler_failed": "calls_handler_failed",
    "responder_lost": "calls_responder_lost",
    "cancelled": "calls_cancelled",
    "overloaded": "calls_overloaded",
    "caller_lost": "calls_caller_lost",
    "moved": "calls_moved",
    "retried": "calls_retried",
    "late": "calls_late",
}


class Switchboard:
    """``started_at`` is when a broker that is alone began, None in a cluster, where each slot has
    a reign of its own.  ``totals`` takes the counters of all services; each only rises."""

    def __init__(self, totals: dict[str, int], started_at: int | None) -> None:
        self.now = 0
        self.started_at = started_at
        self.totals = totals
        self.replies: list[Reply] = []
        #: Calls that are not over.
        self.calls = 0
        #: Bodies of calls that a worker may still be given.
        self.kept_bytes = 0
        #: Services that have calls and no worker yet; a dict for its order.
        self.gathering: dict[Service, None] = {}
        #: heap of (deadline, number, call); those that are over leave it late
        self._deadlines: list[tuple[int, int, Call]] = []
        self._number = 0

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def count(self, name: str) -> None:
        total = COUNTED[name]
        self.totals[total] = self.totals.get(total, 0) + 1

    # Calls and their deadlines

    def begin(self, call: Call) -> None:
        """From now on the call has a deadline, and its caller waits."""
        call.session.calls[call.req] = call
        self.calls += 1
        self._number += 1
        heappush(self._deadlines, (call.ends_at, self._number, call))

    def close(self, call: Call) -> None:
        """The call is over; what its worker says of it is late."""
        assert not call.is_over
        call.is_over = True
        del call.session.calls[call.req]
        self.calls -= 1
        self.drop_body(call)
        deadlines = self._deadlines
        if len(deadlines) > 2 * self.calls + _STALE_MAX:
            self._deadlines = [row for row in deadlines if not row[2].is_over]
            heapify(self._deadlines)

    def take_late(self) -> Iterator[Call]:
        """Calls whose deadline has come; the caller of this ends each."""
        while self._deadlines and self._deadlines[0][0] <= self.now:
            call = heappop(self._deadlines)[2]
            if not call.is_over:
                yield call

    @property
    def next_at(self) -> int | None:
        """When something ends by itself."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][2].is_over:
            heappop(deadlines)
        at = deadlines[0][0] if deadlines else None
        if self.gathering:
            gathered_at = min(service.gathers_until for service in self.gathering)
            at = gathered_at if at is None else min(at, gathered_at)
        return at

    # Bodies

    def has_room_for(self, body: bytes) -> bool:
        return self.kept_bytes + len(body) <= CALL_BYTES_MAX

    def keep_body(self, call: Call, body: bytes) -> None:
        call.body = body
        self.kept_bytes += len(body)

    def drop_body(self, call: Call) -> None:
        self.kept_bytes -= len(call.body)
        call.body = b""
