"""Failure cases of takeovers: who sleeps, is cut off, is added or is lost for good meanwhile."""

from __future__ import annotations

from itertools import permutations

import pytest

from broker.cluster.ownership import Member
from broker.testing.coordinator_client import PREFIX
from broker.testing.process import BrokerProcess
from tests.simulator.script import TENURE_S, Script

SEEDS = (1, 2)
PAIRS = list(permutations(("b1", "b2", "b3"), 2))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_t06_copies_come_and_go_amid_cuts_kills_and_swaps_of_unknown_outcome(seed: int) -> None:
    script = Script(seed, brokers=4, seconds=60, faults={"unknown_swap": 5.0})

    def drain(name: str) -> None:
        script.etcd.put(f"{PREFIX}/members/{name}", Member(draining=True))

    def take_back(name: str) -> None:
        script.etcd.put(f"{PREFIX}/members/{name}", Member())

    for round_at, leaver, dead in ((5, "b2", "b3"), (15, "b1", "b4"), (25, "b3", "b2")):
        broker = script.brokers[leaver]
        script.act(round_at, drain, leaver)
        script.act(round_at + 0.4, script.cut, broker, *script.others(broker)[:1])
        script.act(round_at + 0.6, script.kill, script.brokers[dead], 2.0)
        script.act(round_at + 4, take_back, leaver)
        script.act(round_at + 4.2, script.part, script.others(broker)[-1])
        script.act(round_at + 7, script.join)
    script.run(confirmed_min=100)
    assert len({replica for owned in script.slots for replica in owned.replicas}) >= 3


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("slot", [0, 1, 2])
def test_t10_a_primary_that_sleeps_past_its_tenure_is_fenced_when_it_wakes(
    slot: int, seed: int
) -> None:
    script = Script(seed)
    epochs: list[list[int]] = []

    def sleep() -> None:
        epochs.append(script.epochs)
        script.pause(script.primary(slot), for_s=4 * TENURE_S)

    script.act(6, sleep)
    script.act(6 + 3.5 * TENURE_S, lambda: epochs.append(script.epochs))
    script.run()
    assert epochs[1][slot] > epochs[0][slot], "a successor serves before it wakes"


@pytest.mark.parametrize("seed", SEEDS)
def test_t15_every_put_has_its_answer_however_often_the_primary_changes(seed: int) -> None:
    """The clients give up on nothing: a put that hangs would hang for ever."""
    script = Script(seed, seconds=60)
    script.simulation.clients.patient = True
    for turn in range(6):
        script.act(4 + 5 * turn, lambda turn=turn: script.kill(script.primary(turn % 4), 2))
        script.act(6 + 5 * turn, lambda turn=turn: script.pause(script.primary(turn % 3), 3))
    script.run(confirmed_min=100)
    assert max(script.epochs) > 4


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_t19_a_way_that_is_cut_in_one_direction_is_no_endless_change(
    source: str, target: str
) -> None:
    script = Script(seconds=50)
    epochs: list[int] = []
    script.act(3, script.cut, script.brokers[source], script.brokers[target])
    script.act(10, lambda: epochs.append(sum(script.epochs)))
    script.act(29, lambda: epochs.append(sum(script.epochs)))
    script.run(confirmed_min=100)
    assert epochs[1] - epochs[0] <= len(script.epochs), "it comes to rest"


@pytest.mark.parametrize("lonely", ["b1", "b2", "b3"])
def test_t19_who_is_cut_off_answers_by_name_and_is_not_silent(lonely: str) -> None:
    script = Script(seconds=40)
    script.simulation.clients.patient = True
    script.act(4, script.part, script.brokers[lonely])
    outcome = script.run(confirmed_min=100)
    assert not script.told("reconnects: waits too long")
    assert outcome.counts["confirmed"]


@pytest.mark.parametrize("rates", list(permutations((950_000, 1_000_000, 1_050_000))))
def test_t21_clocks_that_run_five_percent_apart_lose_nothing(rates: tuple[int, ...]) -> None:
    script = Script()
    for process, rate in zip(script.brokers.values(), rates, strict=True):
        process.clock.set_rate(0, rate)
    script.act(5, lambda: script.pause(script.primary(), 3 * TENURE_S))
    script.act(14, lambda: script.kill(script.primary(), 1))
    script.run()


@pytest.mark.parametrize("hours", [-1, 1])
def test_t21_who_starts_with_a_clock_an_hour_off_follows_and_loses_nothing(hours: int) -> None:
    script = Script(seconds=60)
    broken: list[BrokerProcess] = []
    seen: list[tuple[int, list[int]]] = []

    def restart_in_another_hour() -> None:
        broken.append(script.primary())
        script.kill(broken[0], 0.3)
        broken[0].clock.shift(script.schedule.now_us, hours * 3_600_000)

    def look() -> None:
        assert all(owned.primary != broken[0].name for owned in script.slots)
        seen.append((script.confirmed, script.epochs))

    script.act(5, restart_in_another_hour)
    script.act(12, look)
    script.act(24, look)
    script.act(25, lambda: script.kill(script.primary(), 1))
    script.run(confirmed_min=100)
    assert seen[0][0] < seen[1][0], "its slots are served by others"
    assert seen[0][1] == seen[1][1], "and stay with them"


def test_t24_ten_minutes_without_the_coordinator_stop_the_cluster_and_lose_nothing() -> None:
    script = Script(seconds=1_050, queues=1, clients=1)
    script.simulation.producers[0].gives_up = 0.0
    confirmed: list[int] = []

    def count() -> None:
        confirmed.append(script.confirmed)

    script.act(5, count)
    script.act(5, script.etcd.lose_leader)
    script.act(5 + 2 * TENURE_S, count)
    script.act(604, count)
    # It forgets its history before anybody has heard of what came last.
    script.act(605, script.etcd.compact)
    script.act(605, script.etcd.elect_leader)
    script.act(625, count)
    script.run(confirmed_min=20)
    before, stopped, still_stopped, again = confirmed
    assert before <= stopped == still_stopped < again


@pytest.mark.parametrize("seed", SEEDS)
def test_t24_a_broker_that_missed_what_was_compacted_lists_anew(seed: int) -> None:
    script = Script(seed)
    lonely = script.brokers["b3"]

    def miss() -> None:
        assert lonely.coordinator is not None
        lonely.coordinator.is_cut = True
        script.kill(script.brokers["b1"], 1)

    def compact_and_join() -> None:
        assert lonely.coordinator is not None
        script.etcd.compact()
        lonely.coordinator.is_cut = False

    script.act(5, miss)
    script.act(9, compact_and_join)
    script.run()
    assert len(script.told("b3 asks list")) >= 2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("lost", ["b1", "b2", "b3", "b4"])
def test_t28_redundancy_is_restored_without_a_broker_that_is_lost_for_good(
    lost: str, seed: int
) -> None:
    """What ``msgqueue cluster remove`` does: its member key goes, and another takes its place."""
    script = Script(seed, brokers=4, log_kept_bytes=500)
    script.act(5, script.lose_for_good, script.brokers[lost])
    script.act(9, script.etcd._delete, f"{PREFIX}/members/{lost}")
    script.run()
    for owned in script.slots:
        assert len(owned.isr) == 3
        assert owned.incarnation_of(lost) is None
