"""What both clients do in a cluster whose queues change hands: one body, two faces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.conftest import Connect
from tests.client.faults import refuse
from tests.client.scripted_cluster import ScriptedCluster, slot_of
from tests.support.waiting import wait_until

#: Of three different slots.
NAMES = ("orders", "mail", "jobs")


@pytest.fixture
def cluster() -> Iterator[ScriptedCluster]:
    with ScriptedCluster() as running:
        yield running


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_each_queue_is_spoken_of_with_its_owner_alone(
    connect: Connect, cluster: ScriptedCluster
) -> None:
    for name, owner in zip(NAMES, ("b1", "b2", "b3"), strict=True):
        cluster.move(name, owner)
    mq = connect(cluster.address)
    for name in NAMES:
        queue = mq.queue(name)
        queue.put_many([b"a", b"b", b"c"]).wait(10)
        queue.get(5).ack(wait=True)
        for message in queue.consume(max=2):
            message.ack()
    mq.flush(10)
    for name, owner in zip(NAMES, ("b1", "b2", "b3"), strict=True):
        assert cluster.bodies(name) == []
        for broker in cluster.brokers.values():
            spoken_of = {header["queue"] for header in broker.seen if "queue" in header}
            assert (name in spoken_of) == (broker.broker_id == owner)
    assert mq.counters["sessions"] == 3


def test_a_client_that_uses_one_queue_has_no_more_connections_than_it_needs(
    connect: Connect, cluster: ScriptedCluster
) -> None:
    mq = connect(cluster.address)
    mq.queue("orders").put(b"a").wait(10)
    assert [len(broker.sessions) for broker in cluster.brokers.values()] == [1, 0, 0]


def test_puts_over_many_moves_are_all_kept_once_and_in_order(
    connect: Connect, cluster: ScriptedCluster
) -> None:
    mq = connect(cluster.address, batch=10)
    orders = mq.queue("orders")
    for number in range(3_000):
        orders.put(b"%d" % number)
        if number % 500 == 250:
            orders.put(b"", type="mark").wait(10)
            cluster.move("orders", f"b{number // 500 % 3 + 1}")
    mq.flush(30)
    assert [body for body in cluster.bodies("orders") if body] == numbers(3_000)


def test_puts_over_the_death_of_the_owner_are_all_kept_once_and_in_order(
    connect: Connect, cluster: ScriptedCluster
) -> None:
    cluster.move("orders", "b2")
    mq = connect(cluster.address, batch=10)
    orders, mail = mq.queue("orders"), mq.queue("mail")
    for number in range(2_000):
        orders.put(b"%d" % number)
        mail.put(b"%d" % number)
        if number == 1_000:
            cluster.kill("b2")
            cluster.move("orders", "b3")
    mq.flush(30)
    assert cluster.bodies("orders") == numbers(2_000)
    assert cluster.bodies("mail") == numbers(2_000)


def test_the_death_of_the_first_broker_is_no_more_than_that_of_another(
    connect: Connect, cluster: ScriptedCluster
) -> None:
    mq = connect(cluster.address, batch=10)
    orders = mq.queue("orders")
    for number in range(2_000):
        orders.put(b"%d" % number)
        if number == 1_000:
            cluster.kill("b1")
            cluster.move("orders", "b2")
    mq.flush(30)
    assert cluster.bodies("orders") == numbers(2_000)
    assert mq.queues() == ["orders"]


def test_confirms_that_were_lost_with_the_owner_are_asked_of_the_next_one(
    connect: Connect, cluster: ScriptedCluster
) -> None:
    cluster.move("orders", "b2")
    mq = connect(cluster.address, batch=5)
    orders = mq.queue("orders")
    orders.put(b"first").wait(10)
    cluster["b2"].hold_replies()
    confirms = [orders.put(b"%d" % number) for number in range(23)]
    wait_until(lambda: len(cluster.bodies("orders")) == 24, "all were taken")
    cluster.kill("b2")
    cluster.move("orders", "b3")
    assert [confirm.wait(20).duplicate for confirm in confirms] == [True] * 23
    assert len(cluster.bodies("orders")) == 24


@pytest.mark.parametrize("error", ["not_primary", "outcome_unknown", "shutting_down"])
def test_what_an_owner_could_not_do_is_done_in_the_end(
    connect: Connect, cluster: ScriptedCluster, error: str
) -> None:
    mq = connect(cluster.address, batch=3)
    orders = mq.queue("orders")
    for command in ("put", "ack", "consume", "stats", "get"):
        cluster["b1"].faults.insert(0, refuse(command, error, times=2))
    confirms = [orders.put(b"%d" % number) for number in range(10)]
    assert [confirm.wait(20).position is None for confirm in confirms] == [False] * 10
    assert cluster.bodies("orders") == numbers(10)
    assert orders.stats() == {"ready": 10}
    orders.get(5).ack(wait=True)
    for message in orders.consume(max=9):
        message.ack()
    mq.flush(20)
    assert cluster.bodies("orders") == []


def test_consuming_goes_on_at_each_new_owner_and_nothing_is_lost(
    connect: Connect, cluster: ScriptedCluster
) -> None:
    mq = connect(cluster.address)
    orders = mq.queue("orders")
    orders.put_many(numbers(1_000)).wait(10)
    seen: dict[bytes, None] = {}
    for message in orders.consume():
        seen[message.body] = None
        message.ack()
        if len(seen) in (100, 600):
            owner = "b2" if cluster.owner_of("orders") == "b1" else "b3"
            former = cluster.owner_of("orders")
            cluster.kill(former)
            cluster.move("orders", owner)
        if len(seen) == 1_000:
            break
    mq.flush(30)
    assert cluster.bodies("orders") == []


def test_a_graceful_move_takes_the_held_messages_along(
    connect: Connect, cluster: ScriptedCluster
) -> None:
    mq = connect(cluster.address)
    orders = mq.queue("orders")
    orders.put_many([b"a", b"b"]).wait(10)
    one, two = orders.get_many(2, 5)
    cluster.move("orders", "b2")
    one.ack(wait=True)
    wait_until(lambda: len(cluster["b2"].commands("extend")) > 0, "they are claimed")
    two.ack(wait=True)
    assert cluster.bodies("orders") == []
    assert mq.counters["leases_lost"] == 0


def test_a_delivery_of_an_earlier_reign_is_dropped_and_counted(
    connect: Connect, cluster: ScriptedCluster
) -> None:
    mq = connect(cluster.address)
    orders = mq.queue("orders")
    cluster.queues["orders"] = cluster["b1"].queue("orders")
    stale = cluster.tag_of("orders")
    cluster.move("orders", "b1")
    loop = orders.consume(timeout=30)
    orders.put(b"new").wait(10)
    assert next(loop).body == b"new"
    cluster["b1"].say_stale(stale, "orders", [b"old"])
    orders.put(b"newer").wait(10)
    assert next(loop).body == b"newer"
    assert mq.counters["messages_stale"] == 1


def test_an_owner_that_nobody_can_reach_is_spoken_to_through_another_broker(
    connect: Connect, cluster: ScriptedCluster
) -> None:
    cluster.move("orders", "b2")
    mq = connect(cluster["b1"].address)
    cluster["b1"].forwards = True
    cluster["b2"].stop()
    mq.queue("orders").put(b"a").wait(20)
    assert cluster.bodies("orders") == [b"a"]
    assert cluster["b1"].commands("put")
    cluster["b2"].start()
    wait_until(lambda: len(cluster["b2"].sessions) == 1, "the owner is reached")
    mq.queue("orders").put(b"b").wait(20)
    assert len(cluster["b2"].commands("put")) == 1


def test_a_client_waits_for_a_slot_that_has_no_owner(
    connect: Connect, cluster: ScriptedCluster
) -> None:
    cluster.move("orders", "")
    mq = connect(cluster.address)
    confirm = mq.queue("orders").put(b"a")
    wait_until(lambda: len(cluster["b1"].commands("map")) >= 3, "it looks again and again")
    assert not confirm.done
    cluster.move("orders", "b3")
    assert confirm.wait(20).position == 0


def test_the_names_of_this_file_belong_to_three_slots() -> None:
    assert len({slot_of(name) for name in NAMES}) == 3
