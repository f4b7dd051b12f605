"""Whole runs: seeds of every kind are good, and each is the same run whenever it runs."""

from __future__ import annotations

import pytest

from broker.testing.report import report
from broker.testing.simulation import simulate

#: Seeds that have failed once, with the brokers that they had and what they showed.
FAILED_ONCE: tuple[tuple[int, int], ...] = ()


@pytest.mark.parametrize("seed", range(1, 13))
def test_a_broker_that_is_alone_keeps_its_promises(seed: int) -> None:
    outcome = simulate(seed, brokers=1)
    assert not outcome.breaches, report(outcome)
    assert outcome.counts["confirmed"] > 50


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_seed_gives_the_same_run_twice(seed: int) -> None:
    first, second = simulate(seed, brokers=1), simulate(seed, brokers=1)
    assert first == second


def test_other_seeds_give_other_runs() -> None:
    traces = [simulate(seed, brokers=1, seconds=10).trace for seed in range(4)]
    assert len(dict.fromkeys(traces)) == len(traces)


@pytest.mark.parametrize(("seed", "brokers"), FAILED_ONCE)
def test_a_seed_that_failed_once_does_not_fail_again(seed: int, brokers: int) -> None:
    outcome = simulate(seed, brokers=brokers)
    assert not outcome.breaches, report(outcome)
