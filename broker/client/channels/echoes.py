"""Echoes: a topic of the client's own that comes back through the XPUB.

    subscribe the topic --> "echo" over the DEALER --> the XPUB --> heard

A connection gives in order what it does not lose; so once an echo is heard, all that the XPUB was
given before it is here, or was lost on the way.  The broker knows by then all topics that were
subscribed before it.  Owns the topics that are on their way; what the XPUB dropped is asked for
again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.limits import ECHO_PREFIX

if TYPE_CHECKING:
    from broker.client.channels.hearing import Hearing
    from broker.client.codec import Reply
    from broker.client.connection import Draw
    from broker.client.exchange import Exchange

PAUSE_MS_MIN = 5
PAUSE_MS_MAX = 250
#: Nobody else has the same topic, also none that is still on its way from an earlier question.
TOPIC_BYTES = 12


class Echo:
    """One question, until it is heard or given up."""

    __slots__ = ("again_at", "exchange", "is_over", "pause_ms", "then", "topic")

    def __init__(self, exchange: Exchange, topic: bytes, then: Callable[[], None]) -> None:
        self.exchange = exchange
        self.topic = topic
        self.then = then
        self.pause_ms = PAUSE_MS_MIN
        self.again_at: int | None = None
        self.is_over = False

    def ask(self) -> None:
        self.again_at = None
        self.exchange.ask({"cmd": "echo", "topic": self.topic}, self._answered)

    def _answered(self, _reply: Reply, now: int) -> None:
        if not self.is_over:
            self.again_at = now + self.pause_ms
            self.pause_ms = min(self.pause_ms * 2, PAUSE_MS_MAX)


class Echoes:
    def __init__(self, hearing: Hearing, draw: Draw) -> None:
        self._hearing = hearing
        self._draw = draw
        self._on_their_way: dict[bytes, Echo] = {}

    def ask(self, exchange: Exchange, then: Callable[[], None]) -> Echo:
        """``then`` is called once, in the order of what the socket brings."""
        topic = ECHO_PREFIX + self._draw(TOPIC_BYTES).hex().encode()
        echo = self._on_their_way[topic] = Echo(exchange, topic, then)
        self._hearing.add((topic,))
        echo.ask()
        return echo

    def heard(self, topic: bytes) -> None:
        """One that was asked for again may come twice: the second time it tells nothing."""
        echo = self._on_their_way.get(topic)
        if echo is not None:
            self.give_up(echo)
            echo.then()

    def give_up(self, echo: Echo) -> None:
        if not echo.is_over:
            echo.is_over = True
            del self._on_their_way[echo.topic]
            self._hearing.remove((echo.topic,))

    def tick(self, now: int) -> None:
        for echo in self._on_their_way.values():
            if echo.again_at is not None and now >= echo.again_at:
                echo.ask()

    def next_at(self) -> int | None:
        instants = [echo.again_at for echo in self._on_their_way.values()]
        return min((at for at in instants if at is not None), default=None)
