"""One subscription as the session sees it: what came of its channels and waits to be taken.

Owns a track for each channel that it has met, and the bound in bytes on what waits.  It never
sends: ``Subscriptions`` asks the history for what it is behind with.  Laws:

- What comes while there is no room is dropped, and asked for again when there is.
- A channel that was not there when the subscription began is read from its birth.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from broker.client.channels.runs import EventRun, Gap, Part
from broker.client.channels.track import REIGN_BITS, Track, birth
from broker.client.waiters import Waiters
from broker.model.patterns import matches
from broker.model.slots import slot_of

if TYPE_CHECKING:
    from broker.client.counters import Counters
    from broker.errors import MsgQueueError

NOW, ALL, LAST, SEQUENCE, TIME = "now", "all", "last", "sequence", "time"


class Start(NamedTuple):
    """Where reading begins; ``value`` is the sequence, or the time in milliseconds."""

    kind: str
    value: int = 0


class Intake:
    def __init__(
        self, patterns: tuple[str, ...], start: Start, bytes_max: int, counters: Counters
    ) -> None:
        self.patterns = patterns
        self._counters = counters
        self.tracks: dict[str, Track] = {}
        #: Those of them that miss something which the history may have.
        self.behind: dict[Track, None] = {}
        self.waiters = Waiters()
        #: True once it is known where each channel stood when it began.
        self.is_joined = False
        self.is_closed = False
        self.error: MsgQueueError | None = None
        #: Messages that could not be had, as far as anybody knows how many.
        self.missed = 0
        self._start = start
        self._bytes_max = bytes_max
        #: Of what waits, what is held, and what was taken last.
        self._bytes = 0
        self._bytes_ready = 0
        self._bytes_taken = 0
        self._ready: deque[Part | Gap] = deque()
        #: Of channels that the baseline may still tell of.
        self._strangers: dict[str, list[tuple[EventRun, int | None]]] = {}
        self._has_baseline = False

    @property
    def has_news(self) -> bool:
        return bool(self._ready) or self.has_ended

    @property
    def has_ended(self) -> bool:
        return self.is_closed or self.error is not None

    @property
    def has_room(self) -> bool:
        return self._bytes < self._bytes_max

    @property
    def has_room_to_repair(self) -> bool:
        """What is held does not count: it is what waits for the repair."""
        return (self._bytes_ready + self._bytes_taken) * 2 < self._bytes_max

    def is_meant(self, channel: str) -> bool:
        return any(matches(pattern, channel) for pattern in self.patterns)

    # What comes.

    def live(self, run: EventRun, start: int | None) -> None:
        track = self.tracks.get(run.channel)
        if track is None:
            if not self._has_baseline:
                self._keep_stranger(run, start)
                return
            track = self._add_newborn(run.channel, run.first, start)
        track.take(run, start)

    def baseline(self, channel: str, facts: dict[str, Any]) -> bool:
        """Where the channel stands; False for a channel that was known before."""
        if channel in self.tracks:
            return False
        next_, start = facts["next"], facts.get("start")
        if self._has_baseline:
            self._add_newborn(channel, next_, start).hear(next_, start)
        else:
            self._add(channel, facts)
        for run, told in self._strangers.pop(channel, ()):
            self._bytes -= run.size
            self.tracks[channel].take(run, told)
        return True

    def complete(self) -> None:
        """The baseline was told of all channels: those that it does not have were born later."""
        self._has_baseline = True
        strangers, self._strangers = self._strangers, {}
        for runs in strangers.values():
            for run, start in runs:
                self._bytes -= run.size
                self.live(run, start)
        if not self.is_joined:
            self.is_joined = True
            self.waiters.tell()

    def hear(self, channel: str, next_: int, start: int | None) -> None:
        """The channel has come so far, and what is not here of it was lost on the way."""
        track = self.tracks.get(channel)
        if track is None:
            if not self._has_baseline or not self.is_meant(channel):
                return
            track = self._add_newborn(channel, next_, start)
        track.hear(next_, start)

    def of_older_reign(self, slot: int, epoch: int, slots: int) -> list[str]:
        """Channels of the slot whose sequences begin with an older reign than ``epoch``."""
        return [
            track.channel
            for track in self.tracks.values()
            if 0 < track.next >> REIGN_BITS < epoch and slot_of(track.channel, slots) == slot
        ]

    # What the application does.

    def take(self) -> deque[Part | Gap]:
        """All that waits; it counts for the bound until the next call."""
        self._bytes -= self._bytes_taken
        self._bytes_taken, self._bytes_ready = self._bytes_ready, 0
        ready, self._ready = self._ready, deque()
        return ready

    def give_back(self, items: deque[Part | Gap]) -> None:
        """What was taken and not looked at: it is the next to be taken."""
        size = sum(item[0].size for item in items if not isinstance(item, Gap))
        self._bytes_taken -= size
        self._bytes_ready += size
        items.extend(self._ready)
        self._ready = items

    def fail(self, error: MsgQueueError) -> None:
        self.error = error
        self.waiters.tell()

    def close(self) -> None:
        self.is_closed = True
        self.tracks.clear()
        self.behind.clear()
        self._ready.clear()
        self._strangers.clear()
        self.waiters.tell()

    # What a track tells.

    def hand_on(self, run: EventRun, start: int) -> None:
        self._bytes += run.size
        self._bytes_ready += run.size
        self._ready.append((run, start, run.count))
        self.waiters.tell()

    def tell_gap(self, gap: Gap) -> None:
        self._counters.event_gaps += 1
        if gap.missed is not None:
            self._counters.events_missed += gap.missed
            self.missed += gap.missed
        self._ready.append(gap)
        self.waiters.tell()

    def hold(self, run: EventRun) -> None:
        self._bytes += run.size

    def let_go(self, run: EventRun) -> None:
        self._bytes -= run.size

    def fell_behind(self, track: Track) -> None:
        self.behind[track] = None

    def _keep_stranger(self, run: EventRun, start: int | None) -> None:
        runs = self._strangers.setdefault(run.channel, [])
        # The first one tells that the channel has come so far, also where there is no room.
        if not runs or self.has_room:
            self._bytes += run.size
            runs.append((run, start))

    def _add_newborn(self, channel: str, sequence: int, start: int | None) -> Track:
        track = self.tracks[channel] = Track(self, channel, birth(sequence, start))
        track.is_newborn = True
        return track

    def _add(self, channel: str, facts: dict[str, Any]) -> None:
        next_: int = facts["next"]
        oldest: int = facts.get("oldest", next_)
        kind, value = self._start
        first = {
            NOW: next_,
            LAST: max(oldest, next_ - 1),
            SEQUENCE: value,
        }.get(kind, oldest)
        track = self.tracks[channel] = Track(self, channel, first)
        if next_ > first:
            track.is_silent = kind in (ALL, LAST, TIME)
            track.since_ms = value if kind == TIME else None
            track.hear(next_, facts.get("start"))
