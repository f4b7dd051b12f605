"""A broker of a cluster that stands still: its clients ask the others, and follow the map."""

from __future__ import annotations

import pytest

from tests.client.cluster_rig import OTHER, ClusterRig, Q, confirm, connected, told
from tests.client.conftest import Connect
from tests.client.rig import Rig, Sent
from tests.client.scripted_cluster import ScriptedCluster
from tests.support.waiting import wait_until

#: Below the silence that ends a connection whatever else is known: 10 seconds.
SOON_S = 8


def sent_to(rig: ClusterRig, broker: str) -> list[Sent]:
    return rig.sent(None, rig.line_to(broker))


def silent(rig: ClusterRig) -> None:
    """Broker ``a`` owes the answer to a put and says nothing, not even to a probe."""
    for line in rig.session.lines:
        for sent in rig.sent(None, line):
            rig.reply(sent, re="pong")
    rig.put(b"1")
    rig.after(0)
    assert told(sent_to(rig, "a")) == [("put",)]
    rig.after(750)
    assert told(sent_to(rig, "a")) == [("ping",)]
    rig.after(250)


def test_a_line_that_owes_an_answer_is_probed_and_the_map_is_asked_for_elsewhere() -> None:
    rig = connected()
    silent(rig)
    assert sent_to(rig, "a") == []
    assert told(sent_to(rig, "b")) == [("map",)]


def test_a_queue_leaves_a_silent_owner_when_the_map_names_another() -> None:
    rig = connected()
    silent(rig)
    rig.tell_map()
    assert rig.at("b") == []
    rig.move(Q, "b")
    rig.after(2_000)
    rig.tell_map()
    (put,) = rig.at("b")
    assert (put.cmd, put["queue"], put["seq"]) == ("put", Q, 0)


def test_an_owner_that_answers_the_probe_is_not_doubted() -> None:
    rig = connected()
    rig.put(b"1")
    for _ in range(8):
        rig.after(250)
        for line in rig.session.lines:
            for sent in rig.sent(None, line):
                assert sent.cmd != "map"
                if sent.cmd == "ping":
                    rig.reply(sent, re="pong")


def test_a_client_of_one_broker_makes_a_connection_to_another_to_ask_there() -> None:
    rig = ClusterRig()
    rig.tell_map()
    silent(rig)
    rig.after(0)
    assert len(rig.session.lines) == 2
    scout = rig.session.lines[1]
    rig.after(0)
    rig.open(scout.broker, scout)
    rig.move(Q, scout.broker)
    rig.after(2_000)
    rig.tell_map()
    assert told(rig.at(scout.broker), "seq") == [("put", 0)]


def test_a_line_that_owes_nothing_may_be_silent() -> None:
    rig = connected()
    rig.put(b"1", queue=OTHER)
    confirm(rig, *rig.at("b"))
    for line in rig.session.lines:
        for sent in rig.sent(None, line):
            rig.reply(sent, re="pong")
    rig.after(1_000)
    rig.after(500)
    assert not any(rig.sent(None, line) for line in rig.session.lines)


def test_a_lone_broker_is_not_probed() -> None:
    rig = Rig()
    rig.put(b"1")
    rig.sent()
    for _ in range(4):
        rig.after(1_000)
        assert rig.sent() == []
    assert not rig.session.is_owed_answers


@pytest.mark.parametrize("is_waited_for", [True, False])
def test_puts_and_consumers_leave_a_frozen_owner_as_soon_as_there_is_another(
    connect: Connect, is_waited_for: bool
) -> None:
    with ScriptedCluster() as cluster:
        mq = connect(cluster.address)
        orders = mq.queue("orders")
        loop = orders.consume(timeout=SOON_S)
        orders.put(b"a").wait(10)
        next(loop).ack(wait=True)
        cluster["b1"].faults.insert(0, lambda *_: True)
        confirm = orders.put(b"b")
        wait_until(lambda: len(cluster["b1"].commands("put")) == 2, "it is sent")
        cluster.move("orders", "b2")
        if is_waited_for:
            confirm.wait(SOON_S)
        else:
            wait_until(lambda: cluster.bodies("orders") == [b"b"], "it is put", deadline_s=SOON_S)
        message = next(loop)
        assert message.body == b"b"
        message.ack(wait=True)
        loop.close()
