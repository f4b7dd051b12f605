"""The broker's time against sources that the test moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.server.clock import Clock

SECOND_NS = 1_000_000_000
START_NS = 1_700_000_000 * SECOND_NS


class Sources:
    """An elapsed-time clock and a wall clock that are set by hand, in nanoseconds."""

    def __init__(self) -> None:
        self.elapsed = 5 * SECOND_NS
        self.wall = START_NS

    def pass_time(self, passed: int) -> None:
        self.elapsed += passed
        self.wall += passed

    def clock(self) -> Clock:
        return Clock(lambda: self.elapsed, lambda: self.wall)


def test_it_starts_at_the_wall_clock_and_runs_with_it() -> None:
    sources = Sources()
    clock = sources.clock()
    assert clock.now_ms() == START_NS // 1_000_000
    sources.pass_time(90 * SECOND_NS)
    assert clock.now_ms() == START_NS // 1_000_000 + 90_000


def test_a_wall_clock_set_back_by_an_hour_slows_it_by_one_percent() -> None:
    sources = Sources()
    clock = sources.clock()
    sources.wall -= 3_600 * SECOND_NS
    sources.pass_time(100 * SECOND_NS)
    assert clock.now_ms() == START_NS // 1_000_000 + 99_000


def test_a_wall_clock_set_forward_quickens_it_by_one_percent() -> None:
    sources = Sources()
    clock = sources.clock()
    sources.wall += 3_600 * SECOND_NS
    sources.pass_time(100 * SECOND_NS)
    assert clock.now_ms() == START_NS // 1_000_000 + 101_000


def test_a_small_error_is_slewed_away_and_no_further() -> None:
    sources = Sources()
    clock = sources.clock()
    sources.wall += SECOND_NS
    for _ in range(200):
        sources.pass_time(SECOND_NS)
        clock.now_ms()
    assert clock.now_ms() == sources.wall // 1_000_000


@given(
    st.lists(
        st.tuples(
            st.integers(min_value=0, max_value=3_600 * SECOND_NS),
            st.integers(min_value=-86_400 * SECOND_NS, max_value=86_400 * SECOND_NS),
        ),
        max_size=50,
    )
)
def test_it_never_falls_and_never_strays_from_the_time_that_passed(
    steps: list[tuple[int, int]],
) -> None:
    sources = Sources()
    clock = sources.clock()
    before = clock.now_ms()
    for passed, jump in steps:
        sources.wall += jump
        sources.pass_time(passed)
        now = clock.now_ms()
        # One millisecond is lost or won where a reading is cut to milliseconds.
        assert passed * 99 // 100_000_000 - 1 <= now - before <= passed * 101 // 100_000_000 + 1
        before = now


@given(
    st.integers(min_value=0, max_value=60_000),
    st.lists(st.integers(min_value=1, max_value=SECOND_NS), max_size=50),
    st.integers(min_value=-86_400 * SECOND_NS, max_value=86_400 * SECOND_NS),
)
def test_a_deadline_of_elapsed_time_is_never_reached_late(
    left_ms: int, steps: list[int], jump: int
) -> None:
    sources = Sources()
    clock = sources.clock()
    ends_at = sources.elapsed // 1_000_000 + left_ms
    deadline = clock.deadline_at(ends_at)
    sources.wall += jump
    for passed in steps:
        sources.pass_time(passed)
        now = clock.now_ms()
        assert now >= deadline or sources.elapsed < ends_at * 1_000_000


def test_a_deadline_is_brought_forward_by_what_the_clock_may_lag_until_then() -> None:
    sources = Sources()
    clock = sources.clock()
    ends_at = sources.elapsed // 1_000_000 + 10_000
    assert clock.deadline_at(ends_at) == clock.now_ms() + 9_900


def test_a_deadline_that_has_passed_lies_in_the_past() -> None:
    sources = Sources()
    clock = sources.clock()
    assert clock.deadline_at(sources.elapsed // 1_000_000 - 1) < clock.now_ms()
