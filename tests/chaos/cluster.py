"""Disturb a loaded cluster in every way that a machine has, and judge what its clients saw.

Producers and consumers go through all brokers: with the client, which follows the queue's
owner, and as raw frames through one broker each, which has to pass them on.  Every round is one
fault under load; the next begins when each slot has all its copies again.  At the end the queue is
drained, all brokers are killed once more, and nothing may be left.
"""

from __future__ import annotations

import json
import random
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

from broker.server.quantities import parse_ms
from broker.testing.history import Kind
from broker.testing.verdict import Verdict
from tests.chaos.judging import DRAIN_S
from tests.chaos.load_process import Load
from tests.chaos.probe import Probe
from tests.chaos.schedule import Fault
from tests.chaos.workloads import PLAIN, Workload
from tests.checkers.history import Recorder
from tests.support.cluster_process import ClusterProcess
from tests.support.waiting import wait_until

BROKERS = 3
#: The one consumer that speaks through one broker alone, and does not follow its queue.
RAW = "consumer"
#: Seconds of load before each fault.
PAUSE_S = (0.2, 2.0)
CONSUMER_DIES = 0.3
#: Beside the tenure, from SIGKILL of an owner to the first confirm of its successor.
FAILOVER_BEYOND_TENURE_S = 2.0
LEAVE_S = 1.0


class ClusterChaos:
    """One run in one directory, which keeps the history and what each process printed."""

    def __init__(
        self,
        directory: Path,
        seed: int,
        tell: Callable[[str], None],
        workload: Workload = PLAIN,
        *,
        tenure: str = "2s",
    ) -> None:
        self._workload = workload
        self._directory = directory
        self._chance = random.Random(seed)
        self._tell = tell
        self._tenure_s = parse_ms(tenure) / 1000
        self._cluster = ClusterProcess(directory, brokers=BROKERS, tenure=tenure)
        self._recorders = {
            name: Recorder(directory / f"{name}.jsonl", name)
            for name in (*self._cluster.brokers, "etcd", "chaos")
        }
        self._load = Load(directory, self._chance)
        self._failovers_s: list[float] = []
        self._leaves_s: list[float] = []
        self._acts: Mapping[Fault, Callable[[Probe], str]] = {
            Fault.KILL: self._kill,
            Fault.KILL_PRIMARY: self._kill_primary,
            Fault.STOP: lambda probe: self._stop(self._any(), probe),
            Fault.STOP_PRIMARY: lambda probe: self._stop(self._primary(), probe),
            Fault.KILL_ALL: self._kill_all,
            Fault.ETCD: self._end_etcd,
            Fault.LEAVE: self._leave,
        }

    def run(self, faults: Sequence[Fault]) -> list[Verdict]:
        try:
            with self._cluster:
                try:
                    self._disturb(faults)
                except BaseException:
                    self._keep_map()
                    raise
        finally:
            for recorder in self._recorders.values():
                recorder.close()
        return self._workload.judge(self._directory)

    @property
    def measured(self) -> list[str]:
        """How long clients waited, beside the limits that are aimed at."""
        limit_s = self._tenure_s + FAILOVER_BEYOND_TENURE_S
        return [
            _summary("SIGKILL of an owner to the next confirm", self._failovers_s, limit_s),
            _summary("longest put while an owner leaves", self._leaves_s, LEAVE_S),
        ]

    def _disturb(self, faults: Sequence[Fault]) -> None:
        cluster = self._cluster
        first = self._workload.queues[0]
        with self._load, Probe(cluster.endpoints, cluster.slots, first) as probe:
            probe.put()
            self._workload.declare(self._door())
            self._start_load()
            for number, fault in enumerate(faults, 1):
                self._round(f"round {number} of {len(faults)}", fault, probe)
            self._finish()

    def _keep_map(self) -> None:
        """Who held what when the run failed, beside the logs of the brokers."""
        with suppress(AssertionError):
            held = self._cluster.admin("map", "-o", "json")
            (self._directory / "map.json").write_text(held, "utf-8")

    def _start_load(self) -> None:
        doors = self._cluster.endpoints.split(",")
        for number, role in enumerate(self._workload.producers):
            self._load.add_producer(role, _rotated(doors, number))
        for number, role in enumerate(self._workload.consumers):
            addresses = _rotated(doors, number)
            self._load.add_consumer(role, addresses.split(",")[0] if role == RAW else addresses)

    def _round(self, title: str, fault: Fault, probe: Probe) -> None:
        pause_s = self._pause(*PAUSE_S)
        if self._chance.random() < CONSUMER_DIES:
            self._load.kill_a_consumer()
        self._tell(f"{title}: {fault}, after {pause_s:.2f} s of load")
        told = self._acts[fault](probe)
        self._cluster.wait_replicated()
        waited_s = probe.put()
        self._load.require_running()
        self._tell(f"  {told}; whole again, and a put takes {1000 * waited_s:.0f} ms")

    # The faults: each returns with all processes running.

    def _kill(self, probe: Probe) -> str:
        name = self._any()
        self._kill_broker(name)
        away_s = self._pause(0, 2 * self._tenure_s)
        self._restart(name)
        return f"{name} came back after {away_s:.2f} s"

    def _kill_primary(self, probe: Probe) -> str:
        name = self._primary()
        self._kill_broker(name)
        failover_s = probe.put()
        self._failovers_s.append(failover_s)
        self._restart(name)
        return f"{name} had a successor after {failover_s:.2f} s"

    def _stop(self, name: str, probe: Probe) -> str:
        broker = self._cluster.brokers[name]
        broker.signal(signal.SIGSTOP)
        self._recorders[name].record(Kind.STOPPED)
        wait_until(lambda: not self._is_alive(name), f"{name}'s tenure has ended")
        waited_s = probe.put()
        more_s = self._pause(0, 2 * self._tenure_s)
        broker.signal(signal.SIGCONT)
        self._recorders[name].record(Kind.WENT_ON)
        wait_until(lambda: self._is_alive(name), f"{name} has a tenure again")
        return f"{name} slept {more_s:.2f} s beyond its tenure, when a put took {waited_s:.2f} s"

    def _kill_all(self, probe: Probe) -> str:
        self._restart_all()
        return f"all were killed, and a put took {probe.put():.2f} s"

    def _end_etcd(self, probe: Probe) -> str:
        (member,) = self._cluster.etcd.members
        member.kill()
        self._recorders["etcd"].record(Kind.KILLED)
        away_s = self._pause(0, 2 * self._tenure_s)
        self._cluster.etcd.restart(member)
        self._recorders["etcd"].record(Kind.STARTED)
        return f"etcd was away for {away_s:.2f} s, and a put took {probe.put():.2f} s"

    def _leave(self, probe: Probe) -> str:
        name = self._primary()
        broker = self._cluster.brokers[name]
        broker.signal(signal.SIGTERM)
        self._recorders[name].record(Kind.LEFT)
        longest_s = probe.put()
        while broker.is_running:
            longest_s = max(longest_s, probe.put())
        longest_s = max(longest_s, probe.put())
        status = broker.wait()
        assert status == 0, f"{name} ended with {status}:\n{broker.output}"
        self._leaves_s.append(longest_s)
        self._restart(name)
        return f"{name} left, and the longest put took {longest_s:.2f} s"

    # What they are made of

    def _kill_broker(self, name: str) -> None:
        self._cluster.brokers[name].kill()
        self._recorders[name].record(Kind.KILLED)

    def _restart(self, name: str) -> None:
        self._cluster.brokers[name].restart()
        self._recorders[name].record(Kind.STARTED)

    def _restart_all(self) -> None:
        """Dead at once, and back together."""
        brokers = self._cluster.brokers
        for name, broker in brokers.items():
            broker.signal(signal.SIGKILL)
            self._recorders[name].record(Kind.KILLED)
        for broker in brokers.values():
            broker.wait()
            broker.launch()
        for name, broker in brokers.items():
            broker.wait_ready()
            self._recorders[name].record(Kind.STARTED)

    def _any(self) -> str:
        return self._chance.choice(sorted(self._cluster.brokers))

    def _primary(self) -> str:
        return self._cluster.primary_of(self._workload.queues[0])

    def _is_alive(self, name: str) -> bool:
        """The coordinator knows of its tenure."""
        brokers = json.loads(self._cluster.admin("info", "-o", "json"))["brokers"]
        return any(each["broker"] == name and each["state"] == "alive" for each in brokers)

    def _pause(self, low_s: float, high_s: float) -> float:
        """Lets time pass: the instant of a fault is chosen, not awaited."""
        pause_s = self._chance.uniform(low_s, high_s)
        threading.Event().wait(pause_s)
        return pause_s

    def _door(self) -> str:
        return self._cluster.endpoints.split(",")[0]

    def _finish(self) -> None:
        self._load.end_producers(DRAIN_S)
        self._workload.wait_drained(self._door())
        self._restart_all()
        self._workload.wait_drained(self._door())
        self._load.end_consumers(DRAIN_S)
        self._recorders["chaos"].record(Kind.DRAINED)


def _rotated(doors: Sequence[str], number: int) -> str:
    """All addresses, of which the first is another one for each ``number``."""
    start = number % len(doors)
    return ",".join([*doors[start:], *doors[:start]])


def _summary(what: str, times_s: Sequence[float], limit_s: float) -> str:
    if not times_s:
        return f"{what}: never"
    numbers = f"median {median(times_s):.2f} s, longest {max(times_s):.2f} s of {len(times_s)}"
    return f"{what}: {numbers} (aim: {limit_s:g} s)"
