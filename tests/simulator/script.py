"""A simulated cluster under a usual load, whose faults happen exactly when a test says so.

A script is judged like every run of the simulator: all invariants at every step, and after its
healed end total queue, attempts, order and equal copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from broker.cluster.ownership import SlotConfig
from broker.testing.coordinator_client import PREFIX
from broker.testing.history import Kind
from broker.testing.process import BrokerProcess, State
from broker.testing.report import report
from broker.testing.scenario import Scenario
from broker.testing.schedule import SECOND
from broker.testing.simulation import Outcome, Simulation

SLOTS = 4
TENURE_S = 2


class Script:
    """``act(seconds, ...)`` before ``run``; faults are acted in the first 60 % of ``seconds``."""

    def __init__(
        self,
        seed: int = 1,
        *,
        brokers: int = 3,
        seconds: int = 30,
        faults: dict[str, float] | None = None,
        log_kept_bytes: int = 4_000,
        queues: int = 4,
        clients: int = 2,
    ) -> None:
        self.lines: list[str] = []
        self.queues = [f"q{number}" for number in range(queues)]
        scenario = Scenario(
            brokers=brokers,
            seconds=seconds,
            slots=SLOTS,
            queues=self.queues,
            producers=clients,
            consumers=clients,
            put_interval_us=SECOND // 5,
            window=4,
            checkpoint_bytes=2_000,
            log_kept_bytes=log_kept_bytes,
            tenure_ms=TENURE_S * 1_000,
            ends_with_power_loss=False,
            faults=faults or {},
        )
        self.simulation = Simulation(seed, scenario, self.lines.append)
        self.schedule = self.simulation.schedule
        self.network = self.simulation.network
        self.etcd = self.simulation.etcd
        self.brokers = {process.name: process for process in self.simulation.processes}

    def act(self, seconds: float, act: Callable[..., object], *args: Any) -> None:
        self.simulation.at(seconds, getattr(act, "__name__", "act"), act, *args)

    def run(self, confirmed_min: int = 50) -> Outcome:
        """A run without a breach, with enough confirmed that there was something to break."""
        outcome = self.simulation.run()
        assert not outcome.breaches, report(outcome)
        assert outcome.counts["confirmed"] >= confirmed_min, report(outcome)
        return outcome

    # What the script sees

    @property
    def confirmed(self) -> int:
        """Messages, so far."""
        queues = self.simulation.history.queues.values()
        return sum(len(e.ids) for events in queues for e in events if e.kind is Kind.CONFIRMED)

    def told(self, *words: str) -> list[str]:
        """Lines of the trace with all of these words."""
        return [line for line in self.lines if all(word in line for word in words)]

    def owned(self, slot: int) -> SlotConfig:
        row = self.etcd.get(f"{PREFIX}/slots/{slot}")
        assert row is not None
        assert isinstance(row.value, SlotConfig)
        return row.value

    @property
    def slots(self) -> Iterator[SlotConfig]:
        return (self.owned(slot) for slot in range(SLOTS))

    @property
    def epochs(self) -> list[int]:
        return [owned.epoch for owned in self.slots]

    def primary(self, slot: int = 0) -> BrokerProcess:
        return self.brokers[self.owned(slot).primary]

    def others(self, process: BrokerProcess) -> list[BrokerProcess]:
        return [other for other in self.brokers.values() if other is not process]

    # Acts

    def kill(self, process: BrokerProcess, down_s: float | None = None) -> None:
        """Down for so long, or until all is healed."""
        self.simulation.faults.kept_down.add(process.name)
        process.kill()
        if down_s is not None:
            self.schedule.after(int(down_s * SECOND), "script: revive", self.revive, process)

    def revive(self, process: BrokerProcess) -> None:
        self.simulation.faults.kept_down.discard(process.name)
        self.simulation.faults.revive(process)

    def pause(self, process: BrokerProcess, for_s: float) -> None:
        process.pause()
        self.schedule.after(int(for_s * SECOND), "script: resume", process.resume)

    def drag(self, *processes: BrokerProcess, slow_s: int = 1) -> None:
        """From now on what these write is not on their disks for long."""
        self.simulation._disk_faults.slow_us_max = slow_s * SECOND
        for process in processes:
            process.disk.dragging = True

    def cut(self, source: BrokerProcess, *targets: BrokerProcess) -> None:
        for target in targets:
            self.network.cut(source.name, target.name)

    def part(self, process: BrokerProcess) -> None:
        """No link to or from it."""
        for other in self.others(process):
            self.cut(process, other)
            self.cut(other, process)

    def join(self) -> None:
        self.network.heal_all()

    def lose_for_good(self, process: BrokerProcess) -> None:
        """Its machine is gone: nothing of it ever comes back."""
        self.kill(process)
        self.simulation.processes.remove(process)
        del self.brokers[process.name]

    def are_up(self) -> bool:
        return all(process.state is State.UP for process in self.brokers.values())
