"""Time and order of the simulated world."""

from __future__ import annotations

from broker.testing.clock import EPOCH_MS, MILLION, DriftingClock
from broker.testing.schedule import MS, SECOND, Schedule


def test_events_happen_in_the_order_of_their_instants_and_then_of_their_making() -> None:
    schedule = Schedule()
    happened: list[str] = []
    for at_us, name in ((20, "c"), (10, "a"), (20, "d"), (10, "b")):
        schedule.at(at_us, name, happened.append, name)
    while schedule.step():
        pass
    assert happened == ["a", "b", "c", "d"]
    assert schedule.now_us == 20


def test_a_cancelled_event_does_not_happen_and_leaves_no_trace() -> None:
    with_it, without = Schedule(), Schedule()
    with_it.at(5, "gone", lambda: None).cancel()
    for schedule in (with_it, without):
        schedule.at(7, "stays", lambda: None)
        while schedule.step():
            pass
    assert with_it.trace_hash() == without.trace_hash()


def test_what_is_scheduled_in_the_past_happens_now() -> None:
    schedule = Schedule()
    schedule.at(10, "late", schedule.at, 3, "past", lambda: None)
    while schedule.step():
        pass
    assert schedule.now_us == 10


def test_a_drifting_clock_runs_off_and_never_falls() -> None:
    clock = DriftingClock()
    clock.set_rate(0, MILLION + 50_000)
    assert clock.now_ms(10 * SECOND) == EPOCH_MS + 10_500
    clock.set_rate(10 * SECOND, MILLION - 50_000)
    shown = [clock.now_ms(10 * SECOND + step * MS) for step in range(100)]
    assert shown == sorted(shown)
    assert clock.now_ms(20 * SECOND) == EPOCH_MS + 20_000


def test_the_world_instant_of_a_clock_time_is_the_first_that_shows_it() -> None:
    clock = DriftingClock()
    for rate in (MILLION, MILLION + 9_999, MILLION - 9_999):
        clock.set_rate(3 * SECOND, rate)
        at_us = clock.world_us_at(EPOCH_MS + 7_001)
        assert clock.now_ms(at_us) == EPOCH_MS + 7_001
        assert clock.now_ms(at_us - 1) == EPOCH_MS + 7_000
