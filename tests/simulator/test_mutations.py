"""The judges judge: with one rule broken some seed fails, with none broken the same seed passes."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from broker.testing.features import settings_of
from broker.testing.mutations import MUTATIONS
from broker.testing.report import report
from broker.testing.scenario import draw_scenario
from broker.testing.simulation import Outcome, Simulation

SEEDS = range(1, 21)
#: rule -> (brokers, faults that bring its breakage to light soon, features)
PROVOKED_BY: dict[str, tuple[int, dict[str, float], list[str]]] = {
    "R2": (1, {"power_loss": 4.0, "slow_sync": 3.0}, []),
    "R3": (3, {"power_loss": 2.0, "kill": 3.0, "late": 2.0}, []),
    "R6": (3, {"pause": 2.0}, []),
    "R7": (3, {"sync_error": 2.0}, []),
    "R9": (3, {"kill": 1.0}, []),
    "R10": (3, {"island": 3.0}, []),
    "clear after the confirm": (3, {"kill": 3.0, "pause": 2.0}, ["dead letters", "transactions"]),
    "a move is taken once": (3, {"drop": 2.0, "kill": 3.0}, ["dead letters", "transactions"]),
    "one in flight of a key": (3, {}, ["keys"]),
    "an id keeps others out": (3, {}, ["ids"]),
    "a publish is taken once": (3, {"kill": 2.0, "break": 1.0}, ["channels"]),
    "a sequence is of one message": (3, {"kill": 2.0}, ["channels"]),
    "a history is kept": (3, {"kill": 2.0}, ["channels"]),
    "all slots have a binding": (3, {"kill": 1.0}, ["bindings"]),
    "bound queues get it once": (3, {"kill": 2.0, "break": 1.0}, ["bindings"]),
    "an answer is of its own call": (3, {}, []),
}
#: Rules of services, whose clients are in the run besides.
CALLS = {"an answer is of its own call"}


def run(seed: int, rule: str) -> Outcome:
    brokers, faults, features = PROVOKED_BY[rule]
    random = Random(f"{seed} scenario")
    scenario = draw_scenario(random, brokers, 60)
    featured = settings_of(features, random)
    callers = 3 if rule in CALLS else 0
    scenario = replace(scenario, faults=faults, featured=featured, callers=callers)
    return Simulation(seed, scenario).run()


@pytest.mark.parametrize("rule", MUTATIONS)
def test_a_broken_rule_is_found(rule: str) -> None:
    found = []
    with MUTATIONS[rule]():
        for seed in SEEDS:
            found = [seed] if run(seed, rule).breaches else []
            if found:
                break
    assert found, f"none of {len(SEEDS)} seeds saw that {rule} was broken"
    sound = run(found[0], rule)
    assert not sound.breaches, report(sound)
