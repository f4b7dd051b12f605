"""Subscribers of a cluster that is driven by hand: what they ask for, and what they are told."""

from __future__ import annotations

from typing import Any

from broker.cluster.messages import Message, decode_link
from tests.support.cluster_rig import BrokerRig, ClusterRig, Way
from tests.support.node_rig import PEER, Sent


def subscribed_cluster() -> ClusterRig:
    """Three brokers, each with a session."""
    rig = ClusterRig(slots=8)
    for broker in rig.living:
        broker.hello(timeout_ms=300_000)
    return rig


class Listened:
    """The messages that every link carries from now on, by its way."""

    def __init__(self, cluster: ClusterRig) -> None:
        self.messages: list[tuple[Way, Message]] = []
        self._carry = cluster.carry
        cluster.carry = self._listen  # type: ignore[method-assign]

    def _listen(self, way: Way, frames: list[bytes]) -> None:
        self.messages += [(way, message) for message in decode_link(frames)[1]]
        self._carry(way, frames)

    def ways(self, kind: type[Any]) -> list[Way]:
        return [way for way, message in self.messages if isinstance(message, kind)]


def channel_of(cluster: ClusterRig, name: str) -> str:
    """A channel whose slot that broker serves."""
    return next(c for c in (f"c{n}" for n in range(99)) if cluster.owned(c).primary == name)


def subscribe(broker: BrokerRig, pattern: str, sub: int = 1) -> Sent:
    return broker.ask(PEER, "subscribe", pattern=pattern, sub=sub)


def heads(broker: BrokerRig, mark: int = 0) -> list[list[Any]]:
    told = [each for each in broker.sent[mark:] if each.re == "heads"]
    return [head for each in told for head in each["heads"]]


def reigns(broker: BrokerRig, mark: int = 0) -> list[list[int]]:
    told = [each for each in broker.sent[mark:] if each.re == "heads"]
    return [reign for each in told for reign in each["reigns"]]


def knows(cluster: ClusterRig, channel: str, number: int) -> bool:
    return all(broker.node._hub.count(channel) == number for broker in cluster.living)
