"""Programs over the patterns, as users would write them, for processes that are killed.

python -m tests.usage.programs NAME ENDPOINT DIRECTORY
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from patterns import Client, LeaseLost, Message, MsgQueueError
from patterns.idempotent_consumer import Inbox
from patterns.outbox import Outbox, Relay
from patterns.pipeline import Output, Stage
from patterns.work_queue import Worker

#: How soon others get what a killed process held.
SESSION_S = 2.0
LEASE_S = 3.0


def expect_lost_leases(error: MsgQueueError) -> None:
    """Processes that were stopped for too long are told, and their messages come again."""
    if not isinstance(error, LeaseLost):
        raise error


def connect(endpoint: str) -> Client:
    return Client(endpoint, session_timeout=SESSION_S, on_error=expect_lost_leases)


def open_database(directory: Path) -> sqlite3.Connection:
    db = sqlite3.connect(directory / "test.db", timeout=60)
    db.execute("PRAGMA journal_mode = WAL")
    return db


def note(directory: Path, text: str) -> None:
    """One line in a file that all processes share, whole or not at all."""
    handle = os.open(directory / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{text}\n".encode())
    os.close(handle)


def work(endpoint: str, directory: Path) -> None:
    pause = threading.Event()

    def handle(message: Message) -> None:
        note(directory, f"begin {message.body} {message.attempts}")
        pause.wait(random.uniform(0.0, 0.03))
        note(directory, f"end {message.body} {message.attempts}")

    with connect(endpoint) as mq:
        Worker(mq, "jobs", handle, concurrency=4, lease=LEASE_S, prefetch=4).run()


def square(endpoint: str, directory: Path) -> None:
    def function(message: Message) -> Iterator[Output]:
        yield Output(message.body**2, to="squares")
        if message.body % 2:
            yield Output(message.body, to="odd")
        note(directory, "squared")

    with connect(endpoint) as mq:
        Stage(mq, "numbers", function, batch=7, lease=LEASE_S).run()


def negate(endpoint: str, directory: Path) -> None:
    def function(message: Message) -> Iterator[Output]:
        yield Output(-message.body, to="negated")
        note(directory, "negated")

    with connect(endpoint) as mq:
        Stage(mq, "squares", function, batch=7, lease=LEASE_S).run()


def pay(endpoint: str, directory: Path) -> None:
    db = open_database(directory)
    inbox = Inbox(db)
    with connect(endpoint) as mq:
        for message in mq.queue("payments").consume(lease=LEASE_S, credit=8):
            with inbox.once(message) as is_new:
                if is_new:
                    db.execute("UPDATE account SET balance = balance + ?", (message.body,))
            note(directory, "paid")


def order(endpoint: str, directory: Path) -> None:
    """Writes orders until it is killed; of some the transaction is rolled back."""
    db = open_database(directory)
    outbox = Outbox(db)
    pause = threading.Event()
    while not pause.wait(0.005):
        number = random.getrandbits(60)
        db.execute("INSERT INTO orders VALUES (?)", (number,))
        outbox.put("orders", {"order": number}, {"trace": f"t-{number}"})
        if random.random() < 0.2:
            db.rollback()
        else:
            db.commit()
            note(directory, "ordered")


def relay(endpoint: str, directory: Path) -> None:
    with connect(endpoint) as mq:
        Relay(mq, lambda: open_database(directory), poll=0.01).run()


PROGRAMS: dict[str, Callable[[str, Path], None]] = {
    program.__name__: program for program in (work, square, negate, pay, order, relay)
}

if __name__ == "__main__":
    # The patterns that run till they are told to end have their own way of it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    name, endpoint, directory = sys.argv[1:]
    PROGRAMS[name](endpoint, Path(directory))
