"""Clients at work while something is done to their broker."""

from __future__ import annotations

from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="the benchmark needs its extra")

from bench.peers.msgqueue import MsgQueue
from bench.processes import running
from bench.sides import Side
from bench.steady import Pace, Progress, consume_numbered, put_paced, put_waiting
from bench.traffic import make_goal
from bench.underway import Underway, run_while


def new_progress() -> Progress:
    return Progress(stop=make_goal(0), confirmed=make_goal(0), goal=make_goal())


def fail(_barrier: Barrier) -> Side:
    raise RuntimeError("this client cannot connect")


def test_all_that_was_confirmed_until_the_stop_came(tmp_path: Path) -> None:
    contender = MsgQueue()
    with running(contender.start(tmp_path)) as server:
        addresses = contender.addresses(server.port)
        paced, waiting = new_progress(), new_progress()
        pace = Pace(addresses, ("a", "b"), rate=1_000, batch=10)
        clients = [
            partial(put_paced, pace, paced),
            partial(consume_numbered, addresses, pace.queues, paced),
            partial(put_waiting, addresses, "c", waiting),
            partial(consume_numbered, addresses, ["c"], waiting),
        ]

        def act(underway: Underway) -> str:
            underway.wait_until(lambda: paced.confirmed.value >= 30, "a few batches")
            underway.wait_until(lambda: waiting.confirmed.value >= 3, "a few puts")
            paced.stop.value = 1
            return "done"

        acted, sides = run_while(clients, waiting.stop, act)
    assert acted == "done"
    producer, consumer, waiter, waiter_consumer = sides
    assert len(producer.marks) * pace.batch == len(consumer.marks) == paced.goal.value
    assert len(waiter.marks) == len(waiter.samples) == len(waiter_consumer.marks)


def test_a_client_that_fails_ends_the_wait_with_its_reason() -> None:
    with pytest.raises(RuntimeError, match="this client cannot connect"):
        run_while([fail], make_goal(0), lambda underway: underway.wait_until(bool, "never"))
