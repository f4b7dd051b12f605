"""How one subscription begins at a broker, so that nothing is missed between past and live.

    subscribe each pattern  --all answered--+
                                            +--> ask where the channels stand --> joined
    echo, until it is heard ----------------+

Whatever is published after the answers to both comes live (``echoes``), and what came before
stands in the census.
It never reads a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from broker.errors import SubscriptionExists

if TYPE_CHECKING:
    from broker.client.channels.echoes import Echo, Echoes
    from broker.client.channels.intake import Intake
    from broker.client.codec import Reply
    from broker.client.exchange import Exchange

RETRY_MS = 250
PAGE_CHANNELS = 1_000


class Listener(Protocol):
    """Whom a join tells what it finds."""

    def found(self, intake: Intake, channel: str, facts: dict[str, Any]) -> None: ...

    def joined(self, join: Join) -> None: ...

    def refused(self, join: Join, reply: Reply) -> None: ...


class Join:
    def __init__(
        self,
        listener: Listener,
        intake: Intake,
        exchange: Exchange,
        numbers: dict[int, str],
        echoes: Echoes,
    ) -> None:
        self.intake = intake
        self._listener = listener
        self._exchange = exchange
        self._numbers = numbers
        #: Patterns that the broker has not confirmed yet.
        self._owed = len(numbers)
        self._echoes = echoes
        self._echo: Echo | None = None
        self._is_heard = False
        self._retry_at: int | None = None
        #: Subscriptions to be asked for once more.
        self._refused: list[int] = []
        self._is_over = False

    def begin(self) -> None:
        for number in self._numbers:
            self._subscribe(number)
        self._echo = self._echoes.ask(self._exchange, self._heard)

    def end(self) -> None:
        """Answers that still come are of no use."""
        self._is_over = True
        if self._echo is not None:
            self._echoes.give_up(self._echo)

    def tick(self, now: int) -> None:
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            refused, self._refused = self._refused, []
            for number in refused:
                self._subscribe(number)
            self._maybe_look()

    def next_at(self) -> int | None:
        return self._retry_at

    def _heard(self) -> None:
        self._is_heard = True
        self._maybe_look()

    def _subscribe(self, number: int) -> None:
        def answered(reply: Reply, now: int) -> None:
            error = reply.error()
            if self._is_over:
                return
            if error is None or isinstance(error, SubscriptionExists):
                self._owed -= 1
                self._maybe_look()
            elif error.retryable:
                self._refused.append(number)
                self._retry_at = now + RETRY_MS
            else:
                self._listener.refused(self, reply)

        fields = {"cmd": "subscribe", "pattern": self._numbers[number], "sub": number}
        self._exchange.ask(fields, answered)

    def _maybe_look(self) -> None:
        if self._is_heard and not self._owed:
            self._look(list(self.intake.patterns), "", is_whole=True)

    def _look(self, patterns: list[str], after: str, *, is_whole: bool) -> None:
        """One page of the channels that the first of ``patterns`` means."""

        def answered(reply: Reply, now: int) -> None:
            if self._is_over:
                return
            error = reply.error()
            if error is not None and not error.retryable:
                self._listener.refused(self, reply)
                return
            if error is not None:
                self._retry_at = now + RETRY_MS
                return
            channels = reply.header["channels"]
            for channel, facts in channels:
                self._listener.found(self.intake, channel, facts)
            has_all = is_whole and not reply.header.get("slots_missing")
            if reply.header["more"] and channels:
                self._look(patterns, channels[-1][0], is_whole=has_all)
            elif len(patterns) > 1:
                self._look(patterns[1:], "", is_whole=has_all)
            elif has_all:
                self._listener.joined(self)
            else:
                # Of a slot without an owner nobody knows how far its channels are.
                self._retry_at = now + RETRY_MS

        fields: dict[str, Any] = {"cmd": "channels", "pattern": patterns[0], "max": PAGE_CHANNELS}
        if after:
            fields["after"] = after
        self._exchange.ask(fields, answered)
