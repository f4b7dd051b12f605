"""What the benchmark reads out of the times at which clients saw something."""

from __future__ import annotations

import pytest

pytest.importorskip("numpy", reason="the benchmark needs its extra")

from bench.timeline import Tally, longest, number_of, numbered_body, rates, silence_end


def test_a_second_without_a_mark_has_rate_zero() -> None:
    marks = [9.5, 10.0, 10.9, 12.1, 12.2, 12.3, 13.0]
    assert rates(marks, weight=50, start=10.0, end=13.0) == [100.0, 0.0, 150.0]


def test_a_part_of_a_second_has_no_rate() -> None:
    assert rates([10.1, 11.1], weight=1, start=10.0, end=11.9) == [1.0]
    assert rates([10.1], weight=1, start=10.0, end=10.5) == []


def test_a_confirm_that_was_under_way_does_not_end_the_silence() -> None:
    marks = [1.0, 2.0, 2.1, 7.5, 7.6]
    assert silence_end(marks, since=2.05, until=8.0) == 7.5


def test_silences_before_and_after_the_event_do_not_count() -> None:
    marks = [1.0, 20.0, 21.0, 24.0, 24.1, 50.0]
    assert silence_end(marks, since=20.5, until=30.0) == 24.0


def test_no_confirm_after_the_event_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was confirmed"):
        silence_end([1.0, 2.0], since=2.0, until=9.0)


def test_the_longest_put_is_one_that_was_under_way_meanwhile() -> None:
    samples = [5.0, 1.0, 3.0, 9.0]
    marks = [10.0, 12.0, 16.0, 30.0]
    assert longest(samples, marks, start=11.0, end=20.0) == 3.0
    assert longest(samples, marks, start=10.0, end=21.0) == 9.0
    assert longest([], [], start=0.0, end=1.0) == 0.0


def test_a_body_tells_its_number_and_whether_it_was_changed() -> None:
    body = numbered_body(1 << 40)
    assert len(body) == 256
    assert number_of(body) == 1 << 40
    with pytest.raises(ValueError, match="changed"):
        number_of(body[:-1] + b"!")


def test_a_tally_tells_what_never_came_and_what_came_again() -> None:
    tally = Tally()
    tally.take([0, 1, 1, 4])
    tally.take([4, 9])
    assert tally.repeats == 2
    assert tally.missing_of(5) == 2
    assert tally.missing_of(2) == 0
