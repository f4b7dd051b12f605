"""Patterns whose processes are killed, stopped and ended at random points, and what is left."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from patterns import Client
from patterns.outbox import Outbox
from tests.support.broker_process import BrokerProcess
from tests.usage.chaos import Programs

NUMBERS = range(600)
SEEDS = (1, 2)


def taken(mq: Client, queue: str) -> list[Any]:
    """All that is in a queue."""
    bodies = []
    for message in mq.queue(queue).consume(timeout=1.0):
        bodies.append(message.body)
        message.ack()
    return bodies


def is_empty(mq: Client, queue: str) -> bool:
    stats = mq.queue(queue).stats()
    return not (stats["ready"] or stats["delayed"] or stats["in_flight"])


@pytest.mark.parametrize("seed", SEEDS)
def test_workers_that_are_killed_leave_no_message_undone(
    broker: BrokerProcess, mq: Client, tmp_path: Path, seed: int
) -> None:
    mq.queue("jobs").put_many(list(NUMBERS)).wait(10)
    with Programs(broker, tmp_path, ["work"] * 3, seed, 2 * len(NUMBERS)) as programs:
        programs.harm({"kill": 4, "pause": 1, "terminate": 2, "kill_broker": 1}, step=100)
        programs.run_until(lambda: is_empty(mq, "jobs"), "all jobs are done")
        programs.end()
        ended = {int(line.split()[1]) for line in programs.lines if line.startswith("end")}
    assert ended == set(NUMBERS)


def test_workers_that_end_in_order_do_everything_once(
    broker: BrokerProcess, mq: Client, tmp_path: Path
) -> None:
    mq.queue("jobs").put_many(list(NUMBERS)).wait(10)
    with Programs(broker, tmp_path, ["work"] * 3, 1, 2 * len(NUMBERS)) as programs:
        programs.harm({"terminate": 8}, step=100)
        programs.run_until(lambda: is_empty(mq, "jobs"), "all jobs are done")
        programs.end()
        lines = Counter(programs.lines)
    # Nobody began twice, and nothing that was given back had spent an attempt.
    assert lines == Counter([f"{word} {n} 0" for n in NUMBERS for word in ("begin", "end")])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pipeline_makes_each_output_once(
    broker: BrokerProcess, mq: Client, tmp_path: Path, seed: int
) -> None:
    mq.queue("numbers").put_many(list(NUMBERS)).wait(10)
    with Programs(
        broker, tmp_path, ["square", "square", "negate"], seed, 2 * len(NUMBERS)
    ) as programs:
        programs.harm({"kill": 5, "pause": 1, "terminate": 1, "kill_broker": 1}, step=120)
        programs.run_until(
            lambda: is_empty(mq, "numbers") and is_empty(mq, "squares"), "all numbers are through"
        )
        programs.end()
    assert Counter(taken(mq, "negated")) == Counter(-number * number for number in NUMBERS)
    assert Counter(taken(mq, "odd")) == Counter(n for n in NUMBERS if n % 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_payment_is_booked_once(
    broker: BrokerProcess, mq: Client, tmp_path: Path, seed: int
) -> None:
    db = sqlite3.connect(tmp_path / "test.db", timeout=60)
    db.execute("CREATE TABLE account (balance INTEGER)")
    db.execute("INSERT INTO account VALUES (0)")
    db.commit()
    mq.queue("payments").put_many(list(NUMBERS)).wait(10)
    with Programs(broker, tmp_path, ["pay"] * 3, seed, len(NUMBERS)) as programs:
        # None is stopped: in its transaction it would hold the lock of the database that all need.
        programs.harm({"kill": 6, "terminate": 2, "kill_broker": 1}, step=50)
        programs.run_until(lambda: is_empty(mq, "payments"), "all payments are done")
        programs.end()
    (balance,) = db.execute("SELECT balance FROM account").fetchone()
    db.close()
    assert balance == sum(NUMBERS)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_database_committed_is_put_once_and_nothing_else_is(
    broker: BrokerProcess, mq: Client, tmp_path: Path, seed: int
) -> None:
    mq.queue("orders", dedup="window")
    db = sqlite3.connect(tmp_path / "test.db", timeout=60)
    db.execute("CREATE TABLE orders (number INTEGER)")
    db.commit()
    Outbox(db).create()
    with Programs(broker, tmp_path, ["order", "order", "relay"], seed) as programs:
        programs.harm({"kill": 8, "terminate": 2, "kill_broker": 1}, step=100)
        programs.end()
    with Programs(broker, tmp_path, ["relay"], seed) as programs:
        programs.run_until(lambda: _left(db) == 0, "all rows are put")
        programs.end()
    committed = [row[0] for row in db.execute("SELECT number FROM orders")]
    db.close()
    assert len(committed) > 100
    assert Counter(body["order"] for body in taken(mq, "orders")) == Counter(committed)


def _left(db: sqlite3.Connection) -> int:
    (count,) = db.execute("SELECT count(*) FROM outbox").fetchone()
    return int(count)
