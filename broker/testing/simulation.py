"""One seed's run from the first event to its verdict.

Two phases: under load with faults; then healed, when everything must be answered, delivered and
settled within a bound, and all copies be equal.  Owns the world's parts and their order; the
judgement is ``invariants`` and ``delivery``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from traceback import extract_tb
from typing import Any

from broker.cluster.ownership import ClusterConfig, SlotConfig
from broker.errors import DataDamaged, ProcessError
from broker.node.settings import NodeSettings
from broker.testing import calls, delivery, feature_checks
from broker.testing.bindings import BOUND_CHANNELS, BoundPublisher
from broker.testing.channel_settings import CHANNELS
from broker.testing.channels import Publisher, Reader, check_channels, hidden_queue
from broker.testing.client import Clients, SimulatedClient
from broker.testing.consumer import Consumer
from broker.testing.coordinator_client import PREFIX, CoordinatorClient, Tenure
from broker.testing.disk import SimulatedDisk
from broker.testing.etcd_model import EtcdModel
from broker.testing.faults import Faults, coordinator_faults, disk_faults, network_faults
from broker.testing.features import (
    BOUND,
    LOSSY,
    TAKEN_AT_MOST_ONCE,
    TARGETS,
    Dresser,
    key_of,
)
from broker.testing.getter import Getter
from broker.testing.history import History, Kind
from broker.testing.invariants import Invariants
from broker.testing.network import Network
from broker.testing.operator import Operator
from broker.testing.process import BrokerProcess
from broker.testing.producer import Producer
from broker.testing.scenario import Scenario, draw_scenario
from broker.testing.schedule import MS, SECOND, Schedule
from broker.testing.verdict import Verdict

#: What must be done within so long once everything is healed.
PROGRESS_US = 60 * SECOND
REPLICATION = 3
_QUIET_US = 3 * SECOND
_BREACHES_MAX = 10
#: A minute's run has some twenty thousand events; so many are a storm that feeds itself.
_STEPS_MAX = 250_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """``breaches`` is empty for a good run; ``trace`` is the same whenever the seed runs."""

    seed: int
    scenario: Scenario
    breaches: tuple[str, ...]
    simulated_s: float
    steps: int
    trace: str
    counts: dict[str, int]


class Simulation:
    def __init__(
        self, seed: int, scenario: Scenario, tell: Callable[[str], None] | None = None
    ) -> None:
        self.seed = seed
        self.scenario = scenario
        self.schedule = Schedule(tell)
        self.breaches: list[str] = []
        self.history = History()
        self.etcd = EtcdModel(self.schedule)
        self.network = Network(
            self.schedule, self._stream("network"), network_faults(scenario.faults)
        )
        self._disk_faults = disk_faults(scenario.faults)
        self._coordinator_faults = coordinator_faults(scenario.faults)
        self.invariants = Invariants(scenario.slots, self.breach)
        self.processes = [self._make_process(f"b{n}") for n in range(1, scenario.brokers + 1)]
        self.clients = Clients(self.schedule, self.network, self.history, self.breach)
        self.clients.declared.update(scenario.queues)
        featured = {q: made for q, made in scenario.featured.items() if q not in CHANNELS}
        channels = [queue for queue in scenario.featured if queue in CHANNELS]
        self.dresser = Dresser(self._stream("dresser"))
        fed = [*scenario.queues, *(q for q in featured if q not in TARGETS and q not in BOUND)]
        self.producers = [self._make_producer(f"p{n}", fed) for n in range(scenario.producers)]
        if channels:
            self.producers.append(self._make_producer("pub", channels, Publisher))
        if any(queue in featured for queue in BOUND):
            bound = list(BOUND_CHANNELS)
            self.producers.append(self._make_producer("bound", bound, BoundPublisher))
        taken = [*scenario.queues, *(q for q in featured if q not in TAKEN_AT_MOST_ONCE)]
        self.consumers = [
            Consumer(f"c{n}", self.clients, self._stream(f"c{n}"), taken)
            for n in range(scenario.consumers)
        ]
        self.others: list[SimulatedClient] = [
            Getter(f"g-{queue}", self.clients, self._stream(f"g-{queue}"), queue)
            for queue in featured
            if queue in TAKEN_AT_MOST_ONCE
        ]
        self.others += [
            Reader(f"r-{channel}", self.clients, self._stream(f"r-{channel}"), channel)
            for channel in channels
        ]
        self.others += calls.make_clients(scenario.callers, self.clients, self._stream)
        self.operator = Operator("o", self.clients, self._stream("o"), featured)
        if featured:
            self.others.append(self.operator)
        self.faults = Faults(
            self.schedule,
            self._stream("faults"),
            scenario,
            self.network,
            self.etcd,
            self.processes,
        )

    def _stream(self, name: str) -> Random:
        """Each part draws from its own stream, so that a change in one moves no other."""
        return Random(f"{self.seed} {name}")

    def breach(self, text: str) -> None:
        self.schedule.note(f"BREACH {text}")
        if len(self.breaches) < _BREACHES_MAX and text not in self.breaches:
            self.breaches.append(text)

    # Parts

    def _make_process(self, name: str) -> BrokerProcess:
        scenario = self.scenario
        settings = NodeSettings(
            name,
            "sim",
            cluster="sim" if scenario.brokers > 1 else "",
            slots=scenario.slots,
            checkpoint_bytes=scenario.checkpoint_bytes,
            log_kept_bytes=scenario.log_kept_bytes,
        )
        return BrokerProcess(
            settings,
            self.schedule,
            self.network,
            SimulatedDisk(self._stream(f"{name} disk"), self._disk_faults),
            self._stream(name),
            self._make_coordinator,
            self.invariants.look,
            self._died,
            self._broke,
        )

    def _make_coordinator(self, process: BrokerProcess) -> CoordinatorClient | None:
        if self.scenario.brokers == 1:
            return None
        tenure = Tenure(self.scenario.tenure_ms, self.scenario.tenure_ms // 50 + 200)
        return CoordinatorClient(
            process,
            self.etcd,
            self.schedule,
            self._stream(f"{process.name} coordinator {process.boots}"),
            self._coordinator_faults,
            tenure,
        )

    def _make_producer(
        self, name: str, queues: list[str], kind: type[Producer] = Producer
    ) -> Producer:
        scenario = self.scenario
        return kind(
            name,
            self.clients,
            self._stream(name),
            queues,
            scenario.put_interval_us,
            scenario.window,
            self._confirmed,
            self.dresser,
        )

    def _confirmed(self, slot: int, epoch: int, queue: str, first: int, count: int) -> None:
        if queue in BOUND_CHANNELS:
            # What is owed to the bound queues is judged by these.
            return
        name = hidden_queue(queue) if queue in CHANNELS else queue
        self.invariants.confirmed(slot, epoch, name, first, count)

    def _died(self, process: BrokerProcess, error: ProcessError | None) -> None:
        if isinstance(error, DataDamaged):
            if not process.disk.is_damaged:
                self.breach(f"{process.name} refuses a sound disk: {error.text}")
            self.faults.replace_damaged(process)
        elif not process.disk.is_damaged:
            self.invariants.crashed(process)
        self.faults.restart_later(process)

    def _broke(self, process: BrokerProcess, error: Exception) -> None:
        place = extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rpartition('/')[2]}:{place.lineno} {place.name}"
        self.breach(f"{process.name} raised {error!r} at {where}")

    def _all_clients(self) -> list[SimulatedClient]:
        return [*self.producers, *self.consumers, *self.others]

    # The run

    def at(self, seconds: float, label: str, act: Callable[..., object], *args: Any) -> None:
        """One act of a script, besides what the scenario draws; called before the run."""
        self.schedule.at(int(seconds * SECOND), f"script: {label}", act, *args)

    def run(self) -> Outcome:
        self._begin()
        self._run_until(self.scenario.seconds * SECOND * 6 // 10)
        self._heal()
        self._drain()
        if self.scenario.ends_with_power_loss:
            self.faults.lose_power()
            self._drain()
        self._judge()
        return Outcome(
            self.seed,
            self.scenario,
            tuple(self.breaches),
            self.schedule.now_us / SECOND,
            self.schedule.steps,
            self.schedule.trace_hash(),
            self._counts(),
        )

    def _begin(self) -> None:
        if self.scenario.brokers > 1:
            self._make_cluster()
        for process in self.processes:
            process.start()
        for client in self._all_clients():
            client.start()
        self.faults.begin()

    def _make_cluster(self) -> None:
        self.etcd.on_change.append(self.invariants.coordinated)
        config = ClusterConfig("51m", self.scenario.slots, REPLICATION, 2)
        self.etcd.put(f"{PREFIX}/config", config)
        for slot in range(self.scenario.slots):
            self.etcd.put(f"{PREFIX}/slots/{slot}", SlotConfig())

    def _run_until(self, at_us: int) -> None:
        end = self.schedule.at(at_us, "phase ends", lambda: None)
        while end.action is not None and self.schedule.steps < _STEPS_MAX:
            self.schedule.step()

    def _heal(self) -> None:
        self.schedule.note("everything is healed")
        self.faults.heal(self._disk_faults)
        faults = self._coordinator_faults
        faults.lose_request = faults.lose_reply = faults.late_request = faults.slow_watch = 0.0
        self.clients.patient = True
        for producer in self.producers:
            producer.stop()
        for consumer in self.consumers:
            consumer.become_eager()
        self.operator.finish()

    def _drain(self) -> None:
        """Runs until nothing is left to do, and a little longer."""
        until_us = self.schedule.now_us + PROGRESS_US
        while reason := self._left_to_do():
            if self.schedule.steps >= _STEPS_MAX:
                self.breach(f"a storm of events: {reason}")
                return
            if self.schedule.now_us > until_us:
                self.breach(f"no progress: {reason}")
                return
            self._run_until(self.schedule.now_us + 200 * MS)
        self._run_until(self.schedule.now_us + _QUIET_US)

    def _left_to_do(self) -> str:
        for process in self.processes:
            if process.node is None:
                return f"{process.name} is down"
        for client in self._all_clients():
            if client.unanswered:
                return f"{client.name} waits for {client.unanswered} answers"
        for number, slot in self.invariants.slots.items():
            if slot.waiting:
                return f"slot {number} holds {slot.waiting} messages"
        if self.scenario.brokers > 1:
            return self._out_of_sync() or self.invariants.behind(self.processes)
        return ""

    def _out_of_sync(self) -> str:
        """Which slot has no primary, or fewer copies in sync than it should."""
        copies = min(REPLICATION, self.scenario.brokers)
        for number in range(self.scenario.slots):
            row = self.etcd.get(f"{PREFIX}/slots/{number}")
            assert row is not None
            config: SlotConfig = row.value
            if config.epoch and (not config.primary or len(config.isr) < copies):
                return f"slot {number} has primary {config.primary!r} and only {config.isr} in sync"
        return ""

    # Judgement

    def _judge(self) -> None:
        if not self._left_to_do():
            self.invariants.require_equal(self.processes)
            for queue in self.history.queues:
                self.history.record(queue, Kind.DRAINED, "world")
        for verdict in self._verdicts():
            for text in verdict.breaches:
                self.breach(f"{verdict.checker}: {text}")

    def _verdicts(self) -> Iterator[Verdict]:
        unordered = {message for producer in self.producers for message in producer.unordered}
        histories = self.history.queues
        for queue, events in histories.items():
            if queue in TARGETS or queue in CHANNELS or queue == "work":
                continue
            if events[-1].kind is Kind.DRAINED and queue not in LOSSY:
                yield delivery.check_total_queue(events)
            yield delivery.check_producer_order(events, unordered)
        yield from check_channels(histories, unordered, is_drained=not self._left_to_do())
        yield from self._feature_verdicts(histories)

    def _feature_verdicts(self, histories: feature_checks.Histories) -> Iterator[Verdict]:
        for queue in LOSSY & histories.keys():
            yield feature_checks.check_nothing_invented(histories[queue])
        for queue in TAKEN_AT_MOST_ONCE & histories.keys():
            yield feature_checks.check_at_most_once(histories[queue])
        if "keyed" in histories:
            yield feature_checks.check_keys(histories["keyed"], key_of)
        if "once" in histories:
            yield feature_checks.check_ids(histories["once"], self.dresser.ids)
        if self._left_to_do():
            return
        if "work" in histories:
            yield feature_checks.check_moved(histories, "work", ["dead", "again"])
        if "step" in histories:
            yield feature_checks.check_transactions(histories, "step", "done")

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for events in self.history.queues.values():
            for event in events:
                counts[event.kind] = counts.get(event.kind, 0) + len(event.ids)
        return counts


def simulate(
    seed: int,
    *,
    brokers: int = 3,
    seconds: int = 60,
    destructive: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Outcome:
    random = Random(f"{seed} scenario")
    scenario = draw_scenario(random, brokers, seconds, destructive=destructive)
    return Simulation(seed, scenario, tell).run()
