"""A thousand callers at once, a worker killed each second; and the same while brokers are killed.

python -m tests.chaos.calls --seconds 30
python -m tests.chaos.calls --seconds 60 --brokers 3

Every call ends once, with its own reply or a named error, by its deadline.  How late the latest
end came is told: it has the broker's turn, the way, and this process's own loop in it.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import zmq

from broker.testing.verdict import Verdict
from tests.chaos.call_worker import SERVICE
from tests.support.broker_process import ROOT, BrokerProcess
from tests.support.cluster_process import ClusterProcess

TIMEOUT_MS = 2_000
#: A call that has not ended so long after its deadline hangs.
HANG_S = 10.0
#: Who was refused asks again after so long.
_PAUSE_S = 0.05
_SLOW_SHARE = 0.01
_SOCKETS = 4
_WORKERS = 4
_KILL_BROKER_EVERY_S = 15.0


@dataclass(slots=True)
class Open:
    body: bytes
    deadline: float


@dataclass(slots=True)
class Findings:
    ends: Counter[str] = field(default_factory=Counter)
    breaches: list[str] = field(default_factory=list)
    latest_s: float = 0.0


class Callers:
    """``count`` callers of one connection, each with one call at a time."""

    def __init__(self, endpoint: str, count: int, rng: random.Random, found: Findings) -> None:
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)
        self._rng = rng
        self._found = found
        self._req = 10
        self.open: dict[int, Open] = {}
        #: When each caller that has no call makes its next one.
        self._idle: list[float] = [0.0] * count
        self._say({"cmd": "hello", "req": 1, "client": "callers", "timeout_ms": 60_000})
        self.socket.recv_multipart()

    def _say(self, header: dict[str, Any], *frames: bytes) -> None:
        self.socket.send_multipart([msgpack.packb({"v": 1, **header}), *frames])

    def call(self) -> None:
        now = time.monotonic()
        ready = [at for at in self._idle if at <= now]
        self._idle = [at for at in self._idle if at > now]
        for _ in ready:
            self._req += 1
            kind = b"slow" if self._rng.random() < _SLOW_SHARE else b"fast"
            body = kind + b" %d %d" % (id(self), self._req)
            self.open[self._req] = Open(body, time.monotonic() + TIMEOUT_MS / 1_000)
            header = {"cmd": "call", "req": self._req, "service": SERVICE}
            is_idempotent = self._rng.random() < 0.5
            self._say({**header, "timeout_ms": TIMEOUT_MS, "idempotent": is_idempotent}, body)

    def hear(self) -> None:
        while self.socket.poll(0):
            raw, *frames = self.socket.recv_multipart()
            header = msgpack.unpackb(raw)
            asked = self.open.pop(header.get("req"), None)
            if asked is None:
                self._found.breaches.append(f"an end of no open call: {header}")
                continue
            self._end(asked, header, frames)

    def _end(self, asked: Open, header: dict[str, Any], frames: list[bytes]) -> None:
        now = time.monotonic()
        self._found.latest_s = max(self._found.latest_s, now - asked.deadline)
        if header["re"] == "reply":
            self._found.ends["reply"] += 1
            if frames[0] != b"re " + asked.body:
                self._found.breaches.append(f"{asked.body!r} was answered {frames[0]!r}")
            self._idle.append(now)
        else:
            self._found.ends[header["error"]] += 1
            self._idle.append(now + _PAUSE_S)

    def look_for_hung(self) -> None:
        late = time.monotonic() - HANG_S
        for req in [req for req, asked in self.open.items() if asked.deadline < late]:
            self._found.breaches.append(f"{self.open.pop(req).body!r} never ended")
            self._idle.append(time.monotonic())


class Workers:
    def __init__(self, endpoints: list[str]) -> None:
        self._endpoints = endpoints
        self._processes = [self._start(number) for number in range(_WORKERS)]
        self.killed = 0

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        endpoint = self._endpoints[number % len(self._endpoints)]
        command = [sys.executable, "-m", "tests.chaos.call_worker", endpoint]
        return subprocess.Popen(command, cwd=ROOT)

    def kill_one(self) -> None:
        number = self.killed % _WORKERS
        self._processes[number].kill()
        self._processes[number].wait()
        self._processes[number] = self._start(number)
        self.killed += 1

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def run(
    callers: list[Callers], workers: Workers, seconds: float, kill_broker: Callable[[], None]
) -> None:
    """Calls until the time is over, then until none is open."""
    began = time.monotonic()
    kill_worker_at, kill_broker_at = began + 2.0, began + _KILL_BROKER_EVERY_S / 2
    poller = zmq.Poller()
    for each in callers:
        poller.register(each.socket, zmq.POLLIN)
    while (now := time.monotonic()) < began + seconds or any(each.open for each in callers):
        poller.poll(10)
        for each in callers:
            each.hear()
            each.look_for_hung()
            if now < began + seconds:
                each.call()
        if kill_worker_at <= now < began + seconds:
            workers.kill_one()
            kill_worker_at = now + 1.0
        if kill_broker_at <= now < began + seconds:
            kill_broker()
            kill_broker_at = now + _KILL_BROKER_EVERY_S


def chaos(directory: Path, seconds: float, brokers: int, count: int, seed: int) -> Verdict:
    found, rng, kills = Findings(), random.Random(seed), Counter[str]()
    with ExitStack() as stack:
        if brokers == 1:
            running = [stack.enter_context(BrokerProcess(directory))]
        else:
            whole = stack.enter_context(ClusterProcess(directory))
            owner = whole.primary_of(SERVICE)
            # The callers' broker is spared; the service's owner dies first.
            others = [name for name in whole.brokers if name != owner]
            running = [whole.brokers[name] for name in (others[0], owner, *others[1:])]
        workers = Workers([broker.endpoint for broker in running])
        stack.callback(workers.close)
        callers = [
            Callers(running[0].endpoint, count // _SOCKETS, rng, found) for _ in range(_SOCKETS)
        ]
        victims = running[1:]

        def kill_broker() -> None:
            if victims:
                victim = victims[kills["brokers"] % len(victims)]
                victim.kill()
                victim.launch()
                kills["brokers"] += 1

        run(callers, workers, seconds, kill_broker)
        for each in callers:
            each.socket.close()
    told = {"callers": count, "workers killed": workers.killed, **kills, **found.ends}
    if not found.ends["reply"]:
        found.breaches.append("no call was answered")
    counts = {**told, "latest end after its deadline, ms": round(found.latest_s * 1_000)}
    return Verdict("calls", tuple(found.breaches), counts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.calls", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--callers", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="msgqueue-chaos-") as directory:
        place = Path(directory)
        verdict = chaos(place, given.seconds, given.brokers, given.callers, given.seed)
    print(verdict, flush=True)
    sys.exit(0 if verdict.valid else 1)


if __name__ == "__main__":
    main()
