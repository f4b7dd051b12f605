"""Both clients against three real brokers that die, leave and come back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from patterns import Client
from tests.client.blocking import BlockingClient
from tests.support.cluster_process import ClusterProcess

QUEUE = "orders"
WAIT_S = 60
#: Makes a client of the face under test, connected to the cluster.
Connect = Callable[[], Any]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path) as cluster:
        yield cluster


@pytest.fixture(params=[Client, BlockingClient], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest, cluster: ClusterProcess) -> Iterator[Connect]:
    with ExitStack() as clients:
        yield lambda: clients.enter_context(request.param(cluster.endpoints))


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def take_all(queue: Any, count: int) -> list[bytes]:
    """The first ``count`` messages, as they come."""
    bodies: list[bytes] = []
    for message in queue.consume(max=count, timeout=WAIT_S):
        bodies.append(message.body)
        message.ack()
    return bodies


def test_what_is_put_over_a_kill_9_of_the_owner_appears_once_and_in_order(
    connect: Connect, cluster: ClusterProcess
) -> None:
    mq = connect()
    orders = mq.queue(QUEUE)
    confirms = []
    for number in range(3_000):
        confirms.append(orders.put(b"%d" % number))
        if number == 1_000:
            confirms[500].wait(WAIT_S)
            cluster.brokers[cluster.primary_of(QUEUE)].kill()
    for confirm in confirms:
        confirm.wait(WAIT_S)
    assert take_all(orders, 3_000) == numbers(3_000)


def test_a_consumer_goes_on_over_a_kill_9_of_the_owner_and_nothing_is_left(
    connect: Connect, cluster: ClusterProcess
) -> None:
    mq = connect()
    orders = mq.queue(QUEUE)
    orders.put_many(numbers(2_000)).wait(WAIT_S)
    seen: set[bytes] = set()
    for message in orders.consume(timeout=WAIT_S):
        seen.add(message.body)
        message.ack()
        if len(seen) == 700:
            cluster.brokers[cluster.primary_of(QUEUE)].kill()
        if len(seen) == 2_000:
            break
    mq.flush(WAIT_S)
    assert orders.stats()["messages"] == 0


def test_puts_go_on_while_the_owner_leaves_and_comes_back(
    connect: Connect, cluster: ClusterProcess
) -> None:
    puts, takes = connect().queue(QUEUE), connect().queue(QUEUE)
    stopped = threading.Event()
    put = 0

    def put_on() -> None:
        nonlocal put
        while not stopped.is_set():
            puts.put(b"%d" % put).wait(WAIT_S)
            put += 1

    producer = threading.Thread(target=put_on)
    producer.start()
    try:
        owner = cluster.brokers[cluster.primary_of(QUEUE)]
        assert owner.terminate() == 0
        owner.restart()
        cluster.wait_replicated()
    finally:
        stopped.set()
        producer.join()
    # What is on its way while a queue moves may come again, behind what came since.
    assert sorted(take_all(takes, put)) == sorted(numbers(put))


def test_messages_that_are_held_while_the_owner_leaves_can_be_settled(
    connect: Connect, cluster: ClusterProcess
) -> None:
    mq = connect()
    orders = mq.queue(QUEUE)
    orders.put_many([b"a", b"b"]).wait(WAIT_S)
    one, two = orders.get_many(2, WAIT_S)
    cluster.brokers[cluster.primary_of(QUEUE)].terminate()
    one.ack(wait=True)
    two.ack(wait=True)
    assert orders.stats()["messages"] == 0
    assert mq.counters["leases_lost"] == 0


def test_partitions_on_all_brokers_lose_and_double_nothing_over_a_kill_9(
    connect: Connect, cluster: ClusterProcess
) -> None:
    orders = connect().queue(QUEUE, partitions=6)
    keys = [f"key-{number % 40}" for number in range(1_200)]
    confirms = []
    for number, key in enumerate(keys):
        confirms.append(orders.put(b"%d" % number, key=key))
        if number == 400:
            confirms[200].wait(WAIT_S)
            cluster.brokers[cluster.primary_of(f"{QUEUE}#2")].kill()
    places = [confirm.wait(WAIT_S).queue for confirm in confirms]
    assert len(set(zip(keys, places, strict=True))) == 40
    seen: dict[str, list[int]] = {}
    for message in orders.consume(max=1_200, timeout=WAIT_S):
        seen.setdefault(message.key, []).append(int(message.body))
        message.ack()
    assert seen == {f"key-{n}": list(range(n, 1_200, 40)) for n in range(40)}
