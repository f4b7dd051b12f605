"""Ranges with values behave as a map of single positions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.core.books.range_map import RangeMap

SPANS = st.tuples(st.integers(0, 60), st.integers(1, 20))


@given(st.lists(st.tuples(st.booleans(), SPANS), max_size=40))
def test_a_range_map_is_a_map_of_positions(steps: list[tuple[bool, tuple[int, int]]]) -> None:
    ranges: RangeMap[int] = RangeMap()
    positions: dict[int, int] = {}
    for value, (adds, (first, count)) in enumerate(steps):
        span = range(first, first + count)
        inside = {p: positions[p] for p in span if p in positions}
        assert _spread(ranges.overlapping(first, count)) == inside
        if not adds:
            assert _spread(ranges.take(first, count)) == inside
            positions = {p: v for p, v in positions.items() if p not in span}
        elif not inside:
            ranges.add(first, count, value)
            positions.update(dict.fromkeys(span, value))
        assert _spread(list(ranges)) == positions
        assert ranges.positions == len(positions)
        if positions:
            assert ranges.head()[0] == min(positions)
            assert ranges.start_of(max(positions)) <= max(positions)


def test_taking_the_middle_leaves_both_ends_with_the_value() -> None:
    ranges: RangeMap[str] = RangeMap()
    ranges.add(10, 10, "x")
    assert ranges.take(13, 4) == [(13, 4, "x")]
    assert list(ranges) == [(10, 3, "x"), (17, 3, "x")]
    assert ranges.find(17) == (3, "x")


def _spread(ranges: list[tuple[int, int, int]]) -> dict[int, int]:
    """position -> value; that no position comes twice is asserted."""
    spread: dict[int, int] = {}
    for first, count, value in ranges:
        for position in range(first, first + count):
            assert position not in spread
            spread[position] = value
    assert list(spread) == sorted(spread)
    return spread


@given(
    st.sets(st.integers(0, 60), max_size=30),
    st.sets(st.integers(0, 60), max_size=30),
    st.sets(st.integers(0, 60), max_size=30),
)
def test_many_ranges_are_added_and_removed_as_one_by_one(
    old: set[int], new: set[int], gone: set[int]
) -> None:
    together: RangeMap[str] = RangeMap()
    singly: RangeMap[str] = RangeMap()
    for name, starts in (("old", old), ("new", new - old)):
        if starts:
            together.add_all([(2 * first, 2) for first in sorted(starts)], name)
        for first in starts:
            singly.add(2 * first, 2, name)
    leaving = gone & (old | new)
    together.remove_whole({2 * first: None for first in leaving})
    for first in leaving:
        singly.take(2 * first, 2)
    assert list(together) == list(singly)
    assert together.positions == singly.positions
