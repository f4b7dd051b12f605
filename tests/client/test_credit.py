"""The window of credit: bounds, pace, and what it does when the pace changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.client.credit import CreditWindow
from broker.limits import CREDIT_MAX


def work(window: CreditWindow, now: int, ms_per_message: float, messages: int) -> float:
    """Takes and settles one at a time, as a plain loop does; gives the time it took."""
    took = 0.0
    for _ in range(messages):
        if window.prefetched == 0:
            window.grant()
            window.delivered(window.at_broker, 0)
        window.adapt(now + int(took))
        window.taken(1, 0, now + int(took))
        took += ms_per_message
        window.settled(1)
    return took


def test_a_fast_consumer_gets_a_window_of_twenty_milliseconds_of_its_pace() -> None:
    window = CreditWindow()
    work(window, 0, 0.01, 20_000)
    assert 1_000 <= window.size <= 4_000


def test_no_window_grows_beyond_its_bound() -> None:
    window = CreditWindow()
    work(window, 0, 0.001, 100_000)
    assert window.size == CREDIT_MAX


def test_a_slow_consumer_ends_with_one_message_at_a_time() -> None:
    window = CreditWindow()
    work(window, 0, 1_000, 20)
    assert window.size == 1


def test_what_was_prefetched_for_a_faster_pace_is_too_much() -> None:
    window = CreditWindow()
    window.grant()
    window.delivered(32, 0)
    window.taken(1, 0, 0)
    window.settled(1)
    assert window.adapt(1_000) == 31 - window.size


def test_a_given_credit_stays() -> None:
    window = CreditWindow(100)
    work(window, 0, 0.001, 10_000)
    work(window, 1_000, 500, 10)
    assert window.size == 100


def test_the_time_spent_waiting_is_not_the_consumers_pace() -> None:
    window = CreditWindow()
    now = 0
    for _ in range(50):
        window.grant()
        window.delivered(window.at_broker, 0)
        while window.prefetched:
            window.adapt(now)
            window.taken(1, 0, now)
            window.settled(1)
        window.waits(now)
        now += 1_000
    assert window.size > 1_000


def test_one_who_gathers_messages_before_settling_is_not_starved() -> None:
    window = CreditWindow()
    gathered = 0
    while gathered < 1_000:
        granted = window.grant().messages
        window.delivered(granted, 0)
        window.taken(granted, 0, 0)
        gathered += granted
        window.waits(0)
    assert window.in_hand == gathered


def test_several_hands_that_are_all_full_get_no_more() -> None:
    window = CreditWindow(concurrency=8, start=8)
    window.grant()
    window.delivered(8, 0)
    window.taken(8, 0, 0)
    window.waits(0)
    assert not window.due().messages


def test_no_more_is_granted_than_will_ever_be_taken() -> None:
    window = CreditWindow(remaining=40)
    taken = 0
    while granted := window.grant().messages:
        window.delivered(granted, 0)
        window.taken(granted, 0, 0)
        window.settled(granted)
        taken += granted
    assert taken == 40


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 40), st.booleans()), max_size=60))
def test_the_account_never_exceeds_the_window(turns: list[tuple[int, int, bool]]) -> None:
    window = CreditWindow(64)
    now = 0
    for wanted, passed, settles in turns:
        window.grant()
        delivered = min(wanted, window.at_broker)
        window.delivered(delivered, delivered * 10)
        taken = min(wanted, window.prefetched)
        window.taken(taken, taken * 10, now)
        if settles:
            window.settled(window.in_hand)
        now += passed
        window.adapt(now)
        assert window.at_broker + window.prefetched + window.in_hand <= 64
        assert min(window.at_broker, window.prefetched, window.in_hand) >= 0
