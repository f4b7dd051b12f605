"""What a subscription hands on: in order, once each, and what is missing told as a gap."""

from __future__ import annotations

from typing import Any

from broker.client.channels.intake import Start
from broker.client.channels.runs import Gap
from broker.errors import LimitReached
from tests.client.channel_rig import ADDRESS, REIGN_BITS, ChannelRig

BASE = 1 << REIGN_BITS


def told(name: str, *sequences: int) -> list[Any]:
    return [(name, sequence) for sequence in sequences]


def test_it_joins_with_an_echo_and_then_asks_where_the_channels_stand() -> None:
    rig = ChannelRig()
    intake = rig.subscribe("orders.>")
    assert rig.session.subscriptions.hearing.address == ADDRESS
    changes = rig.session.subscriptions.hearing.changes
    assert next(topic for _, topic in changes) == b"orders."
    subscribe, echo = rig.sent()
    assert (subscribe.cmd, subscribe["pattern"]) == ("subscribe", "orders.>")
    assert echo["topic"] == changes[-1][1]
    assert echo["topic"].startswith(b"$sync.")
    rig.answer(subscribe)
    assert not rig.sent()
    rig.arrive([echo["topic"]])
    assert rig.only("channels")["pattern"] == "orders.>"
    assert not intake.is_joined


def test_an_echo_that_is_not_heard_is_asked_for_again() -> None:
    rig = ChannelRig()
    rig.subscribe("orders")
    subscribe, echo = rig.sent()
    rig.answer(subscribe)
    rig.reply(echo)
    rig.after(10)
    assert rig.only("echo")["topic"] == echo["topic"]


def test_now_begins_behind_what_was_published_before() -> None:
    rig = ChannelRig()
    rig.make("a")
    rig.publish("a", 3)
    intake = rig.joined("a")
    rig.publish("a", 2)
    rig.arrive_all()
    assert rig.take(intake) == told("a", BASE + 3, BASE + 4)


def test_what_comes_live_before_the_baseline_is_neither_lost_nor_doubled() -> None:
    rig = ChannelRig()
    rig.make("a", keeps=10)
    rig.publish("a", 2)
    intake = rig.subscribe("a", start=Start("all"))
    rig.publish("a", 2)
    rig.arrive_all()
    rig.settle()
    rig.publish("a")
    rig.arrive_all()
    assert rig.take(intake) == told("a", *range(BASE, BASE + 5))


def test_a_channel_born_later_is_read_from_its_birth() -> None:
    rig = ChannelRig()
    intake = rig.joined("a.*")
    rig.make("a.b")
    rig.publish("a.b", 2)
    rig.arrive_all()
    assert rig.take(intake) == told("a.b", BASE, BASE + 1)


def test_what_is_lost_comes_from_the_history_before_what_came_live() -> None:
    rig = ChannelRig()
    rig.make("a", keeps=10)
    intake = rig.joined("a")
    rig.publish("a", 4)
    rig.way.clear()
    rig.publish("a")
    rig.arrive_all()
    assert rig.take(intake) == []
    rig.settle()
    assert rig.take(intake) == told("a", *range(BASE, BASE + 5))


def test_the_end_of_a_burst_that_is_lost_is_seen_by_its_head() -> None:
    rig = ChannelRig()
    rig.make("a", keeps=10)
    intake = rig.joined("a")
    rig.publish("a", 2)
    rig.way.clear()
    rig.settle_heads()
    assert rig.take(intake) == told("a", BASE, BASE + 1)


def test_a_head_that_overtakes_its_messages_asks_for_nothing() -> None:
    rig = ChannelRig()
    rig.make("a", keeps=10)
    intake = rig.joined("a")
    rig.publish("a", 2)
    rig.tell_heads()
    rig.arrive_all()
    rig.after(100)
    assert rig.sent("ping") == []
    assert rig.take(intake) == told("a", BASE, BASE + 1)


def test_a_head_that_overtakes_its_messages_by_far_is_not_believed() -> None:
    """The socket may read dry although they are on their way: only an echo passes them never."""
    rig = ChannelRig()
    rig.make("a")
    intake = rig.joined("a")
    rig.publish("a", 2)
    rig.tell_heads()
    rig.run_dry()
    rig.after(100)
    echo = rig.only("echo")
    rig.run_dry()
    rig.arrive_all()
    rig.answer(echo)
    assert rig.take(intake) == told("a", BASE, BASE + 1)
    assert intake.missed == 0
    assert not rig.session.subscriptions.is_waiting


def test_an_echo_proves_only_what_was_said_before_it_was_asked_for() -> None:
    rig = ChannelRig()
    rig.make("a")
    rig.make("b")
    intake = rig.joined(">")
    rig.publish("a")
    rig.way.clear()
    rig.tell_heads()
    rig.after(100)
    first = rig.only("echo")
    rig.publish("b", 2)
    rig.tell_heads()
    rig.after(100)
    rig.answer(first)
    rig.run_dry()
    rig.answer(rig.only("history"))
    assert rig.take(intake) == [Gap("a", BASE, 1)]
    rig.after(0)
    second = rig.only("echo")
    assert second["topic"] != first["topic"]
    rig.arrive_all()
    rig.answer(second)
    assert rig.take(intake) == told("b", BASE, BASE + 1)


def test_an_answer_of_the_history_says_nothing_of_what_lies_behind_it() -> None:
    rig = ChannelRig()
    rig.make("a", keeps=1_000, durable=True)
    intake = rig.joined("a")
    rig.publish("a", 9)
    late = rig.way.pop()
    rig.publish("a")
    rig.arrive_all()
    question = rig.only("history")
    rig.arrive(late)
    rig.publish("a", 2)
    rig.way.clear()
    rig.publish("a")
    rig.arrive_all()
    rig.answer(question)
    rig.settle()
    assert rig.take(intake) == told("a", *range(13))


def test_what_nobody_keeps_is_a_gap_with_its_size_and_reported() -> None:
    rig = ChannelRig()
    rig.make("a")
    intake = rig.joined("a")
    rig.publish("a", 4)
    rig.way.clear()
    rig.publish("a")
    rig.arrive_all()
    rig.settle()
    assert rig.take(intake) == [Gap("a", BASE, 4), ("a", BASE + 4)]
    rig.after(1_100)
    rig.settle()
    assert (rig.dropped, intake.missed) == (4, 4)
    assert rig.session.counters.events_missed == 4


def test_a_new_reign_of_a_channel_in_memory_is_a_gap_of_unknown_size() -> None:
    rig = ChannelRig()
    rig.make("a")
    intake = rig.joined("a")
    rig.publish("a")
    rig.channels["a"].begin_reign(2)
    rig.publish("a", 2)
    rig.arrive_all()
    born = 2 << REIGN_BITS
    assert rig.take(intake) == [("a", BASE), Gap("a", born, None), ("a", born), ("a", born + 1)]


def test_a_durable_channel_goes_on_over_a_new_reign() -> None:
    rig = ChannelRig()
    rig.make("a", keeps=10, durable=True)
    intake = rig.joined("a")
    rig.publish("a")
    rig.channels["a"].begin_reign(2)
    rig.publish("a")
    rig.arrive_all()
    assert rig.take(intake) == told("a", 0, 1)


def test_a_reconnect_finds_what_was_published_meanwhile() -> None:
    rig = ChannelRig()
    rig.make("a", keeps=10)
    intake = rig.joined("a", "b")
    rig.publish("a")
    rig.arrive_all()
    rig.lose()
    rig.publish("a", 2)
    rig.make("b", keeps=10)
    rig.publish("b")
    rig.way.clear()
    rig.welcome()
    rig.settle()
    rig.settle_heads()
    seen = rig.take(intake)
    assert sorted(seen) == [*told("a", BASE, BASE + 1, BASE + 2), ("b", BASE)]
    assert sorted(rig.subscribed.values()) == ["a", "b"]


def test_an_ear_that_is_lost_is_connected_anew_and_misses_nothing() -> None:
    rig = ChannelRig()
    rig.make("a", keeps=10)
    intake = rig.joined("a")
    rig.session.subscriptions.ear_lost(rig.now)
    assert not rig.session.subscriptions.hearing.address
    rig.publish("a")
    rig.way.clear()
    rig.after(200)
    assert rig.session.subscriptions.hearing.address == ADDRESS
    rig.settle()
    rig.settle_heads()
    assert rig.take(intake) == told("a", BASE)


def test_a_slow_subscriber_gets_the_rest_from_the_history() -> None:
    rig = ChannelRig()
    rig.page = 100
    rig.make("a", keeps=1_000)
    intake = rig.joined("a", bytes_max=200)
    for _ in range(50):
        rig.publish("a", 3)
    rig.arrive_all()
    seen = []
    for _ in range(100):
        seen += rig.take(intake)
        rig.settle()
    assert seen == told("a", *range(BASE, BASE + 150))


def test_one_subscription_with_overlapping_patterns_gets_each_message_once() -> None:
    rig = ChannelRig()
    intake = rig.joined("a.>", "a.*", "*.b")
    rig.make("a.b")
    rig.publish("a.b")
    rig.arrive_all()
    assert rig.take(intake) == told("a.b", BASE)


def test_two_subscriptions_get_each_message_both() -> None:
    rig = ChannelRig()
    rig.make("a")
    first, second = rig.joined("a"), rig.joined("a")
    rig.publish("a")
    rig.arrive_all()
    assert rig.take(first) == rig.take(second) == told("a", BASE)


def test_what_only_shares_the_prefix_is_not_handed_on() -> None:
    rig = ChannelRig()
    rig.make("a.b.c")
    intake = rig.joined("a.*.d")
    rig.publish("a.b.c")
    rig.arrive_all()
    assert rig.take(intake) == []


def test_starts() -> None:
    for start, first in (
        (Start("last"), BASE + 4),
        (Start("all"), BASE + 2),
        (Start("sequence", BASE + 3), BASE + 3),
    ):
        rig = ChannelRig()
        rig.make("a", keeps=3)
        rig.publish("a", 5)
        rig.way.clear()
        intake = rig.joined("a", start=start)
        assert rig.take(intake) == told("a", *range(first, BASE + 5)), start


def test_a_sequence_that_is_not_kept_any_more_begins_with_a_gap() -> None:
    rig = ChannelRig()
    rig.make("a", keeps=2)
    rig.publish("a", 5)
    rig.way.clear()
    intake = rig.joined("a", start=Start("sequence", BASE + 1))
    assert rig.take(intake) == [Gap("a", BASE + 1, 2), ("a", BASE + 3), ("a", BASE + 4)]


def test_it_does_not_join_while_a_slot_has_no_owner() -> None:
    rig = ChannelRig()
    rig.slots_missing = [3]
    intake = rig.subscribe("a")
    rig.settle()
    assert not intake.is_joined
    rig.slots_missing = []
    rig.after(300)
    rig.settle()
    assert intake.is_joined


def test_closing_gives_up_what_nobody_else_asks_for() -> None:
    rig = ChannelRig()
    first = rig.joined("a", "b")
    rig.joined("b")
    rig.session.subscriptions.hearing.changes.clear()
    rig.session.subscriptions.remove(first)
    rig.settle()
    assert list(rig.session.subscriptions.hearing.changes) == [(False, b"a\0")]
    assert list(rig.subscribed.values()) == ["b"]


def test_a_refused_subscription_ends_with_its_error() -> None:
    rig = ChannelRig()
    intake = rig.subscribe("a")
    subscribe, _ = rig.sent()
    rig.refuse(subscribe, LimitReached.name)
    rig.after(300)
    assert not intake.has_ended  # It may pass: it is asked for again.
    again = [command for command in rig.sent() if command.cmd == "subscribe"]
    rig.refuse(again[0], "bad_pattern")
    assert intake.error is not None
    assert intake.has_ended


def test_what_is_no_multipart_of_a_channel_is_counted_and_ends_nothing() -> None:
    rig = ChannelRig()
    rig.make("a")
    intake = rig.joined("a")
    for frames in ([b"a\0"], [b"a\0", b"\xc1", b"x"], [b"a\0", b"\x80", b"x"], [b"\xff"], [b""]):
        rig.arrive(frames)
    rig.publish("a")
    rig.arrive_all()
    assert rig.take(intake) == told("a", BASE)
    assert rig.session.counters.events_broken == 3
