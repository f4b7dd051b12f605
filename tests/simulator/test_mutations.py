"""The judges judge: with one rule broken some seed fails, with none broken it passes."""

from __future__ import annotations

import pytest

from broker.testing.mutations import MUTATIONS
from broker.testing.report import report
from broker.testing.simulation import simulate

#: rule -> (brokers, a seed that finds it)
FOUND_BY = {"R2": (1, 8)}


@pytest.mark.parametrize("rule", FOUND_BY)
def test_a_broken_rule_is_found(rule: str) -> None:
    brokers, seed = FOUND_BY[rule]
    with MUTATIONS[rule]():
        assert simulate(seed, brokers=brokers).breaches
    sound = simulate(seed, brokers=brokers)
    assert not sound.breaches, report(sound)
