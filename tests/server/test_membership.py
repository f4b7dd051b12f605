"""A broker's part in its cluster: what the node is told, and in which order.

The links and the coordinator are real; the node is a script that writes down what it is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import zmq

from broker.cluster.ownership import BrokerRecord, ClusterConfig, ReplicaId, SlotConfig
from broker.cluster.view import Change, ClusterView, Swap, SwapAnswer, SwapOutcome
from broker.errors import OtherCluster
from broker.server.coordinator import TenureExtended
from broker.server.links import Links
from broker.server.local_coordinator import LocalCoordinator, LocalKeys
from broker.server.membership import Membership
from tests.support.waiting import wait_until

CONFIG = ClusterConfig("c1", slots=2, replication=2, min_isr=1)
CLAIM = SlotConfig((ReplicaId("a", "1"),), ("a",), (), "a", 1)


@dataclass
class ScriptedNode:
    told: list[tuple[Any, ...]] = field(default_factory=list)

    def receive_link(self, now_ms: int, frames: list[bytes]) -> None:
        self.told.append(("link", now_ms, frames))

    def view_listed(self, now_ms: int, view: ClusterView) -> None:
        self.told.append(("listed", now_ms, view))

    def view_changed(self, now_ms: int, change: Change) -> None:
        self.told.append(("changed", now_ms, change))

    def swap_answered(self, now_ms: int, swap: Swap, answer: SwapAnswer) -> None:
        self.told.append(("answered", now_ms, swap, answer))

    def tenure_extended(self, now_ms: int, until_ms: int) -> None:
        self.told.append(("tenure", now_ms, until_ms))

    def begin_leave(self, now_ms: int) -> None:
        self.told.append(("leave", now_ms))

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [told for told in self.told if told[0] == kind]


class Broker:
    """A membership of ``name``, with all that belongs to it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: LocalKeys, name: str) -> None:
        self.node = ScriptedNode()
        self.joined = 0
        self.links = Links(context, "tcp://127.0.0.1:0", own_id=name)
        self.record = BrokerRecord("1", ("tcp://127.0.0.1:1",), self.links.address, "1")
        self.coordinator = LocalCoordinator(
            keys, lambda: None, broker_id=name, record=self.record, cluster_id=CONFIG.id
        )
        self.membership = Membership(
            self.node,
            self.links,
            self.coordinator,
            self.record,
            deadline_at=lambda elapsed_ms: elapsed_ms + 1,
            joined=self._count_joined,
        )

    def start(self) -> None:
        self.coordinator.start()
        self.turn()

    def turn(self, now_ms: int = 7) -> None:
        self.membership.take_in(now_ms, 1)

    def _count_joined(self) -> None:
        self.joined += 1


class Rig:
    def __init__(self) -> None:
        self.keys = LocalKeys(CONFIG)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.brokers: list[Broker] = []

    def open(self, name: str) -> Broker:
        self.brokers.append(Broker(self._context, self.keys, name))
        return self.brokers[-1]

    def start(self, name: str) -> Broker:
        broker = self.open(name)
        broker.start()
        return broker

    def close(self) -> None:
        for broker in self.brokers:
            broker.membership.close()
        self._context.term()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def pass_on(sender: Broker, receiver: Broker, name: str, frames: list[bytes]) -> None:
    """Sends until the receiver's node has been told."""

    def is_told() -> bool:
        sender.turn()
        sender.membership.give_out([(name, frames)], [])
        receiver.turn()
        return ("link", 7, frames) in receiver.node.told

    wait_until(is_told, f"{frames} arrived")


def test_the_node_is_told_the_whole_view_first(rig: Rig) -> None:
    broker = rig.start("a")
    assert [told[0] for told in broker.node.told[:2]] == ["listed", "changed"]
    view = broker.node.told[0][2]
    assert view.config == CONFIG
    assert set(view.slots) == {0, 1}


def test_joined_is_said_once_however_often_the_keys_are_listed(rig: Rig) -> None:
    broker = rig.open("a")
    broker.turn()
    assert broker.joined == 0
    broker.start()
    assert broker.joined == 1
    broker.coordinator._listed(ClusterView(CONFIG))
    broker.turn()
    assert len(broker.node.of("listed")) == 2
    assert broker.joined == 1


def test_brokers_that_the_coordinator_names_are_linked(rig: Rig) -> None:
    first, second = rig.start("a"), rig.start("b")
    pass_on(first, second, "b", [b"to b", b"body"])
    pass_on(second, first, "a", [b"to a"])


def test_a_broker_whose_tenure_has_ended_is_no_longer_linked(rig: Rig) -> None:
    first, second = rig.start("a"), rig.start("b")
    pass_on(first, second, "b", [b"to b"])
    dropped = first.membership.counters["links_dropped_b"]
    rig.keys.end_tenure("b")
    first.turn()
    first.membership.give_out([("b", [b"lost"])], [])
    assert first.membership.counters["links_dropped_b"] == dropped + 1
    assert first.node.of("changed")[-1][2].value is None


def test_coordinator_events_are_told_before_what_other_brokers_sent(rig: Rig) -> None:
    first, second = rig.start("a"), rig.start("b")
    pass_on(first, second, "b", [b"before"])
    first.membership.give_out([("b", [b"later"])], [])
    wait_until(second.membership.has_input, "input waits")
    rig.keys.put("slots", "1", CLAIM)
    second.node.told.clear()
    second.turn(8)
    kinds = [told[0] for told in second.node.told]
    assert kinds.index("changed") < kinds.index("link")
    assert {told[1] for told in second.node.told} == {8}


def test_a_swap_is_carried_and_its_answer_told(rig: Rig) -> None:
    broker = rig.start("a")
    revision = broker.node.told[0][2].slots[1].revision
    swap = Swap(1, revision, CLAIM)
    broker.membership.give_out([], [swap, swap])
    broker.turn()
    answers = [(told[2], told[3].outcome) for told in broker.node.of("answered")]
    assert answers == [(swap, SwapOutcome.DONE), (swap, SwapOutcome.CONFLICT)]


def test_a_tenure_is_told_in_the_nodes_own_time(rig: Rig) -> None:
    broker = rig.start("a")
    broker.coordinator._tell(TenureExtended(41))
    broker.turn()
    assert broker.node.of("tenure")[-1] == ("tenure", 7, 42)


def test_the_others_know_that_a_broker_leaves_before_its_node_acts(rig: Rig) -> None:
    broker, other = rig.start("a"), rig.start("b")
    broker.membership.begin_leave(9)
    assert broker.node.told[-1] == ("leave", 9)
    other.turn()
    record = other.node.of("changed")[-1][2].value
    assert (record.leaving, record.links) == (True, broker.record.links)


def test_what_the_coordinator_cannot_bear_ends_the_loop(rig: Rig) -> None:
    rig.keys.put("config", "", ClusterConfig("another", 2, 2, 1))
    with pytest.raises(OtherCluster):
        rig.start("a")


def test_the_end_of_a_membership_is_seen_at_once(rig: Rig) -> None:
    broker, other = rig.start("a"), rig.start("b")
    broker.membership.close()
    other.turn()
    change = other.node.of("changed")[-1][2]
    assert (change.kind, change.name, change.value) == ("brokers", "a", None)
    rig.brokers.remove(broker)
