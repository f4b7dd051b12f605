"""Whatever is lost, doubled or turned round on the way: each message once, in order, or a gap."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.client.channels.intake import Intake, Start
from broker.client.channels.runs import Gap
from tests.client.channel_rig import ChannelRig

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from("abc"), st.integers(1, 4)),
        st.tuples(st.just("arrive"), st.integers(0, 5), st.integers(0, 2)),
        st.tuples(st.just("lose"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("double"), st.integers(0, 5), st.just(0)),
        st.tuples(
            st.sampled_from(["heads", "answer", "take", "later", "reign", "reconnect", "deaf"]),
            st.just(0),
            st.just(0),
        ),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.sampled_from([200, 1 << 20]), st.sampled_from(["now", "all"]))
def test_every_message_comes_once_and_in_order_or_is_told_as_a_gap(
    steps: list[Any], bytes_max: int, kind: str
) -> None:
    rig = ChannelRig()
    for name, keeps, durable in (("a", 0, False), ("b", 5, False), ("c", 1_000, True)):
        rig.make(name, keeps, durable)
        rig.publish(name, 2)
    rig.way.clear()
    begins = {
        name: channel.next if kind == "now" else channel.oldest
        for name, channel in rig.channels.items()
    }
    intake = rig.joined(">", start=Start(kind), bytes_max=bytes_max)
    seen: list[Any] = []
    for what, number, size in steps:
        play(rig, intake, seen, what, number, size)
    rig.arrive_all()
    for _ in range(400):
        rig.settle_heads()
        part = rig.take(intake)
        seen += part
        if not part and not rig.session.subscriptions.is_waiting:
            break
    for name, channel in rig.channels.items():
        check(name, channel.start, begins[name], channel.next, seen, channel.durable)
    missed_of_c = [item for item in seen if isinstance(item, Gap) and item.channel == "c"]
    assert not missed_of_c, "all of it is kept"


LATE_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from("abc"), st.integers(1, 4)),
        st.tuples(st.just("arrive"), st.just(0), st.just(0)),
        st.tuples(st.sampled_from(["heads", "answer", "take", "later"]), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(LATE_STEPS)
def test_what_is_late_and_not_lost_is_never_told_as_a_gap(steps: list[Any]) -> None:
    rig = ChannelRig()
    for name, keeps, durable in (("a", 0, False), ("b", 2, False), ("c", 1_000, True)):
        rig.make(name, keeps, durable)
    intake = rig.joined(">")
    rig.is_in_order = True
    seen: list[Any] = []
    for what, number, size in steps:
        play(rig, intake, seen, what, number, size)
    while rig.way or rig.session.subscriptions.is_waiting:
        rig.settle_heads()
        rig.arrive_all()
    seen += rig.take(intake)
    for name, channel in rig.channels.items():
        had = [item[1] for item in seen if item[0] == name]
        assert had == list(range(channel.start, channel.next))
    assert not any(isinstance(item, Gap) for item in seen)


def play(
    rig: ChannelRig, intake: Intake, seen: list[Any], what: str, number: Any, size: int
) -> None:
    way = rig.way
    if what == "publish":
        rig.publish(number, size)
    elif what == "arrive" and way:
        rig.arrive(way.pop(number % len(way)))
    elif what == "lose" and way:
        way.pop(number % len(way))
    elif what == "double" and way:
        way.append(way[number % len(way)])
    elif what == "heads":
        rig.tell_heads()
    elif what == "answer":
        rig.settle()
    elif what == "take":
        seen += rig.take(intake)
    elif what == "later":
        rig.after(60)
        rig.run_dry()
    elif what == "reign":
        for channel in rig.channels.values():
            channel.begin_reign(channel.epoch + 1)
    elif what == "reconnect":
        rig.sent()
        way.clear()
        rig.lose()
        rig.welcome()
    elif what == "deaf":
        rig.session.subscriptions.ear_lost(rig.now)
        way.clear()
        rig.after(150)


def check(name: str, start: int, begin: int, end: int, seen: list[Any], durable: bool) -> None:
    """From ``begin`` to ``end`` each sequence is a message or in a gap, in order, once."""
    expected = begin
    for item in seen:
        if isinstance(item, Gap):
            if item.channel != name:
                continue
            if item.missed is None:
                assert not durable
                assert item.first > expected
                expected = item.first
            else:
                assert item.first == expected
                assert item.missed > 0
                expected += item.missed
        elif item[0] == name:
            assert item[1] == expected
            expected += 1
    # A new life of which nothing was published yet is known with its first message.
    assert expected == end or (end == start and expected < start), (name, expected, end)
