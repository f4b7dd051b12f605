"""Questions to the history, for what did not come live.

Owns which tracks have asked, a few of each subscription at a time.  It never decides what is
missing: the tracks do.  Law: nothing is asked for that there is no room for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.client.channels.runs import HistoryPage
from broker.errors import SequenceAhead, UnreadableMessage
from broker.limits import BATCH_COUNT_MAX, MIB

if TYPE_CHECKING:
    from broker.client.channels.intake import Intake
    from broker.client.channels.track import Track
    from broker.client.requests import Request, Requests

#: Of one subscription.
ASKING_MAX = 4
PAGE_BYTES = 1 * MIB
RETRY_MS = 200


class Repairs:
    def __init__(self, requests: Requests) -> None:
        #: The time as of the last turn: answers come without one.
        self.now = 0
        self._requests = requests
        self._asking: dict[Intake, int] = {}
        self._retry_at: int | None = None

    def next_at(self) -> int | None:
        return self._retry_at

    def go_on(self, intake: Intake) -> None:
        """Asks for what ``intake`` misses, as far as it has room."""
        if self._retry_at is not None and self.now < self._retry_at:
            return
        self._retry_at = None
        for track in list(intake.behind):
            if not track.is_behind:
                del intake.behind[track]
            elif self._asking.get(intake, 0) >= ASKING_MAX or not intake.has_room_to_repair:
                return
            elif not track.is_asking:
                self._ask(intake, track)

    def _ask(self, intake: Intake, track: Track) -> None:
        track.asks += 1
        number, first, head = track.asks, track.next, track.head
        fields: dict[str, Any] = {
            "cmd": "history",
            "channel": track.channel,
            "after": first - 1,
            "max": BATCH_COUNT_MAX,
            "bytes_max": PAGE_BYTES,
        }
        if track.since_ms is not None:
            fields["since_ms"] = track.since_ms
        self._asking[intake] = self._asking.get(intake, 0) + 1
        request = self._requests.ask(fields, self.now)
        request.waiters.add(lambda: self._answered(intake, track, number, first, head, request))

    def _answered(
        self, intake: Intake, track: Track, number: int, first: int, head: int, request: Request
    ) -> None:
        self._asking[intake] -= 1
        if not self._asking[intake]:
            del self._asking[intake]
        if intake.is_closed or track.asks != number:
            return
        track.asks += 1
        error = request.error
        if error is None:
            track.answered(HistoryPage(track.channel, request.result), first, head)
        elif isinstance(error, SequenceAhead):
            track.begin_anew()
        elif error.retryable and not isinstance(error, UnreadableMessage):
            self._retry_at = self.now + RETRY_MS
        else:
            track.refused(head)
        self.go_on(intake)
