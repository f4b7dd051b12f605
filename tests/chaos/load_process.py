"""Producers and consumers, each in a process of its own, with its history and what it printed."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from tests.support.broker_process import ROOT


class LoadProcess:
    """``role`` is a module of this package that takes an endpoint, a history and a seed."""

    def __init__(self, role: str, name: str, directory: Path, endpoint: str, seed: int) -> None:
        self.role = role
        self.name = name
        self.endpoint = endpoint
        self._err = directory / f"{name}.err"
        history = directory / f"{name}.jsonl"
        command = [sys.executable, "-m", f"tests.chaos.{role}", endpoint, str(history), str(seed)]
        with self._err.open("wb") as err:
            self._process = subprocess.Popen(command, cwd=ROOT, stderr=err)

    def require_running(self) -> None:
        """Raises AssertionError, with what the process said, when it ended by itself."""
        status = self._process.poll()
        assert status is None, f"{self.name} ended with {status}:\n{self._err.read_text()}"

    def end(self, deadline_s: float) -> None:
        """In order: what it has begun is answered before it ends."""
        self._process.terminate()
        status = self._process.wait(deadline_s)
        assert status == 0, f"{self.name} ended with {status}:\n{self._err.read_text()}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Load:
    """All of them.  ``with Load(directory, chance) as load`` leaves none behind."""

    def __init__(self, directory: Path, chance: random.Random) -> None:
        self._directory = directory
        self._chance = chance
        self._producers: list[LoadProcess] = []
        self._consumers: list[LoadProcess] = []
        self._started = 0

    def add_producer(self, role: str, endpoint: str) -> None:
        self._producers.append(self._start(role, endpoint))

    def add_consumer(self, role: str, endpoint: str) -> None:
        self._consumers.append(self._start(role, endpoint))

    def require_running(self) -> None:
        for process in self._producers + self._consumers:
            process.require_running()

    def kill_a_consumer(self) -> None:
        """Another one takes its place."""
        index = self._chance.randrange(len(self._consumers))
        killed = self._consumers[index]
        killed.kill()
        self._consumers[index] = self._start(killed.role, killed.endpoint)

    def end_producers(self, deadline_s: float) -> None:
        for producer in self._producers:
            producer.end(deadline_s)

    def end_consumers(self, deadline_s: float) -> None:
        for consumer in self._consumers:
            consumer.end(deadline_s)

    def _start(self, role: str, endpoint: str) -> LoadProcess:
        self._started += 1
        name = f"{role}-{self._started}"
        seed = self._chance.getrandbits(32)
        return LoadProcess(role, name, self._directory, endpoint, seed)

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._producers + self._consumers:
            process.kill()
