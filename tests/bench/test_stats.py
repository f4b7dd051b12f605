"""Medians and intervals of the benchmark."""

from __future__ import annotations

from bench.stats import Summary, median_interval, percentile, summarise


def test_a_summary_has_the_median_and_the_extremes() -> None:
    assert summarise([3.0, 1.0, 2.0]) == Summary(median=2.0, low=1.0, high=3.0)


def test_a_percentile_is_a_value_of_the_sample() -> None:
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 0.50) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile([7.0], 0.99) == 7.0


def test_ten_values_give_the_second_smallest_to_the_second_largest() -> None:
    assert median_interval([float(value) for value in range(10)]) == (1.0, 8.0)


def test_twenty_values_leave_out_five_on_each_side() -> None:
    assert median_interval([float(value) for value in range(20)]) == (5.0, 14.0)


def test_too_few_values_give_no_interval() -> None:
    assert median_interval([1.0] * 5) is None
    assert median_interval([1.0] * 6) == (1.0, 1.0)
