"""Every subscriber ends with every message, whatever dies; and the judge is no yes-man."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.fanout import Alone, Fanout, Plan, Several, judge

PLAN = Plan(rate=4_000, seconds=5.0, subscribers=3, stop_s=3.0, deadline_s=180.0)


@pytest.mark.parametrize("place", [Alone, Several], ids=["alone", "three brokers"])
def test_every_subscriber_has_all_in_order_and_once_though_it_sleeps_or_dies_and_the_broker_dies(
    tmp_path: Path, place: type[Alone] | type[Several]
) -> None:
    verdicts = Fanout(tmp_path, PLAN, print).run(place(tmp_path))
    assert all(verdict.valid for verdict in verdicts), "\n".join(map(str, verdicts))
    assert all(verdict.counts["taken"] == PLAN.total for verdict in verdicts[:-1])


@pytest.mark.parametrize(
    ("came", "said"),
    [([0, 1, 3], "1 missing"), ([0, 1, 1, 2, 3], "1 doubled"), ([0, 2, 1, 3], "1 out_of_order")],
)
def test_what_is_missing_double_or_out_of_order_is_said(came: list[int], said: str) -> None:
    assert said in judge("one", came, 4, 0).breaches


def test_a_gap_that_was_told_to_a_subscriber_is_a_breach_too() -> None:
    assert judge("one", [0, 1], 2, 1).breaches == ("1 gaps_told",)
