"""What a call promises: real brokers, real workers that are killed, stopped and come back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from patterns import (
    CallTimeout,
    Client,
    HandlerFailed,
    NoResponder,
    Overloaded,
    Request,
    ResponderLost,
)
from patterns.durable_request import DurableRequests, RequestFailed
from patterns.request_reply import Caller, serve, service
from patterns.scatter_gather import ask_all
from tests.integration.conftest import Connect, kill_9
from tests.integration.workers import StartWorker, wait_for_mark, worker_processes
from tests.support.broker_process import BrokerProcess
from tests.support.waiting import wait_until

WAIT_S = 60.0
TELL = {"do": "tell"}


@pytest.fixture
def start_worker() -> Iterator[StartWorker]:
    with worker_processes() as start:
        yield start


def hang(mark: Path) -> dict[str, Any]:
    return {"do": "hang", "mark": str(mark)}


def echo(request: Request) -> Any:
    return request.body


def test_a_call_has_one_answer_and_knows_its_deadline(
    connect: Connect, broker: BrokerProcess, start_worker: StartWorker
) -> None:
    worker = start_worker(broker.endpoint, "tell")
    told = connect().call("tell", TELL, timeout=WAIT_S).body
    assert (told["pid"], told["attempt"]) == (worker.pid, 1)
    assert 0 < told["left"] <= WAIT_S


def test_nobody_there_is_told_by_name(connect: Connect, broker: BrokerProcess) -> None:
    with pytest.raises(NoResponder):
        connect().call("nobody", timeout=WAIT_S)


def test_what_the_handler_raises_is_told_by_name(
    connect: Connect, broker: BrokerProcess, start_worker: StartWorker
) -> None:
    start_worker(broker.endpoint, "tell")
    with pytest.raises(HandlerFailed, match="as asked") as failed:
        connect().call("tell", {"do": "fail"}, timeout=WAIT_S)
    assert failed.value.remote_error == "ValueError"


def test_at_the_deadline_the_caller_and_the_worker_are_told(
    connect: Connect, broker: BrokerProcess, start_worker: StartWorker, tmp_path: Path
) -> None:
    start_worker(broker.endpoint, "tell")
    mark = tmp_path / "mark"
    with pytest.raises(CallTimeout):
        connect().call("tell", hang(mark), timeout=0.5)
    wait_for_mark(mark, "cancelled")
    assert connect().call("tell", TELL, timeout=WAIT_S).body["attempt"] == 1


def test_a_caller_that_is_gone_is_told_to_the_worker(
    connect: Connect, broker: BrokerProcess, start_worker: StartWorker, tmp_path: Path
) -> None:
    start_worker(broker.endpoint, "tell")
    mark = tmp_path / "mark"
    with Client(broker.endpoint) as mq:
        caller = threading.Thread(target=partial(_call_and_fail, mq, mark))
        caller.start()
        wait_for_mark(mark)
    caller.join(WAIT_S)
    wait_for_mark(mark, "cancelled")


def _call_and_fail(mq: Client, mark: Path) -> None:
    with pytest.raises(Exception, match="closed"):
        mq.call("tell", hang(mark), timeout=WAIT_S)


def test_a_full_line_is_overloaded(tmp_path: Path, start_worker: StartWorker) -> None:
    lowered = BrokerProcess(
        tmp_path,
        env={"MSGQUEUE_TEST_LIMITS": "CALLS_WAITING_MAX=2"},
        module="tests.support.lowered_broker",
    )
    with lowered as broker, Client(broker.endpoint) as mq, ThreadPoolExecutor(3) as threads:
        start_worker(broker.endpoint, "tell")
        mark = tmp_path / "mark"
        calls = [threads.submit(mq.call, "tell", hang(mark), timeout=WAIT_S)]
        wait_for_mark(mark)
        calls += [threads.submit(mq.call, "tell", TELL, timeout=WAIT_S) for _ in range(2)]
        wait_until(lambda: mq.services()["tell"]["waiting"] == 2, "two calls wait")
        with pytest.raises(Overloaded):
            mq.call("tell", TELL, timeout=WAIT_S)
        os.kill(int(mark.read_text()), signal.SIGKILL)
        for call in calls:
            assert isinstance(call.exception(WAIT_S), ResponderLost | NoResponder | CallTimeout)


def test_the_worker_that_was_idle_longest_is_given_the_next_call(
    connect: Connect, broker: BrokerProcess, start_worker: StartWorker
) -> None:
    for _ in range(3):
        start_worker(broker.endpoint, "tell")
    mq = connect()
    order = [mq.call("tell", TELL, timeout=WAIT_S).body["pid"] for _ in range(9)]
    assert len(set(order[:3])) == 3
    assert order == order[:3] * 3


def test_an_idempotent_call_of_a_killed_worker_goes_to_another(
    connect: Connect, broker: BrokerProcess, start_worker: StartWorker, tmp_path: Path
) -> None:
    first = start_worker(broker.endpoint, "tell")
    mark, mq = tmp_path / "mark", connect()
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(mq.call, "tell", hang(mark), timeout=WAIT_S, idempotent=True)
        wait_for_mark(mark)
        second = start_worker(broker.endpoint, "tell")
        first.kill()
        told = call.result().body
    assert (told["pid"], told["attempt"]) == (second.pid, 2)


def test_any_other_call_of_a_killed_worker_is_responder_lost(
    connect: Connect, broker: BrokerProcess, start_worker: StartWorker, tmp_path: Path
) -> None:
    first = start_worker(broker.endpoint, "tell")
    mark, mq = tmp_path / "mark", connect()
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(mq.call, "tell", hang(mark), timeout=WAIT_S)
        wait_for_mark(mark)
        start_worker(broker.endpoint, "tell")
        first.kill()
        with pytest.raises(ResponderLost):
            call.result()


def test_a_stopped_worker_costs_its_call_the_deadline_and_no_more(
    connect: Connect, broker: BrokerProcess, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker(broker.endpoint, "tell")
    worker.send_signal(signal.SIGSTOP)
    mq = connect()
    with pytest.raises(CallTimeout):
        mq.call("tell", TELL, timeout=0.5)
    worker.send_signal(signal.SIGCONT)
    assert mq.call("tell", TELL, timeout=WAIT_S).body["pid"] == worker.pid


def test_a_worker_that_comes_again_serves_again(
    connect: Connect, broker: BrokerProcess, start_worker: StartWorker
) -> None:
    start_worker(broker.endpoint, "tell").kill()
    again = start_worker(broker.endpoint, "tell")
    told = connect().call("tell", TELL, timeout=WAIT_S, idempotent=True).body
    assert told["pid"] == again.pid


def test_a_worker_serves_again_after_a_kill_9_of_the_broker(
    connect: Connect, broker: BrokerProcess, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker(broker.endpoint, "tell")
    mark, mq = tmp_path / "mark", connect()
    with ThreadPoolExecutor(2) as threads:
        again = threads.submit(mq.call, "tell", hang(mark), timeout=WAIT_S, idempotent=True)
        wait_for_mark(mark)
        once = threads.submit(mq.call, "tell", TELL, timeout=WAIT_S)
        wait_until(lambda: mq.services()["tell"]["waiting"] == 1, "the other one waits")
        kill_9(broker)
        with pytest.raises(ResponderLost):
            once.result()
        assert again.result().body["pid"] == worker.pid
        wait_for_mark(mark, "cancelled")


def test_parts_come_in_order_and_end(
    connect: Connect, broker: BrokerProcess, start_worker: StartWorker
) -> None:
    start_worker(broker.endpoint, "tell")
    parts = connect().call("tell", {"do": "count", "to": 2_000}, stream=True, timeout=WAIT_S)
    assert [part.body for part in parts] == list(range(2_000))


def test_all_are_asked_until_the_deadline(
    connect: Connect, broker: BrokerProcess, start_worker: StartWorker
) -> None:
    workers = [start_worker(broker.endpoint, "tell") for _ in range(3)]
    mq = connect()
    found = mq.call_all("tell", TELL, timeout=WAIT_S)
    assert {answer.body["pid"] for answer in found.answers} == {each.pid for each in workers}
    assert mq.call_all("tell", TELL, workers=2, timeout=WAIT_S).asked == 2
    workers[0].send_signal(signal.SIGSTOP)
    found = mq.call_all("tell", TELL, timeout=1)
    assert (len(found.answers), found.asked) == (2, 3)


def test_who_has_enough_stops_asking(broker: BrokerProcess, start_worker: StartWorker) -> None:
    for _ in range(3):
        start_worker(broker.endpoint, "tell")
    with Client(broker.endpoint) as mq:
        found = ask_all(mq, "tell", TELL, timeout=WAIT_S, enough=1)
        assert (len(found.values), found.errors) == (1, [])
        failed = ask_all(mq, "tell", {"do": "fail"}, timeout=WAIT_S)
        assert (failed.values, len(failed.errors), failed.missing) == ([], 3, 0)


def test_many_threads_call_over_one_client(broker: BrokerProcess) -> None:
    with Client(broker.endpoint) as worker, Client(broker.endpoint) as mq:
        worker.serve("echo", echo, concurrency=4)

        def work(thread: int) -> int:
            for number in range(200):
                assert mq.call("echo", [thread, number], timeout=WAIT_S).body == [thread, number]
            return thread

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(work, range(8))) == list(range(8))
        counters = worker.services()["echo"]["counters"]
        assert (counters["calls"], counters["answered"]) == (1_600, 1_600)


class OutOfStock(Exception):
    """Comes back as itself where the caller names it."""


def test_registered_errors_come_back_as_themselves(broker: BrokerProcess) -> None:
    @service("stock", errors=[OutOfStock])
    def stock(item: str) -> int:
        raise OutOfStock(item)

    with Client(broker.endpoint) as worker, Client(broker.endpoint) as mq:
        serve(worker, stock)
        with pytest.raises(OutOfStock, match="chair"):
            Caller(mq, errors=[OutOfStock]).call("stock", "chair")
        with pytest.raises(HandlerFailed, match="chair"):
            Caller(mq).call("stock", "chair")


def test_a_durable_request_outlives_the_broker_and_its_caller(broker: BrokerProcess) -> None:
    with Client(broker.endpoint) as mq:
        DurableRequests(mq, "sums", keep=3_600).submit([1, 2], id="s")
    kill_9(broker)
    with Client(broker.endpoint) as mq:
        DurableRequests(mq, "sums", keep=3_600).work(sum, timeout=1)
    kill_9(broker)
    with Client(broker.endpoint) as mq:
        sums = DurableRequests(mq, "sums", keep=3_600)
        assert [sums.wait("s", timeout=WAIT_S) for _ in range(3)] == [3, 3, 3]
        sums.submit([5, 5], id="s")
        sums.work(sum, timeout=1)
        assert sums.wait("s", timeout=WAIT_S) == 3
        assert sums.forget("s")
        assert sums.fetch("s") is None


def test_a_durable_request_that_always_fails_says_so(broker: BrokerProcess) -> None:
    with Client(broker.endpoint) as mq:
        odd = DurableRequests(mq, "odd", keep=3_600, attempts=2)
        odd.submit("x", id="o")
        tried: list[str] = []

        def handler(body: str) -> None:
            tried.append(body)
            raise ValueError("never")

        odd.work(handler, timeout=4)
        with pytest.raises(RequestFailed, match="ValueError: never"):
            odd.wait("o", timeout=WAIT_S)
        assert tried == ["x", "x"]
