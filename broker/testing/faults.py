"""What goes wrong: each kind of incident by its own handler, as often as the scenario says.

Owns when and to whom it happens, and the end of it all: ``heal`` makes the world whole again.
Law: what destroys data takes only what another good copy holds.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from broker.cluster.ownership import SlotConfig
from broker.testing.clock import MILLION
from broker.testing.coordinator_client import CoordinatorFaults
from broker.testing.disk import DiskFaults
from broker.testing.etcd_model import EtcdModel
from broker.testing.network import Network, NetworkFaults
from broker.testing.process import BrokerProcess, State
from broker.testing.scenario import INCIDENTS, Scenario
from broker.testing.schedule import MS, SECOND, Schedule

_MINUTE_US = 60 * SECOND


def network_faults(faults: dict[str, float]) -> NetworkFaults:
    return NetworkFaults(
        drop=0.02 * faults.get("drop", 0),
        double=0.03 * faults.get("double", 0),
        reorder=0.1 * faults.get("reorder", 0),
        late=0.02 * faults.get("late", 0),
    )


def disk_faults(faults: dict[str, float]) -> DiskFaults:
    return DiskFaults(slow=0.03 * faults.get("slow_sync", 0), slow_us_max=2 * SECOND)


def coordinator_faults(faults: dict[str, float]) -> CoordinatorFaults:
    unknown = faults.get("unknown_swap", 0)
    return CoordinatorFaults(
        lose_request=0.02 * unknown,
        lose_reply=0.04 * unknown,
        late_request=0.04 * unknown,
        slow_watch=0.1 * faults.get("slow_watch", 0),
    )


class Faults:
    def __init__(
        self,
        schedule: Schedule,
        random: Random,
        scenario: Scenario,
        network: Network,
        etcd: EtcdModel,
        processes: list[BrokerProcess],
    ) -> None:
        self._schedule = schedule
        self._random = random
        self._scenario = scenario
        self._network = network
        self._etcd = etcd
        self._processes = processes
        self._ended = False
        #: Brokers that nobody starts again before all is healed.
        self.kept_down: set[str] = set()

    def begin(self) -> None:
        for kind, intensity in self._scenario.faults.items():
            if kind in INCIDENTS:
                self._later(kind, _MINUTE_US / (INCIDENTS[kind] * intensity))
        if "drift" in self._scenario.faults:
            for process in self._processes:
                process.clock.set_rate(0, MILLION + self._random.randint(-9_000, 9_000))

    def _later(self, kind: str, mean_us: float) -> None:
        delay_us = int(self._random.expovariate(1 / mean_us))
        self._schedule.after(delay_us, f"fault {kind}", self._happen, kind, mean_us)

    def _happen(self, kind: str, mean_us: float) -> None:
        if not self._ended:
            _INCIDENTS[kind](self)
            self._later(kind, mean_us)

    def heal(self, disks: DiskFaults) -> None:
        """No more faults; everything that is down comes up, everything cut is joined."""
        self._ended = True
        self.kept_down.clear()
        self._network.faults = NetworkFaults()
        self._network.heal_all()
        disks.slow = 0.0
        self._elect()
        for process in self._processes:
            process.disk.dragging = False
            self._settle_clock(process)
            process.resume()
            self.revive(process)
            if process.coordinator is not None:
                process.coordinator.is_cut = False

    def revive(self, process: BrokerProcess) -> None:
        if process.state is State.DOWN and process.name not in self.kept_down:
            process.start()

    def restart_later(self, process: BrokerProcess) -> None:
        """Whoever died comes back, soon as a rule."""
        delay_us = 100 * MS + int(5 * SECOND * self._random.random() ** 3)
        label = f"{process.name} is started"
        self._schedule.after(delay_us, label, self.revive, process)

    # Picking

    def _pick(self, *states: State) -> BrokerProcess | None:
        found = [process for process in self._processes if process.state in states]
        return self._random.choice(found) if found else None

    def _pick_up(self) -> BrokerProcess | None:
        return self._pick(State.UP)

    def _for_a_while(self, label: str, undo: Callable[..., None], *args: object) -> None:
        delay_us = 200 * MS + int(8 * SECOND * self._random.random() ** 2)
        self._schedule.after(delay_us, label, undo, *args)

    # Processes

    def _kill(self) -> None:
        process = self._pick(State.UP, State.PAUSED)
        if process is not None:
            process.kill()

    def _pause(self) -> None:
        process = self._pick_up()
        if process is not None:
            process.pause()
            self._for_a_while(f"{process.name} is continued", process.resume)

    def _restart_storm(self) -> None:
        process = self._pick_up()
        if process is not None:
            for number in range(6):
                delay_us = number * 300 * MS + int(200 * MS * self._random.random())
                self._schedule.after(delay_us, f"{process.name} bounces", self._bounce, process)

    def _bounce(self, process: BrokerProcess) -> None:
        if not self._ended:
            process.kill()
            self.revive(process)

    def lose_power(self) -> None:
        for process in self._processes:
            process.kill()

    # Clocks

    def _clock_jump(self) -> None:
        """The wall clock jumps: a running process is slewed towards it, a dead one starts in it."""
        process = self._random.choice(self._processes)
        if process.state is State.DOWN:
            process.clock.shift(self._schedule.now_us, self._random.randint(-2_000, 2_000))
            return
        process.clock.set_rate(
            self._schedule.now_us, MILLION + self._random.choice((-10_000, 10_000))
        )
        self._for_a_while(f"{process.name} is on time", self._settle_clock, process)

    def _settle_clock(self, process: BrokerProcess) -> None:
        process.clock.set_rate(self._schedule.now_us, MILLION)
        process.wake()

    # Disks

    def _sync_error(self) -> None:
        self._fail_disk("sync")

    def _write_error(self) -> None:
        self._fail_disk("write")

    def _disk_full(self) -> None:
        self._fail_disk("full")

    def _fail_disk(self, kind: str) -> None:
        process = self._pick_up()
        if process is not None:
            process.disk.fail_next(kind)

    def _drag(self) -> None:
        process = self._pick_up()
        if process is not None:
            process.disk.dragging = True
            self._for_a_while(f"{process.name} has a quick disk", self._stop_dragging, process)

    def _stop_dragging(self, process: BrokerProcess) -> None:
        process.disk.dragging = False

    def _empty_disk(self) -> None:
        process = self._pick(State.UP, State.DOWN)
        if process is not None and self._others_hold_all(process):
            process.lose_disk()

    def _flip_bit(self) -> None:
        process = self._pick_up()
        if process is not None and self._others_hold_all(process):
            process.kill()
            if process.disk.flip_bit():
                self._schedule.note(f"{process.name} has a damaged disk")

    def _others_hold_all(self, process: BrokerProcess) -> bool:
        """True while every slot has another copy in sync, on the disk that it was written to."""
        disks = {other.name: other for other in self._processes if other is not process}
        for key, row in self._etcd.listed()[1].items():
            config = row.value
            if isinstance(config, SlotConfig) and config.epoch:
                good = [
                    broker
                    for broker in config.isr
                    if broker in disks
                    and not disks[broker].disk.is_damaged
                    and config.incarnation_of(broker) == disks[broker].incarnation
                ]
                if not good:
                    self._schedule.note(f"{process.name} is the last with {key}")
                    return False
        return True

    def replace_damaged(self, process: BrokerProcess) -> None:
        """The operator's part: a disk that is refused makes place for an empty one."""
        process.lose_disk()

    # Network

    def _break(self) -> None:
        if connections := self._network.connections:
            self._network.break_connection(self._random.choice(connections))

    def _remake(self) -> None:
        if connections := self._network.connections:
            self._network.remake_connection(self._random.choice(connections))

    def _cut_one_way(self) -> None:
        source, target = self._random.sample(self._processes, 2)
        self._cut(source, target)

    def _cut(self, source: BrokerProcess, target: BrokerProcess) -> None:
        self._network.cut(source.name, target.name)
        label = f"{source.name} => {target.name} heals"
        self._for_a_while(label, self._network.heal, source.name, target.name)

    def _cut_off(self) -> None:
        self._cut_all_links(self._random.choice(self._processes))

    def _island(self) -> None:
        """One broker and its clients from all the rest, the coordination service included."""
        process = self._pick_up()
        if process is not None:
            self._cut_all_links(process)
            self._leave_etcd(process)

    def _cut_all_links(self, process: BrokerProcess) -> None:
        for other in self._processes:
            if other is not process:
                self._cut(process, other)
                self._cut(other, process)

    # The coordination service

    def _compact(self) -> None:
        self._etcd.compact()

    def _leader_change(self) -> None:
        self._etcd.lose_leader()
        delay_us = SECOND + int(2 * SECOND * self._random.random())
        self._schedule.after(delay_us, "etcd elects a leader", self._elect)

    def _etcd_away(self) -> None:
        self._etcd.lose_leader()
        delay_us = int((5 + 15 * self._random.random()) * SECOND)
        self._schedule.after(delay_us, "etcd is back", self._elect)

    def _elect(self) -> None:
        if not self._etcd.available:
            self._etcd.elect_leader()

    def _etcd_cut(self) -> None:
        process = self._pick_up()
        if process is not None:
            self._leave_etcd(process)

    def _leave_etcd(self, process: BrokerProcess) -> None:
        if process.coordinator is not None:
            process.coordinator.is_cut = True
            label = f"{process.name} reaches etcd"
            self._for_a_while(label, self._join_etcd, process)

    def _join_etcd(self, process: BrokerProcess) -> None:
        if process.coordinator is not None:
            process.coordinator.is_cut = False


_INCIDENTS: dict[str, Callable[[Faults], None]] = {
    "break": Faults._break,
    "remake": Faults._remake,
    "kill": Faults._kill,
    "pause": Faults._pause,
    "sync_error": Faults._sync_error,
    "write_error": Faults._write_error,
    "disk_full": Faults._disk_full,
    "drag": Faults._drag,
    "restart_storm": Faults._restart_storm,
    "power_loss": Faults.lose_power,
    "clock_jump": Faults._clock_jump,
    "cut_one_way": Faults._cut_one_way,
    "cut_off": Faults._cut_off,
    "island": Faults._island,
    "compact": Faults._compact,
    "leader_change": Faults._leader_change,
    "etcd_away": Faults._etcd_away,
    "etcd_cut": Faults._etcd_cut,
    "empty_disk": Faults._empty_disk,
    "flip_bit": Faults._flip_bit,
}
