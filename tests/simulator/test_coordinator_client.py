"""A broker's conversation with the coordination service: tenure, view and swaps."""

from __future__ import annotations

from random import Random

from broker.cluster.ownership import BrokerRecord, ClusterConfig, SlotConfig
from broker.cluster.view import Change, ClusterView, Swap, SwapAnswer, SwapOutcome
from broker.testing.coordinator_client import PREFIX, CoordinatorClient, CoordinatorFaults, Tenure
from broker.testing.etcd_model import EtcdModel
from broker.testing.schedule import MS, SECOND, Schedule

SLOT = f"{PREFIX}/slots/0"


class Host:
    def __init__(self, schedule: Schedule) -> None:
        self.name = "b1"
        self.incarnation = "inc"
        self.schedule = schedule
        self.views: list[ClusterView] = []
        self.changes: list[Change] = []
        self.answers: list[SwapAnswer] = []
        self.tenures: list[int] = []

    def now_ms(self) -> int:
        return self.schedule.now_us // MS

    def view_listed(self, view: ClusterView) -> None:
        self.views.append(view)

    def view_changed(self, change: Change) -> None:
        self.changes.append(change)

    def swap_answered(self, swap: Swap, answer: SwapAnswer) -> None:
        self.answers.append(answer)

    def tenure_extended(self, until_ms: int) -> None:
        self.tenures.append(until_ms)


class World:
    def __init__(self, **faults: float) -> None:
        self.schedule = Schedule()
        self.etcd = EtcdModel(self.schedule)
        self.etcd.put(f"{PREFIX}/config", ClusterConfig("x", 1, 3, 2))
        self.etcd.put(SLOT, SlotConfig())
        self.host = Host(self.schedule)
        settings = CoordinatorFaults()
        for name, value in faults.items():
            setattr(settings, name, value)
        self.client = CoordinatorClient(
            self.host, self.etcd, self.schedule, Random(1), settings, Tenure(3_000, 300)
        )
        self.client.open()

    def pass_time(self, us: int) -> None:
        waited = self.schedule.after(us, "waited", lambda: None)
        while waited.action is not None:
            self.schedule.step()

    def swap(self, epoch: int) -> None:
        row = self.etcd.get(SLOT)
        assert row is not None
        self.client.swap(Swap(0, row.revision, SlotConfig(epoch=epoch)))

    def stored_epoch(self) -> int:
        row = self.etcd.get(SLOT)
        assert row is not None
        assert isinstance(row.value, SlotConfig)
        return row.value.epoch


def test_a_broker_that_opens_is_alive_a_member_and_knows_the_keys() -> None:
    world = World()
    world.pass_time(100 * MS)
    record = world.etcd.get(f"{PREFIX}/brokers/b1")
    assert record is not None
    assert isinstance(record.value, BrokerRecord)
    assert record.value.incarnation == "inc"
    assert world.etcd.get(f"{PREFIX}/members/b1") is not None
    view = world.host.views[0]
    assert view.config is not None
    assert view.slots[0].config == SlotConfig()


def test_a_tenure_counts_from_the_sending_of_its_keepalive() -> None:
    world = World()
    world.pass_time(20 * SECOND)
    assert len(world.host.tenures) >= 19
    assert world.host.tenures[0] == 2_700
    assert world.host.tenures == sorted(world.host.tenures)
    assert world.etcd.get(f"{PREFIX}/brokers/b1") is not None


def test_a_paused_broker_loses_its_tenure_and_takes_another_when_it_goes_on() -> None:
    world = World()
    world.pass_time(SECOND)
    world.client.pause()
    world.pass_time(5 * SECOND)
    assert world.etcd.get(f"{PREFIX}/brokers/b1") is None
    world.client.resume()
    world.pass_time(SECOND)
    assert world.etcd.get(f"{PREFIX}/brokers/b1") is not None


def test_changes_are_told_once_and_in_order() -> None:
    world = World(slow_watch=0.5)
    world.pass_time(SECOND)
    world.host.changes.clear()
    for epoch in range(1, 20):
        world.etcd.put(SLOT, SlotConfig(epoch=epoch))
        world.pass_time(50 * MS)
    world.pass_time(10 * SECOND)
    told = [c.value.epoch for c in world.host.changes if isinstance(c.value, SlotConfig)]
    assert told == list(range(1, 20))


def test_after_a_compaction_past_the_watch_the_keys_are_listed_again() -> None:
    world = World()
    world.pass_time(SECOND)
    world.client.is_cut = True
    world.etcd.put(SLOT, SlotConfig(epoch=5))
    world.etcd.compact()
    world.pass_time(SECOND)
    world.client.is_cut = False
    world.pass_time(3 * SECOND)
    assert world.host.views[-1].slots[0].config.epoch == 5


def test_a_swap_is_done_or_meets_what_stands_instead() -> None:
    world = World()
    world.pass_time(SECOND)
    world.swap(1)
    world.swap(2)
    world.pass_time(SECOND)
    outcomes = sorted(answer.outcome.value for answer in world.host.answers)
    assert outcomes == ["conflict", "done"]
    for answer in world.host.answers:
        assert answer.owned is not None
        assert answer.owned.config.epoch == world.stored_epoch()


def test_a_swap_whose_reply_is_lost_is_unknown_and_carried_out() -> None:
    world = World(lose_reply=1.0)
    world.swap(1)
    world.pass_time(5 * SECOND)
    assert [answer.outcome for answer in world.host.answers] == [SwapOutcome.UNKNOWN]
    assert world.stored_epoch() == 1


def test_a_late_swap_is_unknown_first_and_carried_out_after_that() -> None:
    world = World(late_request=1.0)
    world.swap(1)
    world.pass_time(2 * SECOND)
    assert [answer.outcome for answer in world.host.answers] == [SwapOutcome.UNKNOWN]
    assert world.stored_epoch() == 0
    world.pass_time(10 * SECOND)
    assert world.stored_epoch() == 1
    assert len(world.host.answers) == 1
