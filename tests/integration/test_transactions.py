"""Consume, process, produce over kill -9: both clients, one real broker and three."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.model.slots import slot_of
from patterns import Client, LeaseLost, ProducerFenced
from tests.client.blocking import BlockingClient
from tests.integration.conftest import Connect
from tests.support.broker_process import BrokerProcess
from tests.support.cluster_process import ClusterProcess
from tests.support.waiting import wait_until

WAIT_S = 60
TASKS = 600


class Work:
    """Settles each task with its result; the messages that were lost meanwhile come again."""

    def __init__(self, mq: Any, source: str, target: str) -> None:
        self.mq = mq
        self.source = source
        self.target = target
        self.done = 0

    def begin(self) -> None:
        self.mq.queue(self.source).put_many([b"%d" % n for n in range(TASKS)]).wait(WAIT_S)

    def run(self) -> None:
        for task in self.mq.queue(self.source).consume(timeout=WAIT_S):
            if self.commit(task):
                self.done += 1
            if self.done == TASKS:
                return

    def commit(self, task: Any) -> bool:
        tx = self.mq.transaction()
        tx.ack(task)
        tx.put(self.target, task.raw + b"!")
        try:
            tx.commit(WAIT_S)
        except LeaseLost:
            return False
        return True

    def results(self) -> list[bytes]:
        found: list[bytes] = []
        for result in self.mq.queue(self.target).consume(max=TASKS, timeout=WAIT_S):
            found.append(result.raw)
            result.ack()
        self.mq.flush(WAIT_S)
        assert self.mq.queue(self.target).get() is None
        return found


def while_killed(work: Work, kill: Callable[[], None], at: list[int]) -> None:
    """Does the work while the broker is killed each time when so much is done."""

    def kill_at(count: int) -> None:
        wait_until(lambda: work.done >= count, f"{count} are done")
        kill()

    def kill_on() -> None:
        for count in at:
            kill_at(count)

    killer = threading.Thread(target=kill_on)
    killer.start()
    try:
        work.run()
    finally:
        killer.join()


def test_a_broker_that_is_killed_again_and_again_has_each_result_once(
    connect: Connect, broker: BrokerProcess
) -> None:
    work = Work(connect(), "tasks", "results")
    work.begin()

    def kill() -> None:
        broker.kill()
        broker.restart()

    while_killed(work, kill, [100, 250, 400])
    assert sorted(work.results()) == sorted(b"%d!" % n for n in range(TASKS))


@pytest.mark.parametrize("client", [Client, BlockingClient], ids=["sync", "async"])
def test_a_cluster_whose_owners_are_killed_has_each_result_once(
    client: Any, tmp_path: Path
) -> None:
    with ClusterProcess(tmp_path) as cluster:
        target = next(
            name
            for name in (f"results{n}" for n in range(50))
            if cluster.primary_of(name) != cluster.primary_of("tasks")
            and slot_of(name, cluster.slots) != slot_of("tasks", cluster.slots)
        )
        with client(cluster.endpoints) as mq:
            work = Work(mq, "tasks", target)
            work.begin()
            owner = cluster.brokers[cluster.primary_of("tasks")]
            while_killed(work, owner.kill, [150])
            assert sorted(work.results()) == sorted(b"%d!" % n for n in range(TASKS))


def test_of_two_processes_under_one_name_the_newer_puts(connect: Connect) -> None:
    old, new = connect(producer="billing"), connect(producer="billing")
    old.queue("orders").put(b"a").wait(WAIT_S)
    new.queue("orders").put(b"b").wait(WAIT_S)
    with pytest.raises(ProducerFenced):
        old.queue("orders").put(b"c").wait(WAIT_S)
    assert [m.body for m in new.queue("orders").get_many(9)] == [b"a", b"b"]
