"""Services under every fault: each call ends once, with its own reply or a name, in time."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from broker.testing.calls import Caller
from broker.testing.report import report
from broker.testing.scenario import draw_scenario
from broker.testing.simulation import Simulation


@pytest.mark.parametrize(("brokers", "seed"), [(1, 1), (3, 1), (3, 2), (3, 3)])
def test_calls_end_by_name_over_every_fault(brokers: int, seed: int) -> None:
    scenario = draw_scenario(Random(f"{seed} calls"), brokers, 40)
    simulation = Simulation(seed, replace(scenario, featured={}, callers=3))
    outcome = simulation.run()
    assert not outcome.breaches, report(outcome)
    assert sum(each.answered for each in simulation.others if isinstance(each, Caller)) > 100
