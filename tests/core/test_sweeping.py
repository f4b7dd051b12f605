"""Marks, and the split of what may be erased."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.core.books.log_marks import LogMarks
from broker.core.sweeping import Interval, _split


@st.composite
def ascending(draw: st.DrawFn) -> list[Interval]:
    """Disjoint [low, high) intervals in order; some touch."""
    intervals: list[Interval] = []
    at = 0
    for gap, length in draw(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=8)):
        intervals.append((at + gap, at + gap + length))
        at = intervals[-1][1]
    return intervals


@given(ascending(), ascending())
def test_candidates_are_split_into_what_is_live_and_what_is_not(
    candidates: list[Interval], live: list[Interval]
) -> None:
    outside, inside = _split(candidates, live)
    wanted, alive = _spread(candidates), _spread(live)
    assert _spread(outside) == [p for p in wanted if p not in alive]
    assert _spread(inside) == [p for p in wanted if p in alive]


def test_a_mark_is_taken_once_it_is_old_enough_with_all_before_it() -> None:
    marks = LogMarks(kept_bytes=400)
    for lsn in range(1, 7):
        marks.touch(7, lsn * 10)
        marks.note(100)
        marks.maybe_mark(lsn)
    assert marks.take(lsn_max=0) is None
    mark = marks.take(lsn_max=100)
    assert mark is not None
    assert (mark.lsn, mark.positions) == (2, {7: 20})
    assert marks.take(lsn_max=100) is None


def test_a_mark_above_the_checkpoint_is_not_taken() -> None:
    marks = LogMarks(kept_bytes=4)
    marks.note(100)
    marks.maybe_mark(5)
    marks.note(100)
    assert marks.take(lsn_max=4) is None
    assert marks.take(lsn_max=5) is not None


def _spread(intervals: list[Interval]) -> list[int]:
    return [position for low, high in intervals for position in range(low, high)]
