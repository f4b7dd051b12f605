"""How far one subscription has come in one channel: order, once each, and what is missing.

Owns the next sequence, and what came ahead of it.  It never asks for anything: its intake does.
Laws:

- Messages are handed on in the order of their sequences, each once.
- What is handed on next is the next sequence, or behind a gap that was told.
- What came live passes ``head`` in order: a sequence below it that is not here was lost on the
  way, and is in the history or nowhere.

The sequences of a channel that is not durable begin with the reign of its slot (``epoch << 40``).
A newer reign is a new life of the channel: what was missed of the old one nobody can tell.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, Protocol

from broker.client.channels.runs import EventRun, Gap

if TYPE_CHECKING:
    from broker.client.channels.runs import HistoryPage

REIGN_BITS = 40


def birth(sequence: int, start: int | None) -> int:
    """The first sequence of the life that ``sequence`` belongs to."""
    return start if start is not None else sequence >> REIGN_BITS << REIGN_BITS


class Sink(Protocol):
    """Where a track's messages go."""

    @property
    def has_room(self) -> bool: ...

    def hand_on(self, run: EventRun, start: int) -> None:
        """The messages of ``run`` from index ``start`` on."""

    def tell_gap(self, gap: Gap) -> None: ...

    def hold(self, run: EventRun) -> None:
        """The run is kept here for now, and takes room."""

    def let_go(self, run: EventRun) -> None: ...

    def fell_behind(self, track: Track) -> None:
        """Something of this track is missing."""


class Track:
    __slots__ = (
        "_held",
        "_sink",
        "asks",
        "channel",
        "head",
        "is_newborn",
        "is_silent",
        "next",
        "since_ms",
    )

    def __init__(self, sink: Sink, channel: str, next_: int) -> None:
        self._sink = sink
        self.channel = channel
        self.next = next_
        #: Everything below was had, is held, or is lost on the live way.
        self.head = next_
        #: What came ahead of ``next``, by sequence.
        self._held: list[EventRun] = []
        #: The number of the last question to the history; odd while it is unanswered.
        self.asks = 0
        #: True while nothing of the present life has been seen.
        self.is_newborn = False
        #: True while what is missing was not asked for: a subscriber begins where he can.
        self.is_silent = False
        #: From which time on the first look at the history is wanted.
        self.since_ms: int | None = None

    @property
    def is_behind(self) -> bool:
        return self.head > self.next

    @property
    def is_asking(self) -> bool:
        return bool(self.asks & 1)

    def take(self, run: EventRun, start: int | None) -> None:
        """A run that came live; ``start`` as its header told."""
        first = run.first
        if first == self.next and not self._held and self._sink.has_room:
            # What nearly all of them are.
            self.is_newborn = self.is_silent = False
            self.next = next_ = first + run.count
            if next_ > self.head:
                self.head = next_
            self._sink.hand_on(run, 0)
            return
        if self._lives(first, start):
            self._accept(run)

    def hear(self, next_: int, start: int | None) -> None:
        """The channel has come so far, and all of it is lost on the live way, or is here."""
        if self._lives(next_, start) and next_ > self.head:
            self.head = next_
        self._look()

    def answered(self, page: HistoryPage, first: int, head: int) -> None:
        """What the history has from ``first`` on; ``first`` and ``head`` are of the question.

        Of what lies behind the page nothing is known yet, whatever came live in the meantime.
        """
        self.since_ms = None
        is_same_life = page.next >> REIGN_BITS == self.next >> REIGN_BITS
        if not is_same_life:
            self._begin(birth(page.next, None))
            self.is_silent = True  # A gap that nobody can measure was told for all of it.
            head = self.head
        for run in page.runs:
            self._pass(run.first)
            self._read(run)
        stop = page.after + 1 if page.more else page.next
        if is_same_life and stop <= first:
            stop = head  # A history that does not get on would be asked for ever.
        self._pass(min(head, stop))
        self.is_silent = self.is_silent and page.more
        self._look()

    def refused(self, head: int) -> None:
        """There is no history: what is missing below ``head`` cannot be had."""
        self.since_ms = None
        self.is_silent = False
        self._pass(head)
        self._look()

    def begin_anew(self) -> None:
        """The channel was deleted and made anew; its sequences begin again."""
        self._begin(birth(self.next, None))

    def _accept(self, run: EventRun) -> None:
        stop = run.first + run.count
        if stop > self.head:
            self.head = stop
        if stop > self.next and self._sink.has_room:
            if run.first <= self.next:
                self._read(run)
            else:
                self._sink.hold(run)
                insort(self._held, run, key=_first)
        self._look()

    def _read(self, run: EventRun) -> None:
        """Hands on a run that begins at ``next`` or before, and what waits for it."""
        self._hand_on(run)
        self._drain()

    def _hand_on(self, run: EventRun) -> None:
        stop = run.first + run.count
        if stop <= self.next:
            return
        start = self.next - run.first
        self.is_newborn = self.is_silent = False
        self.next = stop
        if stop > self.head:
            self.head = stop
        self._sink.hand_on(run, start)

    def _drain(self) -> None:
        held = self._held
        while held and held[0].first <= self.next:
            run = held.pop(0)
            self._sink.let_go(run)
            self._hand_on(run)

    def _pass(self, limit: int) -> None:
        """What is not here of all below ``limit`` is missing for good."""
        while self.next < limit:
            edge = min(limit, self._held[0].first) if self._held else limit
            if not self.is_silent:
                self._sink.tell_gap(Gap(self.channel, self.next, edge - self.next))
            self.next = edge
            self._drain()
        if self.head < self.next:
            self.head = self.next

    def _lives(self, sequence: int, start: int | None) -> bool:
        """False for a sequence of an older life; a newer one is begun."""
        reign, own = sequence >> REIGN_BITS, self.next >> REIGN_BITS
        if reign == own:
            if start is not None and start > self.next:
                self._begin(start)
            return True
        if reign and reign < own:
            return False
        self._begin(birth(sequence, start))
        return True

    def _begin(self, first: int) -> None:
        """A new life, from ``first`` on."""
        is_known = self.is_newborn and first >> REIGN_BITS == self.next >> REIGN_BITS
        if not is_known:
            if self._held:
                self._pass(self._held[-1].first)
            self._sink.tell_gap(Gap(self.channel, first, None))
        self.asks += self.asks & 1  # An answer that is on its way is of the old one.
        self.next = self.head = first
        self.is_newborn = True
        self.is_silent = False
        self.since_ms = None

    def _look(self) -> None:
        if self.head > self.next:
            self._sink.fell_behind(self)


def _first(run: EventRun) -> int:
    return run.first
