"""The processes of a run, and the chaos that kills them."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from pathlib import Path

from examples.word_count.cluster import Cluster

READY = re.compile(r"listening on (\S+), data in ")
START_S = 60.0
#: Nobody subscribes anything here, and another broker may have the ports.
NO_CHANNELS = ("--publish-listen", "", "--raw-listen", "")


class Broker:
    """A broker of our own, which keeps its port and its data when it is killed."""

    def __init__(self, directory: Path) -> None:
        self.endpoint = "tcp://127.0.0.1:0"
        self.kills = 0
        self._data = directory / "data"
        self._out = directory / "broker.out"
        self._process = self._start()

    def kill(self, chance: random.Random) -> None:
        self._process.kill()
        self._process.wait()
        self.kills += 1
        self._process = self._start()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-u", "-m", "broker"]
        with self._out.open("wb") as out:
            process = subprocess.Popen(
                [*command, "--listen", self.endpoint, "--data", str(self._data), *NO_CHANNELS],
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        ends_at = time.monotonic() + START_S
        while not (ready := READY.search(self._out.read_text())):
            if process.poll() is not None or time.monotonic() > ends_at:
                sys.exit(f"the broker did not start:\n{self._out.read_text()}")
            time.sleep(0.02)
        self.endpoint = ready.group(1)
        return process


class Consumers:
    """As many consumer processes as were asked for; one that was killed is started again."""

    def __init__(self, count: int, endpoint: str, queue: str, tally: Path) -> None:
        module = "examples.word_count.consumer"
        self._command = [sys.executable, "-m", module, endpoint, queue, str(tally)]
        self._processes = [subprocess.Popen(self._command) for _ in range(count)]
        self.kills = 0

    def kill(self, chance: random.Random) -> None:
        index = chance.randrange(len(self._processes))
        self._processes[index].kill()
        self._processes[index].wait()
        self._processes[index] = subprocess.Popen(self._command)
        self.kills += 1

    def require_alive(self) -> None:
        for process in self._processes:
            if process.poll() is not None:
                sys.exit(f"a consumer ended by itself with status {process.returncode}")

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()


class Chaos:
    """Kills a broker or a consumer with SIGKILL, some time after the last kill."""

    def __init__(self, brokers: Broker | Cluster, consumers: Consumers, seed: int) -> None:
        self._brokers = brokers
        self._consumers = consumers
        self._chance = random.Random(seed)
        self._kill_at = self._next_at()

    def maybe_kill(self) -> bool:
        if time.monotonic() < self._kill_at:
            return False
        if self._chance.random() < 0.5:
            self._brokers.kill(self._chance)
        else:
            self._consumers.kill(self._chance)
        self._kill_at = self._next_at()
        return True

    def _next_at(self) -> float:
        return time.monotonic() + self._chance.uniform(0.2, 1.5)
