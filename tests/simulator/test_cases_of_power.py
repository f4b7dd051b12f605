"""Failure cases of power and disks: who loses what was not synced, and who is back first."""

from __future__ import annotations

import pytest

from broker.model.slots import slot_of
from broker.testing.process import State
from tests.simulator.script import SLOTS, Script

SEEDS = (1, 2)
BROKERS = ("b1", "b2", "b3")


@pytest.mark.parametrize("seed", SEEDS)
def test_t02_power_loss_of_all_at_once_loses_nothing_confirmed(seed: int) -> None:
    script = Script(seed)
    script.act(3, script.drag, *script.brokers.values())
    for seconds in (6, 9, 9.5, 13):
        script.act(seconds, script.simulation.faults.lose_power)
    script.run()
    lost = script.told("killed,", "unsynced batches lost")
    assert [line for line in lost if " 0 unsynced" not in line], "there was something to lose"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("victim", BROKERS)
def test_t03_who_lost_power_while_the_others_stood_still_brings_nothing_back(
    victim: str, seed: int
) -> None:
    """It starts again before the others go on, so that it sits in whatever quorum comes first."""
    script = Script(seed)
    broken = script.brokers[victim]
    script.act(2, script.drag, broken)
    script.act(7, _stand_still_around, script, victim)
    script.act(12, _one_of_the_others_dies, script, victim)
    script.run()
    assert script.told(victim, "killed,", "unsynced batches lost")


def _stand_still_around(script: Script, victim: str) -> None:
    broken = script.brokers[victim]
    for other in script.others(broken):
        script.pause(other, for_s=2.5)
    script.kill(broken, down_s=0.2)


def _one_of_the_others_dies(script: Script, victim: str) -> None:
    """The first quorum of the next reigns is the victim and one that stood still."""
    script.kill(script.others(script.brokers[victim])[0], down_s=3)


@pytest.mark.parametrize("seed", SEEDS)
def test_t03_who_lost_power_and_one_that_stood_still_are_enough_to_lose_nothing(seed: int) -> None:
    """All lose power; the primary stays away while the two that held less begin the next reign."""
    script = Script(seed)
    script.act(2, script.drag, *script.brokers.values())

    def strike() -> None:
        first = script.primary()
        second, third = script.others(first)
        script.pause(third, for_s=1)
        script.kill(second, down_s=0.3)
        script.kill(first, down_s=6)

    script.act(7, strike)
    script.run()
    assert max(script.epochs) > 1


@pytest.mark.parametrize("seed", SEEDS)
def test_t07_who_is_alone_in_sync_and_loses_its_disk_is_waited_for_by_nobody_with_less(
    seed: int,
) -> None:
    """With two copies asked for nothing was confirmed meanwhile, so who left last lacks nothing."""
    script = Script(seed)

    def shrink() -> None:
        first, *others = script.primary(), *script.others(script.primary())
        for other in others:
            script.kill(other)
        script.schedule.after(4_000_000, "script: disk", lose_disk, first.name)

    def lose_disk(name: str) -> None:
        script.kill(script.brokers[name])
        script.brokers[name].disk.replace()

    script.act(6, shrink)
    script.run()
    assert script.told("b", "ends: killed")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("victim", BROKERS)
def test_t09_an_empty_disk_under_the_same_name_is_a_learner(victim: str, seed: int) -> None:
    script = Script(seed, log_kept_bytes=500)
    broken = script.brokers[victim]
    incarnations: list[str] = []

    def lose_disk() -> None:
        incarnations.append(broken.incarnation)
        script.kill(broken, down_s=0.1)
        broken.disk.replace()

    def look() -> None:
        """While the log or a copy is on its way, it counts nowhere."""
        incarnations.append(broken.incarnation)
        for owned in script.slots:
            if owned.incarnation_of(victim) == incarnations[0]:
                assert victim not in (*owned.isr, *owned.elr)

    script.act(7, lose_disk)
    script.act(9.6, look)
    # As soon as it counts again it is counted on.
    for other in script.others(broken):
        script.act(14, script.kill, other, 0.5)
    script.run()
    assert incarnations[0] != incarnations[1]


def test_t20_a_slow_disk_is_put_out_of_the_in_sync_set_and_does_not_flap() -> None:
    script = Script(seconds=100)
    slow = script.brokers["b2"]
    changes: list[int] = []
    waiting: list[int] = []

    def drag() -> None:
        script.drag(slow, slow_s=20)
        script.etcd.on_change.append(lambda _: changes.append(script.schedule.now_us))
        # It is asked for nothing in slots without a queue, and in its own nobody waits for it.
        slots = {slot_of(queue, SLOTS) for queue in script.queues}
        waiting.extend(slot for slot in slots if script.primary(slot) is not slow)

    def look() -> None:
        assert waiting
        assert all("b2" not in script.owned(slot).isr for slot in waiting)
        assert len(changes) == len(waiting), "it left each slot once and entered none"

    script.act(6, drag)
    script.act(55, look)
    script.run(confirmed_min=400)
    assert slow.state is State.UP
