"""Kill a loaded broker with SIGKILL, again and again, and judge what its clients saw.

Producers put single messages and batches, consumers hold, acknowledge and give back, all
with confirms.  The broker dies at random instants, a consumer now and then with it.  At
the end the queue is drained, the broker killed once more, and nothing may be left.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

from broker.testing.delivery import (
    check_acked_stays_gone,
    check_attempts,
    check_producer_order,
    check_total_queue,
)
from broker.testing.history import Kind
from broker.testing.verdict import Verdict
from tests.chaos.load import QUEUE
from tests.chaos.load_process import LoadProcess
from tests.chaos.wire import Wire
from tests.checkers.history import Recorder, read_history
from tests.support.broker_process import BrokerProcess
from tests.support.waiting import wait_until

PRODUCERS = 2
CONSUMERS = 2
#: Seconds of load between two kills.
PAUSE_S = (0.05, 2.0)
CONSUMER_DIES = 0.3
#: Above it puts are refused, which keeps the backlog and the drain short.
MESSAGES_MAX = 2_000
DRAIN_S = 180.0


class Kill9:
    """One run in one directory, which keeps the history and what each process printed."""

    def __init__(self, directory: Path, seed: int, tell: Callable[[str], None]) -> None:
        self._directory = directory
        self._chance = random.Random(seed)
        self._tell = tell
        self._broker = BrokerProcess(directory / "broker")
        self._recorder = Recorder(directory / "chaos.jsonl", "chaos")
        self._producers: list[LoadProcess] = []
        self._consumers: list[LoadProcess] = []
        self._started = 0

    def run(self, rounds: int) -> list[Verdict]:
        with self._recorder, self._broker:
            try:
                self._declare()
                self._producers = [self._start("producer") for _ in range(PRODUCERS)]
                self._consumers = [self._start("consumer") for _ in range(CONSUMERS)]
                for number in range(1, rounds + 1):
                    pause_s = self._pause()
                    self._kill()
                    self._tell(f"round {number} of {rounds}: killed after {pause_s:.2f} s of load")
                self._finish()
            finally:
                for process in self._producers + self._consumers:
                    process.kill()
        return self.judge()

    def judge(self) -> list[Verdict]:
        events = read_history(self._directory.glob("*.jsonl"))
        return [
            check_total_queue(events),
            check_acked_stays_gone(events),
            check_attempts(events),
            check_producer_order(events),
        ]

    def _declare(self) -> None:
        with Wire(self._broker.endpoint) as wire:
            wire.ask("hello", client="chaos")
            settings = {"max_messages": MESSAGES_MAX}
            assert wire.ask("declare", queue=QUEUE, settings=settings).header["re"] == "ok"

    def _pause(self) -> float:
        """Lets the load run; the instant of a kill is chosen, not awaited."""
        pause_s = self._chance.uniform(*PAUSE_S)
        threading.Event().wait(pause_s)
        for process in self._producers + self._consumers:
            process.require_running()
        return pause_s

    def _kill(self) -> None:
        self._recorder.record(Kind.KILLED)
        self._broker.kill()
        if self._chance.random() < CONSUMER_DIES:
            self._consumers[0].kill()
            self._consumers[0] = self._start("consumer")
        self._broker.restart()
        self._recorder.record(Kind.STARTED)

    def _finish(self) -> None:
        for producer in self._producers:
            producer.end(DRAIN_S)
        self._drain()
        self._kill()
        self._drain()
        for consumer in self._consumers:
            consumer.end(DRAIN_S)
        self._recorder.record(Kind.DRAINED)

    def _drain(self) -> None:
        with Wire(self._broker.endpoint) as wire:
            wire.ask("hello", client="chaos")

            def is_empty() -> bool:
                stats = wire.ask("stats", queue=QUEUE).header["stats"]
                return not stats["messages"]

            wait_until(is_empty, "the queue is empty", deadline_s=DRAIN_S)

    def _start(self, role: str) -> LoadProcess:
        self._started += 1
        name = f"{role}-{self._started}"
        seed = self._chance.getrandbits(32)
        return LoadProcess(role, name, self._directory, self._broker.endpoint, seed)
