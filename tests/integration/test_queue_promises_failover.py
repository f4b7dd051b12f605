"""What a queue keeps when the broker that serves it is killed and another takes over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from patterns import Client
from tests.integration.conftest import bodies
from tests.support.cluster_process import ClusterProcess
from tests.support.waiting import wait_until
from tests.support.wire import Reply, WireClients

WAIT_S = 60
QUEUE = "orders"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def take(queue: Any) -> Any:
    message = queue.get(WAIT_S)
    assert message is not None
    return message


def put_again(cluster: ClusterProcess, seq: int) -> Reply:
    """Through any broker that lives, once the queue has an owner again."""
    living = next(each for each in cluster.brokers.values() if each.is_running)
    replies: list[Reply] = []
    with WireClients() as clients:
        client = clients.open(living.endpoint)

        def is_answered() -> bool:
            replies.append(client.put(QUEUE, [b"%d" % seq], producer=b"p", seq=seq))
            return replies[-1].name == "ok"

        wait_until(is_answered, "the put is judged")
    return replies[-1]


def test_the_next_owner_knows_all_that_was_promised(cluster: ClusterProcess) -> None:
    with Client(cluster.endpoints) as mq:
        dead = mq.queue("dead", lease=30.0)
        orders = mq.queue(QUEUE, dedup="window", dedup_window=600.0, ordering="key", lease=60.0)
        orders.update(dead_letter=dead.name)
        put_again(cluster, 0)
        orders.put_many([b"tried", b"second"], keys=["k", "k"], ids=["a", "b"]).wait(WAIT_S)
        result = orders.put(b"later", delay=3_600, id="c").wait(WAIT_S)
        assert result.copies >= 2
        take(orders).ack(wait=True)
        take(orders).nack(delay=0, wait=True)
        held = take(orders)
        cluster.brokers[cluster.primary_of(QUEUE)].kill()

        assert put_again(cluster, 0).header["duplicate"] is True
        assert orders.put(b"again", id="a").wait(WAIT_S).duplicate is True
        settings = orders.stats()["settings"]
        assert (settings["lease_ms"], settings["dead_letter"]) == (60_000, dead.name)
        assert [(m.body, m.attempts) for m in orders.browse()] == [
            (b"tried", 1),
            (b"second", 0),
            (b"later", 0),
        ]
        held.ack(wait=True)
        assert take(orders).body == b"second"
        assert orders.reschedule("c", delay=0).messages == 1
        assert take(orders).body == b"later"


def test_dead_letters_and_redrives_go_on_after_a_kill(cluster: ClusterProcess) -> None:
    for broker in cluster.brokers.values():
        if not broker.is_running:
            broker.restart()
    cluster.wait_replicated()
    with Client(cluster.endpoints) as mq:
        dead = mq.queue("letters", lease=30.0)
        work = mq.queue("work", dead_letter=dead.name)
        put = [b"%d" % number for number in range(200)]
        work.put_many(put).wait(WAIT_S)
        for number, message in enumerate(work.get_many(200, WAIT_S)):
            message.reject()
            if number == 100:
                cluster.brokers[cluster.primary_of("work")].kill()
        mq.flush(WAIT_S)

        def are_dead() -> bool:
            # What came back free of charge in the change of owners is rejected, too.
            for message in work.get_many(200):
                message.reject()
            return not work.stats()["messages"]

        wait_until(are_dead, "all are dead")
        assert sorted(bodies(dead.browse())) == sorted(put)
        dead.redrive()
        wait_until(lambda: work.stats()["ready"] == 200, "all are back")
