"""Sequence windows: what makes a repeated put exactly one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.core.books.producers import Key, Producers, Verdict
from broker.limits import PRODUCER_IDLE, PRODUCERS_PER_SLOT_MAX, SEQUENCE_WINDOW
from broker.model.replies import Reply

KEY: Key = (b"p", 1)


def applied(*sequences: int, now: int = 0) -> Producers:
    producers = Producers()
    for sequence in sequences:
        producers.propose(KEY, sequence)
        producers.apply(KEY, sequence, now)
    return producers


def test_the_first_sequence_of_an_unknown_producer_is_new_and_a_later_one_is_not() -> None:
    producers = Producers()
    assert producers.judge(KEY, 0) is Verdict.NEW
    assert producers.judge(KEY, 1) is Verdict.UNKNOWN_PRODUCER


def test_a_proposed_sequence_is_told_as_proposed_until_it_is_applied() -> None:
    producers = Producers()
    producers.propose(KEY, 0)
    assert producers.judge(KEY, 0) is Verdict.PROPOSED
    assert producers.judge(KEY, 1) is Verdict.NEW
    repeat = Reply(b"", {})
    producers.wait_too(KEY, 0, repeat)
    assert producers.apply(KEY, 0, 5) == [repeat]
    assert producers.judge(KEY, 0) is Verdict.APPLIED


def test_after_a_refused_first_put_the_next_sequence_is_new() -> None:
    producers = Producers()
    producers.refuse(KEY)
    assert producers.judge(KEY, 1) is Verdict.NEW


def test_what_was_refused_inside_the_window_may_come_again() -> None:
    assert applied(0, 2).judge(KEY, 1) is Verdict.NEW


def test_below_the_window_nothing_can_be_told() -> None:
    producers = applied(0, SEQUENCE_WINDOW)
    assert producers.judge(KEY, 0) is Verdict.TOO_OLD
    assert producers.judge(KEY, 1) is Verdict.NEW


def test_a_sequence_overtaken_by_more_than_a_window_still_makes_a_row() -> None:
    producers = applied(0)
    producers.propose(KEY, 3 * SEQUENCE_WINDOW)
    assert producers.judge(KEY, 1) is Verdict.NEW
    producers.propose(KEY, 1)
    producers.apply(KEY, 3 * SEQUENCE_WINDOW, 0)
    producers.apply(KEY, 1, 0)
    assert list(producers.take_dirty()) == [KEY]


def test_idle_and_too_many_windows_end() -> None:
    producers = applied(0)
    producers.apply((b"q", 1), 0, 10)
    assert producers.idle(PRODUCER_IDLE - 1) == []
    assert producers.idle(PRODUCER_IDLE) == [KEY]
    for number in range(PRODUCERS_PER_SLOT_MAX - 1):
        producers.apply((b"%d" % number, 2), 0, 20)
    assert producers.idle(21) == [KEY]
    producers.expire([KEY])
    assert producers.judge(KEY, 1) is Verdict.UNKNOWN_PRODUCER


def test_a_deleted_queue_takes_its_windows_along() -> None:
    producers = applied(0)
    producers.propose(KEY, 1)
    producers.forget_queue(1)
    assert producers.judge(KEY, 1) is Verdict.UNKNOWN_PRODUCER
    assert producers.take_dirty() == {KEY: None}


@given(st.lists(st.integers(0, 3 * SEQUENCE_WINDOW), max_size=60))
def test_a_window_remembers_exactly_the_last_sequences(sequences: list[int]) -> None:
    producers = applied(0)
    seen = {0}
    for sequence in sequences:
        highest = max(seen)
        verdict = producers.judge(KEY, sequence)
        if sequence <= highest - SEQUENCE_WINDOW:
            assert verdict is Verdict.TOO_OLD
            continue
        assert verdict is (Verdict.APPLIED if sequence in seen else Verdict.NEW)
        producers.apply(KEY, sequence, 0)
        seen.add(sequence)
    again = Producers()
    for key, row in producers.take_dirty().items():
        assert row is not None
        again.load(key, row)
    assert all(again.judge(KEY, s) is producers.judge(KEY, s) for s in [*seen, max(seen) + 1])
