"""What subscribers of a cluster are told: heads, new reigns, and what happens to the broker."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from broker.cluster.messages import Heads, HeadsHeard, decode_link
from broker.limits import HEADS_PAUSE, REPLICA_RETRY
from tests.support.channels import Event, declare, heard, publish
from tests.support.cluster_rig import BrokerRig, ClusterRig
from tests.support.listeners import (
    Listened,
    channel_of,
    heads,
    reigns,
    subscribe,
    subscribed_cluster,
)
from tests.support.node_rig import PEER

KEPT = {"history_messages": 100, "durable": True}


@pytest.fixture
def cluster() -> ClusterRig:
    return subscribed_cluster()


# Heads


def test_heads_come_to_who_listens_at_another_broker(cluster: ClusterRig) -> None:
    channel = channel_of(cluster, "a")
    subscribe(cluster["b"], channel)
    listened = Listened(cluster)
    publish(cluster["c"], channel, b"x", b"y")
    cluster.pass_time(HEADS_PAUSE)
    assert heads(cluster["b"]) == [[channel, 1, (1 << 40) + 2]]
    assert set(listened.ways(Heads)) == {("a", "b")}


def test_a_head_is_sent_until_it_was_heard(cluster: ClusterRig) -> None:
    channel = channel_of(cluster, "a")
    subscribe(cluster["b"], channel)
    cluster.cut.add(("a", "b"))
    publish(cluster["a"], channel, b"x")
    cluster.pass_time(1_000)
    assert heads(cluster["b"]) == []
    cluster.cut.clear()
    cluster.pass_time(REPLICA_RETRY)
    assert heads(cluster["b"]) == [[channel, 1, (1 << 40) + 1]]
    listened = Listened(cluster)
    cluster.pass_time(5_000)
    assert listened.ways(Heads) == []


def test_only_the_answer_to_its_newest_sending_ends_a_head(cluster: ClusterRig) -> None:
    channel = channel_of(cluster, "a")
    subscribe(cluster["b"], channel)
    cluster.hold("a", "b")
    publish(cluster["a"], channel, b"x")
    cluster.pass_time(HEADS_PAUSE)
    publish(cluster["a"], channel, b"y")
    cluster.pass_time(HEADS_PAUSE)
    first, *newer = cluster.release("a", "b")
    header, _ = decode_link(first)
    sent = [
        each
        for frames in (first, *newer)
        for each in decode_link(frames)[1]
        if isinstance(each, Heads)
    ]
    others = cluster["a"].node._hub._others
    assert others is not None
    # One answers a former sending, the other one is for a former life of the sender.
    for boot, number in ((others._boot, sent[0].number), (1, sent[-1].number)):
        others.receive(header._replace(broker="b"), HeadsHeard(boot, number))
    cluster.pass_time(2 * REPLICA_RETRY)
    assert [channel, 1, (1 << 40) + 2] in heads(cluster["b"])


def test_a_new_owner_tells_its_reign_and_how_far_kept_channels_are(cluster: ClusterRig) -> None:
    channel = channel_of(cluster, "a")
    light = next(f"l{n}" for n in range(999) if cluster.owned(f"l{n}") == cluster.owned(channel))
    declare(cluster["b"], channel, **KEPT)
    for broker in (cluster["b"], cluster["c"]):
        subscribe(broker, ">")
        broker.node.note_subscription(b"", True)
    cluster.run()
    publish(cluster["b"], channel, b"x", b"y")
    publish(cluster["b"], light, b"x")
    cluster.pass_time(1_000)
    marks = {name: len(cluster[name].sent) for name in "bc"}
    cluster.kill("a")
    cluster.pass_time(2_000)
    epoch = cluster.owned(channel).epoch
    assert epoch > 1
    for name in "bc":
        broker, mark = cluster[name], marks[name]
        assert [channel, epoch, 2] in heads(broker, mark)
        assert [epoch] == [e for _, e in reigns(broker, mark) if e == epoch][:1]
        assert light not in [head[0] for head in heads(broker, mark)]
    first = epoch << 40
    assert publish(cluster["c"], light, b"y")["first"] == first
    for name in "bc":
        assert heard(cluster[name], light)[-1] == Event(first, b"y")


# Events


def test_what_happens_is_told_on_the_brokers_own_channels(cluster: ClusterRig) -> None:
    b = cluster["b"]
    subscribe(b, "$sys.>")
    b.node.note_subscription(b"$sys.", True)
    cluster.run()
    a = cluster["a"]
    a.ask(PEER, "declare", queue="full", settings={"max_messages": 1, "overflow": "reject"})
    a.put("full", b"x")
    for _ in range(3):
        assert a.put("full", b"y")["error"] == "queue_full"
    a.ask(PEER, "declare", queue="dead", settings={"dead_letter": "graves"})
    a.put("dead", b"x")
    a.settle("reject", a.get("dead"))
    a.hello(b"\0gone", timeout_ms=1_000)
    a.ask(b"\0gone", "consume", queue="dead", consumer=1, credit=1, credit_bytes=1_000)
    cluster["c"].node.set_alarm("no space")
    cluster.pass_time(3_000)
    cluster.kill("c")
    cluster.pass_time(2_000)
    told = _told(b)
    assert [fact["count"] for fact in told["queue.full.full"]] in ([3], [1, 2])
    assert told["queue.dead_lettered.dead"][0]["queue"] == "dead"
    assert told["consumer.lost.dead"][0]["count"] == 1
    assert told["session.lost"][0]["broker"] == "a"
    assert told["alarm"][0]["reason"] == "no space"
    assert told["slot.reign"][0]["epoch"] > 1


def _told(broker: BrokerRig) -> dict[str, list[dict[str, Any]]]:
    """The bodies of the broker's own events, by name."""
    events: dict[str, list[dict[str, Any]]] = {}
    for topic, header, batch in broker.published:
        assert msgpack.unpackb(header)["content_type"] == "application/json"
        for body in msgpack.unpackb(batch):
            name = topic[:-1].decode().removeprefix("$sys.")
            events.setdefault(name, []).append(json.loads(body))
    return events
