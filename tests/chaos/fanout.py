"""A fast publisher, many subscribers, and everything that can happen to them; who got what.

One subscriber is stopped for a while, another is killed and started again, and the broker that
serves the channel is killed and started again.  The channel's history is durable and longer than
the run, so every subscriber ends with every message, in order, once.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from broker.testing.verdict import Verdict
from tests.chaos.fanout_channel import CHANNEL, RECORD
from tests.support.broker_process import ROOT, BrokerProcess
from tests.support.cluster_process import ClusterProcess
from tests.support.waiting import wait_until

#: What the broker may need besides what it needs idle: a stopped subscriber's share of the
#: fan-out, the windows of the history, what is unconfirmed.
MEMORY_GROWTH_MAX = 512 << 20
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Plan:
    """``rate`` messages a second for ``seconds``; the stopped subscriber sleeps ``stop_s``."""

    rate: int = 50_000
    seconds: float = 30.0
    subscribers: int = 10
    stop_s: float = 10.0
    deadline_s: float = 900.0

    @property
    def total(self) -> int:
        return int(self.rate * self.seconds)


class Place(Protocol):
    """What the run needs of one broker, or of several."""

    @property
    def endpoints(self) -> str: ...

    def owner(self) -> BrokerProcess: ...

    def brokers(self) -> Sequence[BrokerProcess]: ...

    def is_whole(self) -> None: ...


class Alone:
    def __init__(self, directory: Path) -> None:
        self._broker = BrokerProcess(directory / "broker")

    @property
    def endpoints(self) -> str:
        return self._broker.endpoint

    def owner(self) -> BrokerProcess:
        return self._broker

    def brokers(self) -> Sequence[BrokerProcess]:
        return [self._broker]

    def is_whole(self) -> None:
        """A lone broker is whole when it is ready."""

    def __enter__(self) -> Alone:
        self._broker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._broker.__exit__(None, None, None)


class Several:
    def __init__(self, directory: Path, tenure: str = "2s") -> None:
        self._cluster = ClusterProcess(directory, tenure=tenure)

    @property
    def endpoints(self) -> str:
        return self._cluster.endpoints

    def owner(self) -> BrokerProcess:
        return self._cluster.brokers[self._cluster.primary_of(CHANNEL)]

    def brokers(self) -> Sequence[BrokerProcess]:
        return list(self._cluster.brokers.values())

    def is_whole(self) -> None:
        self._cluster.wait_replicated()

    def __enter__(self) -> Several:
        self._cluster.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._cluster.__exit__(None, None, None)


class Fanout:
    """One run in one directory, which keeps what each subscriber wrote."""

    def __init__(self, directory: Path, plan: Plan, tell: Callable[[str], None]) -> None:
        self._directory = directory
        self._plan = plan
        self._tell = tell
        self._grown = 0

    def run(self, place: Alone | Several) -> list[Verdict]:
        plan = self._plan
        with place, ExitStack() as stack:
            before = {broker.pid: broker.rss_bytes for broker in place.brokers()}
            publisher = self._start(stack, "publisher", place, str(plan.total), str(plan.rate))
            subscribers = [
                self._start(stack, f"subscriber-{n}", place) for n in range(plan.subscribers)
            ]
            self._disturb(stack, place, subscribers, before)
            self._wait([publisher, *subscribers], place, before)
        return [*self._judge(), self._judge_memory()]

    def _start(
        self, stack: ExitStack, name: str, place: Place, *args: str
    ) -> subprocess.Popen[bytes]:
        role = name.partition("-")[0]
        if not args:
            args = (str(self._file(name)), str(self._plan.total))
        command = [sys.executable, "-m", f"tests.chaos.fanout_{role}", place.endpoints, *args]
        with (self._directory / f"{name}.err").open("ab") as err:
            process = subprocess.Popen(command, cwd=ROOT, stderr=err)
        stack.callback(process.wait)
        stack.callback(process.kill)
        return process

    def _disturb(
        self,
        stack: ExitStack,
        place: Place,
        subscribers: list[subprocess.Popen[bytes]],
        before: dict[int, int],
    ) -> None:
        some = self._plan.total // 8
        wait_until(lambda: self._least() > some, "all subscribers are under way", deadline_s=300)
        subscribers[0].send_signal(signal.SIGSTOP)
        subscribers[1].kill()
        subscribers[1].wait()
        self._look(place, before)
        owner = place.owner()
        owner.kill()
        self._tell("one subscriber sleeps, one is dead, and the channel's broker is killed")
        owner.restart()
        place.is_whole()
        before[owner.pid] = owner.rss_bytes
        subscribers[1] = self._start(stack, "subscriber-1", place)
        self._sleep(place, before, self._plan.stop_s)
        subscribers[0].send_signal(signal.SIGCONT)
        self._tell("all are back")

    def _sleep(self, place: Place, before: dict[int, int], seconds: float) -> None:
        """Lets time pass; it is chosen, not awaited."""
        for _ in range(round(seconds / _LOOK_S)):
            threading.Event().wait(_LOOK_S)
            self._look(place, before)

    def _wait(
        self,
        processes: Sequence[subprocess.Popen[bytes]],
        place: Place,
        before: dict[int, int],
    ) -> None:
        def have_ended() -> bool:
            self._look(place, before)
            return all(process.poll() is not None for process in processes)

        wait_until(have_ended, "everybody has all", deadline_s=self._plan.deadline_s)
        for process in processes:
            assert process.returncode == 0, self._errors()

    def _look(self, place: Place, before: dict[int, int]) -> None:
        for broker in place.brokers():
            if broker.is_running and broker.pid in before:
                self._grown = max(self._grown, broker.rss_bytes - before[broker.pid])

    def _errors(self) -> str:
        return "\n".join(
            f"{path.name}: {path.read_text()}" for path in sorted(self._directory.glob("*.err"))
        )

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.records"

    def _least(self) -> int:
        files = [self._file(f"subscriber-{n}") for n in range(self._plan.subscribers)]
        return min(file.stat().st_size // RECORD.size if file.exists() else 0 for file in files)

    def _judge(self) -> list[Verdict]:
        verdicts = []
        for number in range(self._plan.subscribers):
            file = self._file(f"subscriber-{number}")
            came = [record for _, record in RECORD.iter_unpack(file.read_bytes())]
            verdicts.append(judge(f"subscriber-{number}", came, self._plan.total, gaps(file)))
        return verdicts

    def _judge_memory(self) -> Verdict:
        mib, bound = self._grown >> 20, MEMORY_GROWTH_MAX >> 20
        breaches = (f"a broker grew by {mib} MiB",) if mib > bound else ()
        return Verdict("memory", breaches, {"grown_mib": mib, "bound_mib": bound})


def gaps(file: Path) -> int:
    told = file.with_suffix(".gaps")
    return len(told.read_text("utf-8").splitlines()) if told.exists() else 0


def judge(name: str, came: Sequence[int], total: int, told_gaps: int) -> Verdict:
    """Everything, in order, once."""
    counts = {
        "taken": len(came),
        "missing": len(set(range(total)) - set(came)),
        "doubled": len(came) - len(set(came)),
        "out_of_order": sum(1 for a, b in pairwise(came) if b <= a),
        "gaps_told": told_gaps,
    }
    breaches = (f"{count} {what}" for what, count in counts.items() if count and what != "taken")
    return Verdict(name, tuple(breaches), counts)
