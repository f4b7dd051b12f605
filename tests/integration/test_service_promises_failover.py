"""Calls while the broker that serves their name is killed, stopped, or hands it over."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from patterns import AsyncClient, CallTimeout, Client, NoResponder, ResponderLost
from tests.client.test_tasks import run
from tests.integration.workers import StartWorker, wait_for_mark, worker_processes
from tests.support.cluster_process import ClusterProcess
from tests.support.waiting import wait_until

WAIT_S = 90.0
TELL = {"do": "tell"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def cluster(whole: ClusterProcess) -> ClusterProcess:
    """All brokers run, and nothing is on its way between them."""
    for broker in whole.brokers.values():
        if not broker.is_running:
            broker.restart()
    whole.wait_replicated()
    return whole


@pytest.fixture
def start_worker() -> Iterator[StartWorker]:
    with worker_processes() as start:
        yield start


def call_until_answered(mq: Client, name: str) -> Any:
    """The first answer after workers and owner have found each other again."""
    answers: list[Any] = []

    def is_answered() -> bool:
        try:
            answers.append(mq.call(name, TELL, timeout=5, idempotent=True).body)
        except (CallTimeout, NoResponder, ResponderLost):
            return False
        return True

    wait_until(is_answered, "the service is served again")
    return answers[0]


def test_caller_and_worker_need_not_know_the_owner(
    cluster: ClusterProcess, start_worker: StartWorker, name: str
) -> None:
    owner = cluster.primary_of(name)
    one, other = (b.endpoint for each, b in cluster.brokers.items() if each != owner)
    worker = start_worker(one, name)
    with Client(other) as mq:
        assert mq.call(name, TELL, timeout=WAIT_S).body["pid"] == worker.pid
        parts = mq.call(name, {"do": "count", "to": 100}, stream=True, timeout=WAIT_S)
        assert [part.body for part in parts] == list(range(100))


def test_calls_go_on_over_a_kill_9_of_the_owner(
    cluster: ClusterProcess, start_worker: StartWorker, tmp_path: Path, name: str
) -> None:
    worker = start_worker(cluster.endpoints, name, 2)
    marks = tmp_path / "once", tmp_path / "again"
    with Client(cluster.endpoints) as mq, ThreadPoolExecutor(2) as threads:
        hang = [{"do": "hang", "mark": str(mark)} for mark in marks]
        once = threads.submit(mq.call, name, hang[0], timeout=WAIT_S)
        again = threads.submit(mq.call, name, hang[1], timeout=WAIT_S, idempotent=True)
        for mark in marks:
            wait_for_mark(mark)
        cluster.brokers[cluster.primary_of(name)].kill()
        with pytest.raises(ResponderLost):
            once.result()
        assert again.result().body["pid"] == worker.pid
        for mark in marks:
            wait_for_mark(mark, "cancelled")


def test_calls_go_on_over_the_owners_orderly_end(
    cluster: ClusterProcess, start_worker: StartWorker, name: str
) -> None:
    worker = start_worker(cluster.endpoints, name)
    with Client(cluster.endpoints) as mq:
        assert mq.call(name, TELL, timeout=WAIT_S).body["pid"] == worker.pid
        cluster.brokers[cluster.primary_of(name)].terminate()
        assert call_until_answered(mq, name)["pid"] == worker.pid


def test_calls_go_on_while_the_owner_is_stopped(
    cluster: ClusterProcess, start_worker: StartWorker, name: str
) -> None:
    worker = start_worker(cluster.endpoints, name)
    with Client(cluster.endpoints) as mq:
        assert mq.call(name, TELL, timeout=WAIT_S).body["pid"] == worker.pid
        owner = cluster.brokers[cluster.primary_of(name)]
        owner.signal(signal.SIGSTOP)
        try:
            assert call_until_answered(mq, name)["pid"] == worker.pid
        finally:
            owner.signal(signal.SIGCONT)


def test_tasks_call_over_a_kill_9_of_the_owner(
    cluster: ClusterProcess, start_worker: StartWorker, name: str
) -> None:
    start_worker(cluster.endpoints, name, 4)

    async def main() -> None:
        async with AsyncClient(cluster.endpoints) as mq:
            for number in range(300):
                if number == 100:
                    cluster.brokers[cluster.primary_of(name)].kill()
                answer = await mq.call(name, TELL, timeout=WAIT_S, idempotent=True)
                assert answer.body["attempt"] >= 1

    run(main())
