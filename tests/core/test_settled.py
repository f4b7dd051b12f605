"""The settled set behaves as a set of single positions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.core.books.settled import SettledSet
from broker.limits import CHUNK

#: Around the borders of the first chunks.
SPANS = st.tuples(
    st.one_of(st.integers(0, 40), st.integers(CHUNK - 30, CHUNK + 30), st.just(2 * CHUNK - 7)),
    st.one_of(st.integers(1, 30), st.just(CHUNK), st.just(2 * CHUNK)),
)
END = 5 * CHUNK


@given(st.lists(SPANS, max_size=12))
def test_a_settled_set_is_a_set_of_positions(spans: list[tuple[int, int]]) -> None:
    settled = SettledSet()
    positions: set[int] = set()
    rows: dict[int, bytes] = {}
    for first, count in spans:
        settled.add(first, count)
        positions.update(range(first, first + count))
        assert settled.live_ranges(first - 5, 40) == _live(positions, max(first - 5, 0), first + 35)
        live = settled.live_ranges(first, 4 * CHUNK)
        assert settled.first_live(first) == live[0][0]
        assert settled.contains(first)
        assert settled.contains(first + count) == (first + count in positions)
        for number, row in settled.take_dirty().items():
            if row is None:
                rows.pop(number, None)
            else:
                rows[number] = row
    assert settled.live_ranges(0, END) == _live(positions, 0, END)
    loaded = SettledSet(settled.floor)
    for number, row in rows.items():
        loaded.load(number, row)
    assert loaded.live_ranges(0, END) == settled.live_ranges(0, END)
    assert all(number * CHUNK >= settled.floor for number in rows)


def test_a_full_chunk_raises_the_floor_and_costs_nothing() -> None:
    settled = SettledSet()
    settled.add(CHUNK, CHUNK)
    assert settled.floor == 0
    settled.add(0, CHUNK)
    assert (settled.floor, settled.chunks) == (2 * CHUNK, {})
    assert settled.take_dirty() == {0: None, 1: None}


def _live(positions: set[int], low: int, high: int) -> list[tuple[int, int]]:
    live: list[tuple[int, int]] = []
    for position in range(low, high):
        if position in positions:
            continue
        if live and live[-1][0] + live[-1][1] == position:
            live[-1] = (live[-1][0], live[-1][1] + 1)
        else:
            live.append((position, 1))
    return live


@given(st.lists(SPANS, max_size=12))
def test_many_are_settled_as_one_by_one(spans: list[tuple[int, int]]) -> None:
    together, singly = SettledSet(), SettledSet()
    together.add_all(spans)
    for first, count in spans:
        singly.add(first, count)
    assert (together.floor, together.chunks) == (singly.floor, singly.chunks)
    assert together.take_dirty() == singly.take_dirty()
