"""Failure cases of clients and of every kind of fault: the whole cluster under load."""

from __future__ import annotations

import pytest

from broker.testing.consumer import Consumer
from broker.testing.history import Kind
from broker.testing.report import report
from broker.testing.scenario import INCIDENTS, INTENSITIES
from broker.testing.simulation import simulate
from tests.simulator.script import TENURE_S, Script

SEEDS = (1, 2)
KINDS = (*INTENSITIES, *INCIDENTS)


@pytest.mark.parametrize("brokers", [3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_t01_each_fault_alone_loses_and_invents_nothing(kind: str, brokers: int) -> None:
    Script(brokers=brokers, seconds=25, faults={kind: 4.0}).run(confirmed_min=20)


@pytest.mark.parametrize("brokers", [3, 5])
@pytest.mark.parametrize("seed", [101, 102, 103])
def test_t01_faults_together_lose_and_invent_nothing(seed: int, brokers: int) -> None:
    outcome = simulate(seed, brokers=brokers, seconds=30, destructive=True)
    assert not outcome.breaches, report(outcome)


@pytest.mark.parametrize("seed", SEEDS)
def test_t14_puts_sent_again_and_again_over_many_takeovers_appear_once(seed: int) -> None:
    """Answers are lost with their connections, and the next primary is asked the same again."""
    script = Script(seed, seconds=50, faults={"break": 8.0, "remake": 8.0}, log_kept_bytes=500)
    for turn in range(5):
        script.act(4 + 5 * turn, lambda turn=turn: script.kill(script.primary(turn % 3), 3))
    outcome = script.run(confirmed_min=100)
    puts = outcome.counts[Kind.PUT]
    assert outcome.counts[Kind.CONFIRMED] + outcome.counts.get(Kind.REFUSED, 0) == puts


@pytest.mark.parametrize("seed", SEEDS)
def test_t17_nothing_uncommitted_is_delivered_while_a_copy_does_not_answer(seed: int) -> None:
    """The invariants look at every lease; here many entries wait for long, some for ever."""
    script = Script(seed, seconds=40)
    for at_s, cut_off in ((4, "b1"), (9, "b2"), (14, "b3")):
        script.act(at_s, script.part, script.brokers[cut_off])
        # It dies with entries that no other broker has.
        script.act(at_s + 2, lambda name=cut_off: script.kill(script.brokers[name], 2))
        script.act(at_s + 4.5, script.join)
    script.run()


@pytest.mark.parametrize("seed", SEEDS)
def test_t18_consumers_that_die_or_stand_still_leave_nothing_behind(seed: int) -> None:
    script = Script(seed, seconds=40)
    simulation = script.simulation
    frozen = simulation.consumers[1]

    def replace_the_first(number: int) -> None:
        simulation.consumers[0].die()
        simulation.consumers[0] = Consumer(
            f"d{number}", simulation.clients, simulation._stream(f"d{number}"), script.queues
        )
        simulation.consumers[0].start()

    for number in range(4):
        script.act(4 + 4 * number, replace_the_first, number)
    script.act(6, frozen.freeze)
    script.act(11, lambda: script.kill(script.primary(), TENURE_S))
    # Its session and its leases are over when it goes on and settles what it held.
    script.act(18, frozen.thaw)
    script.run()
    histories = simulation.history.queues.values()
    assert all(events[-1].kind is Kind.DRAINED for events in histories), "each queue is empty"
