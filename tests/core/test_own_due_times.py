"""One put, an instant for each message: at its instant, at its place, once, and off the disk."""

from __future__ import annotations

import random

import msgpack
import pytest

from broker.storage.store import Family
from tests.support.node_rig import PEER, NodeRig, Sent

SECOND = 1_000
HOUR = 3_600 * SECOND


def put_at(rig: NodeRig, queue: str, timed: dict[bytes, int | None], **fields: object) -> Sent:
    """Puts the bodies with their instants, relative to now, in one batch."""
    at = [None if after is None else rig.now + after for after in timed.values()]
    columns = {"at_ms": at, **fields.pop("columns", {})}  # type: ignore[dict-item]
    batch = msgpack.packb(list(timed))
    frames = (msgpack.packb(columns), batch)
    return rig.ask(PEER, "put", *frames, queue=queue, count=len(timed), **fields)


def test_each_message_is_ready_at_its_instant_and_not_before(rig: NodeRig) -> None:
    put_at(rig, "q", {b"late": 2 * SECOND, b"soon": SECOND, b"now": None, b"past": -SECOND})
    assert rig.get("q").bodies() == [b"now", b"past"]
    rig.pass_time(SECOND - 1)
    assert rig.get("q").bodies() == []
    rig.pass_time(1)
    assert rig.get("q").bodies() == [b"soon"]
    rig.pass_time(SECOND)
    assert rig.get("q").bodies() == [b"late"]


def test_each_message_keeps_the_place_of_its_put(rig: NodeRig) -> None:
    confirmed = put_at(rig, "q", {b"a": 2 * SECOND, b"b": SECOND, b"c": 3 * SECOND})
    rig.put("q", b"d")
    rig.pass_time(3 * SECOND)
    delivery = rig.get("q")
    assert delivery.bodies() == [b"a", b"b", b"c", b"d"]
    assert delivery.positions() == [confirmed["first"] + index for index in range(4)]


def test_stats_tell_what_waits_for_its_instant(rig: NodeRig) -> None:
    put_at(rig, "q", {b"a": None, b"b": SECOND, b"c": HOUR})
    stats = rig.stats("q")
    assert (stats["messages"], stats["ready"], stats["delayed"]) == (3, 1, 2)
    rig.pass_time(SECOND)
    assert (rig.stats("q")["ready"], rig.stats("q")["delayed"]) == (2, 1)


def test_a_waiting_get_is_answered_when_one_comes_due(rig: NodeRig) -> None:
    put_at(rig, "q", {b"a": 2 * SECOND, b"b": HOUR})
    req = rig.command(PEER, "get", queue="q", max=1, timeout_ms=10 * SECOND)
    rig.run()
    answers = [sent for sent in rig.pass_time(2 * SECOND) if sent.req == req]
    assert [sent.bodies() for sent in answers] == [[b"a"]]


def test_instants_outlive_a_crash(rig: NodeRig) -> None:
    put_at(rig, "q", {b"a": HOUR, b"b": SECOND, b"c": 2 * SECOND})
    rig.pass_time(SECOND)
    rig.settle("ack", rig.get("q"))
    rig.crash()
    rig.hello()
    assert rig.stats("q")["delayed"] == 2
    assert rig.get("q").bodies() == []
    rig.pass_time(SECOND)
    c = rig.get("q")
    assert c.bodies() == [b"c"]
    rig.settle("ack", c)
    rig.pass_time(HOUR)
    rig.hello()
    assert rig.get("q").bodies() == [b"a"]


def test_what_came_due_while_the_broker_was_away_is_ready_at_once(rig: NodeRig) -> None:
    put_at(rig, "q", {b"a": SECOND, b"b": 2 * SECOND, b"c": HOUR})
    rig.now += 10 * SECOND
    rig.crash()
    rig.hello()
    assert rig.get("q").bodies() == [b"a", b"b"]


def test_one_that_comes_due_on_its_way_to_the_disk_is_ready_with_its_commit(rig: NodeRig) -> None:
    put_at(rig, "q", {b"before": 1, b"later": HOUR})
    columns = msgpack.packb({"at_ms": [rig.now + 2, rig.now + 3]})
    rig.command(PEER, "put", columns, msgpack.packb([b"a", b"b"]), queue="q", count=2)
    rig.turn()
    rig.now += 5
    rig.turn()
    rig.run()
    assert rig.get("q").bodies() == [b"before", b"a", b"b"]


def test_time_to_live_begins_at_each_messages_own_instant(rig: NodeRig) -> None:
    put_at(rig, "q", {b"a": 10 * SECOND, b"b": SECOND, b"c": None}, ttl_ms=5 * SECOND)
    rig.pass_time(4 * SECOND)
    assert rig.stats("q")["messages"] == 3
    rig.pass_time(SECOND)
    assert rig.stats("q")["messages"] == 2
    rig.pass_time(SECOND)
    assert rig.stats("q")["messages"] == 1
    rig.pass_time(8 * SECOND)
    assert rig.stats("q")["ready"] == 1
    rig.pass_time(SECOND)
    stats = rig.stats("q")
    assert (stats["messages"], stats["bytes"], stats["counters"]["expired"]) == (0, 0, 3)


def test_attempts_are_each_messages_own_over_a_crash(rig: NodeRig) -> None:
    put_at(rig, "q", {b"a": SECOND, b"b": SECOND, b"c": 2 * SECOND})
    rig.pass_time(SECOND)
    rig.settle("nack", rig.get("q", 1), delay_ms=0)
    rig.crash()
    rig.hello()
    rig.pass_time(SECOND)
    got = rig.get("q").messages()
    assert [(m.body, m.attempts) for m in got] == [(b"a", 1), (b"b", 0), (b"c", 0)]


def test_a_nacked_message_returns_to_its_place_among_them(rig: NodeRig) -> None:
    put_at(rig, "q", {b"a": SECOND, b"b": SECOND + 1, b"c": SECOND + 2})
    rig.pass_time(2 * SECOND)
    rig.settle("nack", rig.get("q", 2), charge=False)
    assert rig.get("q").bodies() == [b"a", b"b", b"c"]


def test_a_purge_removes_ready_and_delayed_ones(rig: NodeRig) -> None:
    put_at(rig, "q", {b"a": SECOND, b"b": 2 * SECOND, b"c": 20 * SECOND})
    rig.pass_time(SECOND)
    held = rig.get("q")
    rig.pass_time(SECOND)
    assert rig.ask(PEER, "purge", queue="q")["count"] == 2
    rig.pass_time(20 * SECOND)
    assert rig.get("q").bodies() == []
    rig.settle("ack", held)
    stats = rig.stats("q")
    assert (stats["messages"], stats["bytes"], stats["delayed"]) == (0, 0, 0)


def test_other_columns_stay_with_their_messages(rig: NodeRig) -> None:
    timed: dict[bytes, int | None] = {b"%d" % i: (i % 7) * SECOND for i in range(200)}
    put_at(rig, "q", timed, columns={"ids": [f"id{i}" for i in range(200)]})
    rig.pass_time(3 * SECOND)
    seen: dict[bytes, str] = {}
    while (delivery := rig.get("q", 50)).messages():
        ids = msgpack.unpackb(delivery.frames[0])["ids"]
        seen.update(zip(delivery.bodies(), ids, strict=True))
    assert seen == {b"%d" % i: f"id{i}" for i in range(200) if i % 7 <= 3}


def test_a_put_whose_instants_agree_is_a_put_like_any_other(rig: NodeRig) -> None:
    put_at(rig, "q", {b"a": SECOND, b"b": SECOND})
    put_at(rig, "q", {b"c": None, b"d": -5})
    assert len(rig.rows(Family.BODY)) == 2
    assert rig.get("q").bodies() == [b"c", b"d"]
    rig.pass_time(SECOND)
    assert rig.get("q").bodies() == [b"a", b"b"]


def test_now_is_now_even_where_the_queue_delays(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="q", settings={"delay_ms": HOUR})
    put_at(rig, "q", {b"a": None, b"b": 0})
    assert rig.get("q").bodies() == [b"a", b"b"]


@pytest.mark.parametrize("fields", [{"delay_ms": 1}, {"at_ms": 1}])
def test_the_column_excludes_an_instant_for_the_whole_batch(
    rig: NodeRig, fields: dict[str, int]
) -> None:
    assert put_at(rig, "q", {b"a": 1, b"b": 2}, **fields)["error"] == "bad_field"


@pytest.mark.parametrize("instant", ["soon", 1.5, -1, True, 2**63])
def test_an_instant_is_an_integer(rig: NodeRig, instant: object) -> None:
    columns = msgpack.packb({"at_ms": [instant, 0]})
    refused = rig.ask(PEER, "put", columns, msgpack.packb([b"a", b"b"]), queue="q", count=2)
    assert refused["error"] == "bad_field"


def test_instants_far_apart_come_in_their_order_of_time(rig: NodeRig) -> None:
    draw = random.Random(3)
    afters = [draw.randint(1, 400) * 30 * SECOND for _ in range(300)]
    put_at(rig, "q", {b"%d" % i: after for i, after in enumerate(afters)})
    began, seen = rig.now, 0
    while rig.now < began + 400 * 30 * SECOND:
        rig.pass_time(30 * SECOND)
        due = [b"%d" % i for i, after in enumerate(afters) if began + after == rig.now]
        delivery = rig.get("q")
        assert delivery.bodies() == due
        if due:
            rig.settle("ack", delivery)
        seen += len(due)
        if draw.random() < 0.05:
            rig.crash()
            rig.hello()
    assert seen == 300
    assert rig.stats("q")["bytes"] == 0


def test_what_is_settled_leaves_the_disk_while_its_neighbours_wait(rig: NodeRig) -> None:
    draw = random.Random(1)
    for _ in range(60):
        timed: dict[bytes, int | None] = {b"x%d" % i: draw.randint(1, 90) for i in range(30)}
        put_at(rig, "q", timed)
        rig.pass_time(draw.randint(0, 30))
        if draw.random() < 0.05:
            rig.crash()
            rig.hello()
        got = rig.get("q", draw.randint(1, 60))
        if got.messages():
            rig.settle("ack", got)
    rig.pass_time(SECOND)
    while (got := rig.get("q")).messages():
        rig.settle("ack", got)
    stats = rig.stats("q")
    assert (stats["messages"], stats["bytes"], stats["ready"], stats["delayed"]) == (0, 0, 0, 0)
    for _ in range(60):
        rig.put("q", b"z" * 40)
        rig.settle("ack", rig.get("q"))
    assert rig.rows(Family.DUE) == []
    assert len(rig.rows(Family.BODY)) < 30


def test_one_long_delay_keeps_its_batch_and_only_its_own_due_row(rig: NodeRig) -> None:
    put_at(rig, "q", {b"a": SECOND, b"b": 9_000 * HOUR})
    rig.pass_time(SECOND)
    rig.settle("ack", rig.get("q"))
    for _ in range(60):
        rig.put("q", b"z" * 40)
        rig.settle("ack", rig.get("q"))
    assert len(rig.rows(Family.DUE)) == 1
    rig.pass_time(9_000 * HOUR)
    rig.hello()
    assert rig.get("q").bodies() == [b"b"]


def test_a_batch_of_the_largest_count_is_taken(rig: NodeRig) -> None:
    count = 10_000
    columns = msgpack.packb({"at_ms": [rig.now + i % 977 for i in range(count)]})
    batch = msgpack.packb([b"%d" % i for i in range(count)])
    rig.ask(PEER, "put", columns, batch, queue="q", count=count)
    rig.pass_time(SECOND)
    seen: list[bytes] = []
    while (delivery := rig.get("q", 10_000)).messages():
        seen += delivery.bodies()
        rig.settle("ack", delivery, ranges=[[delivery.positions()[0], len(delivery.bodies())]])
    assert seen == [b"%d" % i for i in range(count)]
