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

from broker.testing.history import Kind
from broker.testing.verdict import Verdict
from tests.chaos.judging import DRAIN_S
from tests.chaos.load_process import Load
from tests.chaos.workloads import PLAIN, Workload
from tests.checkers.history import Recorder
from tests.support.broker_process import BrokerProcess

#: Seconds of load between two kills.
PAUSE_S = (0.05, 2.0)
CONSUMER_DIES = 0.3


class Kill9:
    """One run in one directory, which keeps the history and what each process printed."""

    def __init__(
        self,
        directory: Path,
        seed: int,
        tell: Callable[[str], None],
        workload: Workload = PLAIN,
    ) -> None:
        self._workload = workload
        self._directory = directory
        self._chance = random.Random(seed)
        self._tell = tell
        self._broker = BrokerProcess(directory / "broker")
        self._recorder = Recorder(directory / "chaos.jsonl", "chaos")
        self._load = Load(directory, self._chance)

    def run(self, rounds: int) -> list[Verdict]:
        with self._recorder, self._broker, self._load:
            self._workload.declare(self._broker.endpoint)
            for role in self._workload.producers:
                self._load.add_producer(role, self._broker.endpoint)
            for role in self._workload.consumers:
                self._load.add_consumer(role, self._broker.endpoint)
            for number in range(1, rounds + 1):
                pause_s = self._pause()
                self._kill()
                self._tell(f"round {number} of {rounds}: killed after {pause_s:.2f} s of load")
            self._finish()
        return self._workload.judge(self._directory)

    def _pause(self) -> float:
        """Lets the load run; the instant of a kill is chosen, not awaited."""
        pause_s = self._chance.uniform(*PAUSE_S)
        threading.Event().wait(pause_s)
        self._load.require_running()
        return pause_s

    def _kill(self) -> None:
        self._recorder.record(Kind.KILLED)
        self._broker.kill()
        if self._chance.random() < CONSUMER_DIES:
            self._load.kill_a_consumer()
        self._broker.restart()
        self._recorder.record(Kind.STARTED)

    def _finish(self) -> None:
        self._load.end_producers(DRAIN_S)
        self._workload.wait_drained(self._broker.endpoint)
        self._kill()
        self._workload.wait_drained(self._broker.endpoint)
        self._load.end_consumers(DRAIN_S)
        self._recorder.record(Kind.DRAINED)
