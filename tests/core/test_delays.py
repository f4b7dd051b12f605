"""Delay: not before its instant, at its own place, over restarts, and off the disk in the end."""

from __future__ import annotations

import random

import msgpack

from broker.storage.store import Family
from tests.support.node_rig import PEER, NodeRig

SECOND = 1_000
YEAR = 365 * 24 * 3_600 * SECOND


def test_a_delayed_message_is_ready_at_its_instant_and_not_before(rig: NodeRig) -> None:
    rig.put("q", b"a", delay_ms=5 * SECOND)
    assert rig.stats("q")["delayed"] == 1
    assert rig.stats("q")["ready"] == 0
    rig.pass_time(5 * SECOND - 1)
    assert rig.get("q").bodies() == []
    rig.pass_time(1)
    assert rig.stats("q")["ready"] == 1
    assert rig.get("q").bodies() == [b"a"]


def test_a_waiting_get_is_answered_when_a_message_comes_due(rig: NodeRig) -> None:
    rig.put("q", b"a", delay_ms=2 * SECOND)
    req = rig.command(PEER, "get", queue="q", max=1, timeout_ms=10 * SECOND)
    rig.run()
    answers = [sent for sent in rig.pass_time(2 * SECOND) if sent.req == req]
    assert [sent.bodies() for sent in answers] == [[b"a"]]


def test_a_delayed_message_keeps_the_place_of_its_put(rig: NodeRig) -> None:
    rig.put("q", b"first", delay_ms=SECOND)
    rig.put("q", b"second")
    rig.put("q", b"urgent", delay_ms=SECOND, priority=9)
    rig.pass_time(SECOND)
    assert rig.get("q").bodies() == [b"urgent", b"first", b"second"]


def test_an_instant_in_the_past_is_now(rig: NodeRig) -> None:
    rig.put("q", b"a", at_ms=rig.now - 1)
    rig.put("q", b"b", at_ms=rig.now + SECOND)
    assert rig.get("q").bodies() == [b"a"]
    rig.pass_time(SECOND)
    assert rig.get("q").bodies() == [b"b"]


def test_a_queue_may_delay_what_names_no_delay_of_its_own(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="q", settings={"delay_ms": 3 * SECOND})
    rig.put("q", b"a")
    rig.put("q", b"b", delay_ms=0)
    assert rig.get("q").bodies() == [b"b"]
    rig.pass_time(3 * SECOND)
    assert rig.get("q").bodies() == [b"a"]


def test_delays_outlive_a_crash_and_end_on_time(rig: NodeRig) -> None:
    rig.put("q", b"late", delay_ms=60 * SECOND)
    rig.put("q", b"soon", delay_ms=SECOND)
    rig.crash()
    rig.hello()
    assert rig.stats("q")["delayed"] == 2
    rig.pass_time(SECOND)
    soon = rig.get("q")
    assert soon.bodies() == [b"soon"]
    rig.settle("ack", soon)
    rig.pass_time(59 * SECOND)
    assert rig.get("q").bodies() == [b"late"]


def test_what_came_due_while_the_broker_was_away_is_ready_at_once(rig: NodeRig) -> None:
    rig.put("q", b"a", delay_ms=SECOND)
    rig.now += 10 * SECOND
    rig.crash()
    rig.hello()
    assert rig.get("q").bodies() == [b"a"]


def test_a_put_that_comes_due_on_its_way_to_the_disk_is_ready_with_its_commit(
    rig: NodeRig,
) -> None:
    rig.put("q", b"before", delay_ms=1)
    batch = msgpack.packb([b"a"])
    rig.command(PEER, "put", batch, queue="q", count=1, delay_ms=2)
    rig.turn()
    rig.now += 2
    rig.turn()
    assert rig.stats("q")["ready"] in (1, 2)
    rig.run()
    assert rig.get("q").bodies() == [b"before", b"a"]


def test_time_to_live_begins_when_the_delay_ends(rig: NodeRig) -> None:
    rig.put("q", b"a", delay_ms=10 * SECOND, ttl_ms=5 * SECOND)
    rig.pass_time(14 * SECOND)
    assert rig.stats("q")["ready"] == 1
    rig.pass_time(SECOND)
    assert rig.stats("q")["messages"] == 0


def test_a_purge_removes_what_is_delayed(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", delay_ms=SECOND)
    rig.put("q", b"c")
    assert rig.ask(PEER, "purge", queue="q")["count"] == 3
    rig.put("q", b"d", delay_ms=SECOND)
    stats = rig.stats("q")
    assert (stats["messages"], stats["delayed"], stats["ready"]) == (1, 1, 0)
    rig.pass_time(SECOND)
    assert rig.get("q").bodies() == [b"d"]


def test_a_delayed_message_that_failed_comes_back_with_its_attempts(rig: NodeRig) -> None:
    rig.put("q", b"a", delay_ms=SECOND)
    rig.pass_time(SECOND)
    rig.settle("nack", rig.get("q"), delay_ms=0)
    rig.crash()
    rig.hello()
    got = rig.get("q").messages()
    assert [(message.body, message.attempts) for message in got] == [(b"a", 1)]


def test_delay_and_instant_exclude_each_other(rig: NodeRig) -> None:
    refused = rig.put("q", b"a", delay_ms=1, at_ms=rig.now)
    assert refused["error"] == "bad_field"


def test_long_delays_keep_neither_log_nor_the_bodies_of_others(rig: NodeRig) -> None:
    rig.put("q", *[b"year"] * 20, delay_ms=YEAR)
    for _ in range(300):
        rig.put("q", *[b"x" * 20] * 5)
        rig.settle("ack", rig.get("q"))
    assert len(rig.rows(Family.LOG)) < 100
    assert len(rig.rows(Family.BODY)) < 100
    assert rig.stats("q")["delayed"] == 20


def test_settled_delayed_batches_leave_the_disk_with_their_index_rows(rig: NodeRig) -> None:
    random_ = random.Random(1)
    for _ in range(200):
        rig.put("q", b"x" * 20, b"y", delay_ms=random_.randint(1, 50))
        rig.pass_time(random_.randint(0, 30))
        if random_.random() < 0.05:
            rig.crash()
            rig.hello()
        got = rig.get("q", random_.randint(1, 5))
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


def test_after_a_restart_a_higher_priority_comes_before_what_came_back(rig: NodeRig) -> None:
    rig.put("q", b"failed")
    rig.settle("nack", rig.get("q"), delay_ms=0)
    rig.put("q", b"urgent", priority=9)
    rig.crash()
    rig.hello()
    assert rig.get("q").bodies() == [b"urgent", b"failed"]
