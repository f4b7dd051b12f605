"""What is said of how far channels are, until it is known to be true.

    heads --a grace--> what is here by now is forgotten --an echo--> heard: the rest was lost

Heads come over the DEALER, the messages that they tell of through the XPUB, and under load the
second way is the longer one by far, also while its socket reads dry.  So nothing is believed
before an echo that was asked for later has come by that way.  Owns what was said and not believed
yet; one echo is on its way at a time, for all that is ripe.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from broker.client.channels.echoes import Echo, Echoes
    from broker.client.channels.intake import Intake
    from broker.client.exchange import Exchange

#: Most messages come within so long after their head, and then no echo is asked for.
GRACE_MS = 50


class Rumour(NamedTuple):
    """A channel is said to have come so far."""

    heard_at: int
    intake: Intake
    channel: str
    next: int
    start: int | None

    @property
    def is_old(self) -> bool:
        """True when what it tells of is here, or nobody wants it any more."""
        track = self.intake.tracks.get(self.channel)
        return self.intake.is_closed or (track is not None and track.next >= self.next)


class Rumours:
    def __init__(self, echoes: Echoes) -> None:
        self._echoes = echoes
        #: In the order in which they were heard.
        self._heard: deque[Rumour] = deque()
        #: Those that the echo on its way will prove.
        self._ripe: list[Rumour] = []
        self._echo: Echo | None = None

    def __bool__(self) -> bool:
        return bool(self._heard or self._ripe)

    def add(self, rumour: Rumour) -> None:
        if not rumour.is_old:
            self._heard.append(rumour)

    def clear(self) -> None:
        self._heard.clear()
        self._ripe.clear()
        if self._echo is not None:
            self._echoes.give_up(self._echo)
            self._echo = None

    def tick(self, now: int, exchange: Exchange | None) -> None:
        if self._echo is not None or exchange is None:
            return
        while self._heard and now >= self._heard[0].heard_at + GRACE_MS:
            rumour = self._heard.popleft()
            if not rumour.is_old:
                self._ripe.append(rumour)
        if self._ripe:
            self._echo = self._echoes.ask(exchange, self._believe)

    def next_at(self) -> int | None:
        if self._echo is not None or not self._heard:
            return None
        return self._heard[0].heard_at + GRACE_MS

    def _believe(self) -> None:
        self._echo = None
        ripe, self._ripe = self._ripe, []
        for rumour in ripe:
            if not rumour.intake.is_closed:
                rumour.intake.hear(rumour.channel, rumour.next, rumour.start)
