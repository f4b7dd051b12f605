"""Each feature of queues under every fault: its own checkers judge what its clients saw."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from broker.testing.features import FEATURES, settings_of
from broker.testing.report import report
from broker.testing.scenario import draw_scenario
from broker.testing.simulation import Outcome, Simulation

SEEDS = range(1, 5)


def run(seed: int, features: list[str], brokers: int = 3) -> Outcome:
    random = Random(f"{seed} {features}")
    scenario = draw_scenario(random, brokers, 60)
    featured = settings_of(features, random)
    return Simulation(seed, replace(scenario, featured=featured, queues=["q0", "q1"])).run()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("feature", sorted(FEATURES))
def test_three_brokers_keep_what_a_feature_promises(feature: str, seed: int) -> None:
    outcome = run(seed, [feature])
    assert not outcome.breaches, report(outcome)
    assert outcome.counts["delivered"] > 20


@pytest.mark.parametrize("feature", sorted(FEATURES))
def test_a_broker_that_is_alone_keeps_what_a_feature_promises(feature: str) -> None:
    outcome = run(11, [feature], brokers=1)
    assert not outcome.breaches, report(outcome)


@pytest.mark.parametrize("seed", range(21, 25))
def test_all_features_together_keep_their_promises(seed: int) -> None:
    outcome = run(seed, sorted(FEATURES))
    assert not outcome.breaches, report(outcome)
