"""Subscribers of other brokers: what these are told of this one's, and the other way round.

Owns the exchange of interest and the heads under way.  It posts messages and never decides who
listens: that is the audience's.
"""

from __future__ import annotations

from broker.cluster.messages import (
    ChannelMessage,
    Fanout,
    Heads,
    HeadsHeard,
    Interest,
    InterestKnown,
    LinkHeader,
)
from broker.node.channels.audience import HERE, Audience
from broker.node.channels.heads import Head, HeadsForBrokers, Reign
from broker.node.channels.interest import InterestExchange, OwnInterest
from broker.node.channels.registry import Key
from broker.node.federation import Federation


class BetweenBrokers:
    """``heard`` are heads that others told, for the sessions here."""

    def __init__(self, federation: Federation, audience: Audience) -> None:
        self._federation = federation
        self._peers = federation.peers
        self._audience = audience
        self._own = OwnInterest()
        self._boot = federation.peers.boot
        self._exchange = InterestExchange(self._own, self._boot, audience.tell)
        self._heads = HeadsForBrokers()
        self._alive: dict[str, str] | None = None
        self.heard: list[tuple[list[Head], list[Reign]]] = []
        federation.take_of_channels = self.receive
        federation.link_began_anew = self._exchange.begin_anew

    # What this broker's clients listen to

    def note_interest(self, key: Key, count: int) -> None:
        self._own.note(key, count)

    @property
    def version(self) -> int:
        return self._own.version

    def unaware(self, version: int) -> list[str]:
        """Living brokers that may not know yet what was so in ``version``."""
        self._follow()
        return self._exchange.unaware(version)

    # What is sent

    def fan_out(self, brokers: tuple[str, ...], frames: list[bytes]) -> None:
        message = Fanout(frames)
        for broker in brokers:
            self._peers.post(broker, message)

    def tell_heads(self, heads: list[Head]) -> None:
        told: dict[str, list[Head]] = {}
        for head in heads:
            for broker in self._audience.route(head[0]).registered:
                if broker != HERE:
                    told.setdefault(broker, []).append(head)
        for broker, its in told.items():
            self._heads.note(broker, its, ())

    def tell_reigns(self, reigns: list[Reign]) -> None:
        for broker in self._audience.registered:
            if broker != HERE:
                self._heads.note(broker, (), reigns)

    def step(self, now: int) -> None:
        self._follow()
        for broker, interest in self._exchange.take_due(now):
            self._peers.post(broker, interest)
        for broker, heads in self._heads.take_due(now):
            self._peers.post(broker, heads)

    def _follow(self) -> None:
        """The view makes another map of the living whenever it changes."""
        alive = self._federation.steering.alive
        if alive is not self._alive:
            self._alive = alive
            others = [broker for broker in alive if broker != self._federation.me.broker]
            self._exchange.follow(others)
            self._heads.follow(others)

    def next_wake_at(self) -> int | None:
        instants = [at for at in (self._exchange.next_at(), self._heads.next_at()) if at]
        return min(instants, default=None)

    # What arrives

    def receive(self, header: LinkHeader, message: ChannelMessage) -> None:
        broker = header.broker
        if self._alive is None or broker not in self._alive:
            # It is told again once the view knows of it.
            return
        match message:
            case Interest():
                self._peers.post(broker, self._exchange.take(broker, header.boot, message))
            case InterestKnown():
                self._exchange.take_answer(broker, message)
            case Heads():
                self._peers.post(broker, HeadsHeard(header.boot, message.number))
                self.heard.append((message.heads, message.reigns))
            case HeadsHeard():
                if message.boot == self._boot:
                    self._heads.take_answer(broker, message.number)
