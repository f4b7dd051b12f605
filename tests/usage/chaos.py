"""Processes of ``programs`` that are killed, stopped for a while, and ended, at random points.

The points lie between lines of the file that the programs write, so nothing here waits for a time.
"""

from __future__ import annotations

import math
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.broker_process import ROOT, BrokerProcess
from tests.support.waiting import wait_until

DEADLINE_S = 90.0


class Programs:
    """Keeps one process of each name running, whatever becomes of it.

    ``lines_max`` is how many lines all the work gives at least: nobody waits for more.
    """

    def __init__(
        self,
        broker: BrokerProcess,
        directory: Path,
        names: list[str],
        seed: int,
        lines_max: float = math.inf,
    ) -> None:
        self.broker = broker
        self.directory = directory
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self._names = names
        self._lines_max = lines_max
        self._processes = [self._start(name) for name in names]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    @property
    def lines(self) -> list[str]:
        path = self.directory / "log"
        return path.read_text("ascii").splitlines() if path.exists() else []

    def harm(self, actions: dict[str, int], step: int) -> None:
        """Carries out so many of each action, one after every ``step`` lines or fewer."""
        order = [name for name, count in actions.items() for _ in range(count)]
        self.random.shuffle(order)
        for action in order:
            self._wait_for_lines(self.random.randint(1, step))
            self.done[action] += 1
            getattr(self, action)()

    def kill(self) -> None:
        index = self._pick()
        self._processes[index].kill()
        self._processes[index].wait()
        self._processes[index] = self._start(self._names[index])

    def terminate(self) -> None:
        index = self._pick()
        self._end(self._processes[index])
        self._processes[index] = self._start(self._names[index])

    def pause(self) -> None:
        """Until the others have gone on without it."""
        process = self._processes[self._pick()]
        process.send_signal(signal.SIGSTOP)
        try:
            self._wait_for_lines(10)
        finally:
            process.send_signal(signal.SIGCONT)

    def kill_broker(self) -> None:
        self.broker.kill()
        self.broker.restart()

    def run_until(self, is_done: Callable[[], bool], what: str) -> None:
        wait_until(is_done, what, deadline_s=DEADLINE_S)

    def end(self) -> None:
        """All of them end in order, by SIGTERM."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            self._end(process)

    def _wait_for_lines(self, count: int) -> None:
        """So many more."""
        seen = min(len(self.lines) + count, self._lines_max)
        wait_until(lambda: len(self.lines) >= seen, f"{seen} lines", deadline_s=DEADLINE_S)

    def _pick(self) -> int:
        return self.random.randrange(len(self._processes))

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        status = process.wait(timeout=DEADLINE_S)
        # One that had not even begun has no handler yet.
        assert status in (0, -signal.SIGTERM), f"ended with status {status}"

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        module = "tests.usage.programs"
        command = [sys.executable, "-m", module, name, self.broker.endpoint, str(self.directory)]
        return subprocess.Popen(command, cwd=ROOT)
