"""Histories: what is shown of them, how they are trimmed, what cannot be read."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import limits
from broker.errors import (
    BadField,
    ChannelNotFound,
    SequenceAhead,
    UnknownEpoch,
    UnreadableMessage,
)
from broker.model.entries import Settled
from broker.storage.store import Family
from tests.support.channels import declare, events_of, facts, history, kept, publish
from tests.support.node_rig import PEER, NodeRig

BASE = 1 << 40


def fill(rig: NodeRig, channel: str, count: int, first: int = 0, **fields: Any) -> None:
    for body in range(first, first + count):
        publish(rig, channel, body, **fields)


def page_through(rig: NodeRig, channel: str, **fields: Any) -> list[Any]:
    """All of a history, page by page."""
    bodies: list[Any] = []
    after = -1
    while True:
        told = history(rig, channel, after=after, **fields)
        assert told.re == "history", told.header
        bodies += [event.body for event in events_of(told)]
        assert told["after"] > after or not told["more"]
        after = told["after"]
        if not told["more"]:
            assert after == told["next"] - 1
            return bodies


@pytest.mark.parametrize("durable", [False, True])
def test_no_more_is_shown_than_was_asked_to_keep(rig: NodeRig, durable: bool) -> None:
    declare(rig, "news", history_messages=3, durable=durable)
    fill(rig, "news", 5)
    told = history(rig, "news")
    assert [event.body for event in events_of(told)] == [2, 3, 4]
    assert told["oldest"] == told["next"] - 3
    assert told["after"] == told["next"] - 1
    assert told["more"] is False


@pytest.mark.parametrize("durable", [False, True])
def test_a_history_is_read_a_page_at_a_time(rig: NodeRig, durable: bool) -> None:
    declare(rig, "news", history_messages=500, durable=durable)
    publish(rig, "news", *range(70))
    publish(rig, "news", *range(70, 90), type="other")
    fill(rig, "news", 20, 90)
    assert page_through(rig, "news", max=7) == list(range(110))
    assert page_through(rig, "news", bytes_max=20) == list(range(110))
    assert page_through(rig, "news") == list(range(110))
    first = history(rig, "news")["oldest"]
    assert kept(rig, "news", after=first + 103) == list(range(104, 110))


def test_a_page_tells_what_holds_for_its_messages(rig: NodeRig) -> None:
    declare(rig, "news", history_messages=9)
    publish(rig, "news", b"a", b"b", content_type="text/plain", type="t", key="k")
    rig.now += 5
    publish(rig, "news", b"c")
    runs = history(rig, "news")["runs"]
    labels = {"content_type": "text/plain", "type": "t", "key": "k"}
    assert runs == [
        {"first": BASE, "count": 2, "at": rig.now - 5, **labels},
        {"first": BASE + 2, "count": 1, "at": rig.now},
    ]


def test_columns_come_back_with_their_messages(rig: NodeRig) -> None:
    declare(rig, "news", history_messages=9)
    columns = msgpack.packb({"ids": ["x", "y"]})
    batch = msgpack.packb([b"a", b"b"])
    assert rig.ask(PEER, "publish", columns, batch, channel="news", count=2).re == "ok"
    told = history(rig, "news", after=BASE)
    assert msgpack.unpackb(told.frames[0]) == {"ids": ["y"]}
    assert [event.body for event in events_of(told)] == [b"b"]


def test_the_last_value_alone(rig: NodeRig) -> None:
    declare(rig, "news", durable=True)
    assert kept(rig, "news", last=True) == []
    fill(rig, "news", 3)
    publish(rig, "news", b"x", b"y")
    assert kept(rig, "news", last=True) == [b"y"]


def test_messages_since_an_instant(rig: NodeRig) -> None:
    declare(rig, "news", durable=True, history_messages=1_000)
    for body in range(40):
        publish(rig, "news", body)
        rig.now += 10
    begun = rig.now - 400
    for body in (0, 1, 17, 39):
        assert kept(rig, "news", since_ms=begun + body * 10) == list(range(body, 40))
        assert kept(rig, "news", since_ms=begun + body * 10 + 1) == list(range(body + 1, 40))


@pytest.mark.parametrize("durable", [False, True])
def test_what_is_too_old_is_not_shown_and_goes(rig: NodeRig, durable: bool) -> None:
    declare(rig, "news", history_ms=10_000, durable=durable)
    for body in range(30):
        publish(rig, "news", body)
        rig.pass_time(1_000)
    assert kept(rig, "news") == list(range(20, 30))
    told = history(rig, "news")
    assert told["oldest"] == told["runs"][0]["first"]
    rig.pass_time(9_000)
    assert kept(rig, "news") == [29]
    rig.pass_time(5_000)
    rig.pass_time(5_000)
    assert kept(rig, "news") == []
    assert facts(rig, "news")["bytes"] == 0


@pytest.mark.parametrize("durable", [False, True])
def test_a_history_holds_no_more_bytes_than_its_bound_and_a_step(
    rig: NodeRig, durable: bool
) -> None:
    declare(rig, "news", history_messages=100_000, history_bytes=64 * 1024, durable=durable)
    body = bytes(1_000)
    for _ in range(200):
        publish(rig, "news", body)
        rig.run()
        assert facts(rig, "news")["bytes"] <= 64 * 1024 + limits.TRIM_STEP_BYTES + 2_000
    assert len(kept(rig, "news")) >= 64


def test_one_entry_trims_many_messages(rig: NodeRig) -> None:
    declare(rig, "news", history_messages=1_000, durable=True)
    entries: list[Settled] = []
    machine = rig.machine("news")
    for start in range(0, 5_000, 50):
        publish(rig, "news", *range(start, start + 50))
        found = machine.log.uncommitted + list(machine.log._unwritten)
        entries += [p.entry for p in found if isinstance(p.entry, Settled)]
        rig.run()
    assert machine.names["$channel/news"].ledger.messages <= 1_000 + 64 + 50
    assert page_through(rig, "news") == list(range(4_000, 5_000))
    assert all(sum(count for _, count in entry.ranges) >= 62 for entry in entries)


@pytest.mark.parametrize("crash", [True, False])
def test_what_earlier_reigns_left_is_trimmed_as_well(rig: NodeRig, crash: bool) -> None:
    declare(rig, "news", history_messages=200, durable=True)
    fill(rig, "news", 250)
    if crash:
        rig.crash()
    else:
        rig.restart()
    rig.hello()
    assert page_through(rig, "news") == list(range(50, 250))
    fill(rig, "news", 300, 250)
    rig.run()
    assert page_through(rig, "news") == list(range(350, 550))
    assert rig.machine("news").names["$channel/news"].ledger.messages <= 200 + 64
    rig.ask(PEER, "update_channel", channel="news", settings={"history_messages": 1})
    rig.run()
    assert page_through(rig, "news") == [549]
    assert rig.machine("news").names["$channel/news"].ledger.messages <= 1 + 64


def test_what_was_trimmed_leaves_the_disk(rig: NodeRig) -> None:
    declare(rig, "news", history_messages=10, durable=True)
    fill(rig, "news", 1_000)
    rig.run()
    assert len(rig.rows(Family.BODY)) < 300


def test_a_light_channel_has_nothing_to_show(rig: NodeRig) -> None:
    publish(rig, "news", b"a", b"b")
    told = history(rig, "news")
    assert (told["next"], told["oldest"], told["after"]) == (BASE + 2, BASE + 2, BASE + 1)
    assert events_of(told) == []
    assert events_of(history(rig, "news", last=True)) == []


def test_a_look_at_a_history_is_refused_by_name(rig: NodeRig) -> None:
    declare(rig, "news", durable=True)
    fill(rig, "news", 3)
    assert history(rig, "no").code == ChannelNotFound.code
    assert history(rig, "news", after=3).code == SequenceAhead.code
    assert history(rig, "news", after=2)["runs"] == []
    assert history(rig, "news", epoch=1).re == "history"
    assert history(rig, "news", epoch=2).code == UnknownEpoch.code
    assert history(rig, "news", after=-2).code == BadField.code
    rig.command(PEER, "history", channel="news", req=None)
    assert [sent.code for sent in rig.run()] == [BadField.code]


def test_what_cannot_be_read_is_told_and_what_is_before_it_comes_first(rig: NodeRig) -> None:
    declare(rig, "news", durable=True)
    fill(rig, "news", 6)
    damage(rig, 3)
    told = history(rig, "news")
    assert [event.body for event in events_of(told)] == [0, 1, 2]
    assert told["more"] is True
    assert history(rig, "news", after=2).code == UnreadableMessage.code
    assert kept(rig, "news", after=3) == [4, 5]


def test_an_unreadable_message_does_not_keep_a_history_from_being_trimmed(rig: NodeRig) -> None:
    declare(rig, "news", history_messages=100, durable=True)
    fill(rig, "news", 80)
    damage(rig, 3)
    rig.crash()
    rig.hello()
    fill(rig, "news", 600, 80)
    rig.run()
    assert page_through(rig, "news") == list(range(580, 680))
    assert rig.machine("news").names["$channel/news"].ledger.messages <= 80 + 100 + 64


def damage(rig: NodeRig, position: int) -> None:
    for key, value in rig.rows(Family.BODY):
        if int.from_bytes(key[-8:], "big") == position:
            rig.store.alter(Family.BODY, key, value[:-1] + b"\xff")


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.integers(1, 60)),
            st.tuples(st.just("wait"), st.sampled_from([1, 900, 2_500])),
            st.tuples(st.just("restart"), st.just(0)),
            st.tuples(st.just("crash"), st.just(0)),
        ),
        max_size=25,
    ),
    st.sampled_from([1, 50, None]),
    st.sampled_from([None, 3_000]),
)
def test_a_history_shows_the_newest_confirmed_messages_in_order(
    steps: list[tuple[str, int]], most: int | None, age_ms: int | None
) -> None:
    if most is None and age_ms is None:
        most = 1_000
    rig = NodeRig()
    rig.hello()
    declare(rig, "news", history_messages=most, history_ms=age_ms, durable=True)
    published: list[tuple[int, int]] = []
    for step, number in steps:
        if step == "publish":
            bodies = range(len(published), len(published) + number)
            told = publish(rig, "news", *bodies)
            assert told["first"] == len(published)
            published += [(rig.now, body) for body in bodies]
        elif step == "wait":
            rig.pass_time(number)
        else:
            rig.restart() if step == "restart" else rig.crash()
            rig.hello()
        wanted = [b for at, b in published if age_ms is None or at >= rig.now - age_ms]
        assert page_through(rig, "news", max=17) == wanted[-(most or len(wanted)) :]
