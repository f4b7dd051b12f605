"""Subscribers at any broker: interest, fan-out, heads, over links that lose, double and reorder."""

from __future__ import annotations

from random import Random

import msgpack
import pytest

from broker import limits
from broker.cluster.messages import (
    Fanout,
    Interest,
)
from broker.limits import REPLICA_RETRY, SUBSCRIBE_WAIT
from tests.support.channels import Event, declare, heard, publish
from tests.support.cluster_rig import ClusterRig, Way
from tests.support.listeners import (
    Listened,
    channel_of,
    knows,
    subscribe,
    subscribed_cluster,
)
from tests.support.node_rig import PEER

KEPT = {"history_messages": 100, "durable": True}


@pytest.fixture
def cluster() -> ClusterRig:
    return subscribed_cluster()


# Interest


def test_every_broker_counts_the_subscriptions_of_all(cluster: ClusterRig) -> None:
    for broker in cluster.living:
        assert "missing" not in subscribe(broker, "c.*").header
    cluster["a"].node.note_subscription(b"c.", True)
    cluster["b"].node.note_subscription(b"c.x\0", True)
    cluster.run()
    # That of a is the connection of its own session.
    assert knows(cluster, "c.x", 4)
    for broker in cluster.living:
        assert publish(broker, "c.x", b"1")["subscriptions"] == 4
    cluster["a"].ask(PEER, "unsubscribe", sub=1)
    cluster["c"].ask(PEER, "bye")
    cluster.run()
    # ... and now nobody's.
    assert knows(cluster, "c.x", 3)


def test_a_subscribe_is_answered_when_every_broker_knows(cluster: ClusterRig) -> None:
    cluster.hold("b", "a")
    a, b = cluster["a"], cluster["b"]
    req = a.command(PEER, "subscribe", pattern="x", sub=1)
    cluster.run()
    assert b.node._hub.count("x") == 1
    assert not [each for each in a.sent if each.req == req]
    for frames in cluster.release("b", "a"):
        a.node.receive_link(cluster.now, frames)
    cluster.run()
    [answer] = [each for each in a.sent if each.req == req]
    assert "missing" not in answer.header


def test_a_subscribe_says_who_did_not_hear_of_it_in_time(cluster: ClusterRig) -> None:
    cluster.part("c")
    req = cluster["a"].command(PEER, "subscribe", pattern="x", sub=1)
    cluster["a"].pass_time(SUBSCRIBE_WAIT)
    [answer] = [each for each in cluster["a"].sent if each.req == req]
    assert answer["missing"] == ["c"]
    cluster.cut.clear()
    cluster.pass_time(2 * REPLICA_RETRY)
    assert knows(cluster, "x", 1)


def test_a_dead_broker_keeps_no_subscribe_waiting_and_counts_no_more(cluster: ClusterRig) -> None:
    subscribe(cluster["c"], "x")
    cluster.kill("c")
    assert "missing" not in subscribe(cluster["a"], "x").header
    assert knows(cluster, "x", 1)


def test_a_broker_that_starts_again_is_told_all_and_listens_no_more(cluster: ClusterRig) -> None:
    for broker in cluster.living:
        subscribe(broker, "x")
    cluster.kill("b")
    cluster.start("b")
    cluster.pass_time(2_000)
    assert knows(cluster, "x", 2)


def test_a_broker_that_starts_again_before_anybody_saw_its_end_is_told_all(
    cluster: ClusterRig,
) -> None:
    for broker in cluster.living:
        subscribe(broker, "x")
    broker = cluster["b"]
    broker.links, broker.swaps = [], []
    broker.store.crash(0)
    broker.open()
    cluster._list(broker)
    cluster.pass_time(2_000)
    assert knows(cluster, "x", 2)


def test_much_interest_is_told_in_parts(
    cluster: ClusterRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "INTEREST_CHANGES_MAX", 7)
    for number in range(50):
        cluster["a"].command(PEER, "subscribe", pattern=f"x{number}", sub=number)
    cluster.run()
    assert all(knows(cluster, f"x{number}", 1) for number in range(50))
    cluster.kill("b")
    listened = Listened(cluster)
    cluster.start("b")
    cluster.pass_time(2_000)
    assert all(knows(cluster, f"x{number}", 1) for number in range(50))
    assert listened.ways(Interest).count(("a", "b")) >= 8


def test_what_is_gone_is_forgotten_with_its_edition(
    cluster: ClusterRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "INTEREST_GONE_MAX", 5)
    a = cluster["a"]
    subscribe(a, "stays", sub=1_000)
    for number in range(40):
        subscribe(a, f"x{number}", sub=number)
        a.ask(PEER, "unsubscribe", sub=number)
    cluster.run()
    assert knows(cluster, "stays", 1)
    assert not any(broker.node._hub.count("x3") for broker in cluster.living)
    others = a.node._hub._others
    assert others is not None
    assert len(others._own._changes) <= 7


class Storm:
    """Links that lose, double and hold back what they carry, by one seed."""

    def __init__(self, cluster: ClusterRig, seed: int) -> None:
        self._random = Random(seed)
        self._cluster = cluster
        self._carry = cluster.carry
        self._late: list[tuple[Way, list[bytes]]] = []
        cluster.carry = self._maybe  # type: ignore[method-assign]

    def _maybe(self, way: Way, frames: list[bytes]) -> None:
        fate = self._random.random()
        if fate < 0.2:
            return
        if fate < 0.4:
            self._late.append((way, frames))
            return
        self._carry(way, frames)
        if fate < 0.5:
            self._carry(way, frames)
        if self._late and fate > 0.8:
            self._carry(*self._late.pop(self._random.randrange(len(self._late))))

    def end(self) -> None:
        self._cluster.carry = self._carry  # type: ignore[method-assign]
        for late in self._late:
            self._carry(*late)


@pytest.mark.parametrize("seed", range(12))
def test_interest_is_the_same_everywhere_after_a_storm(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "INTEREST_CHANGES_MAX", 3)
    monkeypatch.setattr(limits, "INTEREST_GONE_MAX", 4)
    cluster = ClusterRig(slots=2)
    for broker in cluster.living:
        broker.hello(timeout_ms=300_000)
    storm, random = Storm(cluster, seed), Random(seed)
    wanted: dict[tuple[str, int], str] = {}
    for step in range(60):
        name = random.choice("abc")
        mine = [sub for broker, sub in wanted if broker == name]
        if mine and random.random() < 0.4:
            sub = random.choice(mine)
            del wanted[name, sub]
            cluster[name].command(PEER, "unsubscribe", sub=sub)
        else:
            pattern = random.choice(["x", "x.*", "x.>", ">", "y"])
            wanted[name, step] = pattern
            cluster[name].command(PEER, "subscribe", pattern=pattern, sub=step)
        cluster.pass_time(random.choice([0, 20, 300]))
    storm.end()
    cluster.pass_time(6 * REPLICA_RETRY)
    for channel, patterns in {
        "x": {"x", ">"},
        "x.a": {"x.*", "x.>", ">"},
        "y": {"y", ">"},
        "z": {">"},
    }.items():
        assert knows(cluster, channel, sum(each in patterns for each in wanted.values()))


# Fan-out


@pytest.mark.parametrize("listener", "abc")
@pytest.mark.parametrize("publisher", "abc")
def test_a_subscriber_at_any_broker_has_what_is_published_at_any(
    cluster: ClusterRig, listener: str, publisher: str
) -> None:
    cluster[listener].node.note_subscription(b"", True)
    cluster.run()
    for name in "abc":
        channel = channel_of(cluster, name)
        publish(cluster[publisher], channel, b"x")
        first = 1 << 40
        assert heard(cluster[listener], channel) == [Event(first, b"x")]


def test_a_message_crosses_a_link_once_and_only_to_where_somebody_listens(
    cluster: ClusterRig,
) -> None:
    channel = channel_of(cluster, "a")
    for broker in cluster.living:
        broker.hello(b"\0othr")
    for peer in (PEER, b"\0othr"):
        for sub, pattern in enumerate((channel, "*", ">")):
            cluster["b"].ask(peer, "subscribe", pattern=pattern, sub=sub)
    cluster["b"].node.note_subscription(channel.encode() + b"\0", True)
    cluster["b"].node.note_subscription(b"", True)
    subscribe(cluster["c"], "elsewhere")
    cluster.run()
    listened = Listened(cluster)
    assert publish(cluster["a"], channel, b"x", b"y")["subscriptions"] == 6
    assert listened.ways(Fanout) == [("a", "b")]
    assert len(heard(cluster["b"], channel)) == 2
    assert cluster["c"].published == []


def test_nothing_crosses_a_link_when_nobody_listens_any_more(cluster: ClusterRig) -> None:
    channel = channel_of(cluster, "a")
    cluster["b"].node.note_subscription(b"", True)
    cluster.run()
    cluster["b"].node.note_subscription(b"", False)
    cluster.run()
    listened = Listened(cluster)
    publish(cluster["a"], channel, b"x")
    assert listened.ways(Fanout) == []


def test_a_publish_of_a_kept_channel_leaves_every_broker_once_committed(
    cluster: ClusterRig,
) -> None:
    channel = channel_of(cluster, "a")
    declare(cluster["a"], channel, **KEPT)
    for broker in cluster.living:
        broker.node.note_subscription(b"", True)
    cluster.run()
    cluster.stuck = {"b", "c"}
    batch = msgpack.packb([b"x"])
    cluster["a"].command(PEER, "publish", batch, channel=channel, count=1)
    cluster.run()
    assert all(broker.published == [] for broker in cluster.living)
    cluster.stuck = set()
    cluster.run()
    assert all(heard(broker, channel) == [Event(0, b"x")] for broker in cluster.living)


def test_a_raw_publish_goes_to_the_owner_of_the_slot(cluster: ClusterRig) -> None:
    channel = channel_of(cluster, "a")
    for broker in cluster.living:
        broker.node.note_subscription(b"", True)
    cluster.run()
    cluster["b"].node.receive_raw(cluster.now, [channel.encode(), b"x"])
    cluster.run()
    first = 1 << 40
    assert all(heard(broker, channel) == [Event(first, b"x")] for broker in cluster.living)


def test_a_raw_publish_that_nobody_takes_is_counted(cluster: ClusterRig) -> None:
    channel = channel_of(cluster, "a")
    cluster.part("b")
    cluster.pass_time(limits.LINK_SILENCE_MAX + 1_000)
    cluster["b"].node.receive_raw(cluster.now, [channel.encode(), b"x"])
    cluster.run()
    assert cluster["b"].node.counters["refused_not_primary"] == 1
