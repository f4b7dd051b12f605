"""Putting: joined batches, repeats, limits, the alarm, time to live."""

from __future__ import annotations

import msgpack
import pytest

from broker.errors import ProducerExpired, QueueFull, QueueNotFound, ResourceAlarm, SequenceTooOld
from broker.limits import PRODUCER_IDLE
from broker.storage.store import Family
from tests.support.node_rig import PEER, NodeRig


def put(rig: NodeRig, *bodies: bytes, **fields: object) -> int:
    """Only hands the command over."""
    batch = msgpack.packb(list(bodies))
    return rig.command(PEER, "put", batch, queue="q", count=len(bodies), **fields)


def declare(rig: NodeRig, **settings: int) -> None:
    assert rig.ask(PEER, "declare", queue="q", settings=settings).re == "ok"


def test_puts_of_one_turn_that_agree_are_stored_as_one_batch(rig: NodeRig) -> None:
    reqs = [put(rig, b"a", b"b"), put(rig, b"c"), put(rig, b"d", priority=9), put(rig, b"e")]
    firsts = {s.req: s["first"] for s in rig.run()}
    assert [firsts[req] for req in reqs] == [0, 2, 3, 4]
    assert len(rig.rows(Family.BODY)) == 3
    assert rig.get("q").bodies() == [b"d", b"a", b"b", b"c", b"e"]


def test_joined_puts_keep_each_producers_sequence(rig: NodeRig) -> None:
    put(rig, b"a", producer=b"p", seq=0)
    put(rig, b"b", producer=b"r", seq=0)
    rig.run()
    assert len(rig.rows(Family.BODY)) == 1
    rig.crash()
    rig.hello()
    for producer in (b"p", b"r"):
        assert rig.put("q", b"x", producer=producer, seq=0)["duplicate"] is True


def test_a_repeat_on_its_way_is_confirmed_with_the_first_and_not_before(rig: NodeRig) -> None:
    first, second = (put(rig, b"a", producer=b"p", seq=0) for _ in range(2))
    assert rig.turn() == []
    rig.sync()
    answers = {s.req: s.header for s in rig.turn()}
    assert answers[first]["first"] == 0
    assert answers[second]["duplicate"] is True
    assert "first" not in answers[second]
    assert rig.stats("q")["messages"] == 1


def test_repeats_are_told_whatever_else_would_refuse_them(rig: NodeRig) -> None:
    declare(rig, max_messages=1)
    rig.put("q", b"a", producer=b"p", seq=0)
    rig.node.set_alarm("the disk is full")
    assert rig.put("q", b"a", producer=b"p", seq=0)["duplicate"] is True


def test_a_first_put_that_was_refused_leaves_its_producer_known(rig: NodeRig) -> None:
    declare(rig, max_messages=1)
    assert rig.put("q", b"a", b"b", producer=b"p", seq=0).code == QueueFull.code
    assert rig.put("q", b"a", producer=b"p", seq=1)["first"] == 0


def test_a_stranger_that_does_not_begin_at_0_and_one_below_the_window_are_refused(
    rig: NodeRig,
) -> None:
    assert rig.put("q", b"a", producer=b"p", seq=1).code == ProducerExpired.code
    rig.put("q", b"a", producer=b"p", seq=0)
    rig.put("q", b"a", producer=b"p", seq=5_000)
    assert rig.put("q", b"a", producer=b"p", seq=1).code == SequenceTooOld.code


def test_an_idle_producer_ends_by_the_log(rig: NodeRig) -> None:
    rig.put("q", b"a", producer=b"p", seq=0)
    rig.now += PRODUCER_IDLE
    rig.hello()
    rig.put("q", b"b")
    rig.put("q", b"b")
    assert rig.put("q", b"a", producer=b"p", seq=1).code == ProducerExpired.code
    rig.crash()
    rig.hello()
    assert rig.put("q", b"a", producer=b"p", seq=1).code == ProducerExpired.code


def test_a_batch_is_taken_or_refused_whole(rig: NodeRig) -> None:
    declare(rig, max_messages=3)
    rig.put("q", b"a", b"b")
    assert rig.put("q", b"c", b"d").code == QueueFull.code
    assert rig.put("q", b"c")["first"] == 2
    rig.settle("ack", rig.get("q", 1))
    assert rig.put("q", b"d").re == "ok"


def test_what_is_proposed_counts_against_the_limit(rig: NodeRig) -> None:
    declare(rig, max_messages=2)
    reqs = [put(rig, b"x") for _ in range(3)]
    answers = {s.req: s.code for s in rig.run()}
    assert [answers[req] for req in reqs] == [0, 0, QueueFull.code]


def test_bytes_are_bounded_too(rig: NodeRig) -> None:
    declare(rig, max_bytes=100)
    rig.put("q", b"x" * 80)
    assert rig.put("q", b"x" * 30).code == QueueFull.code
    rig.settle("ack", rig.get("q"))
    assert rig.put("q", b"x" * 30).re == "ok"


def test_the_alarm_refuses_puts_and_lets_all_else_go_on(rig: NodeRig) -> None:
    rig.put("q", b"a")
    rig.node.set_alarm("the disk is full")
    refused = rig.put("q", b"b")
    assert (refused.code, refused["text"]) == (ResourceAlarm.code, "the disk is full")
    assert rig.put("fresh", b"b").code == ResourceAlarm.code
    assert rig.settle("ack", rig.get("q"))["count"] == 1
    rig.node.set_alarm(None)
    assert rig.put("q", b"b").re == "ok"


@pytest.mark.parametrize("cmd", ["put", "get", "consume"])
def test_without_auto_declare_an_unknown_queue_is_told(cmd: str) -> None:
    rig = NodeRig(auto_declare=False)
    rig.hello()
    fields = {"put": {"count": 1}, "get": {"max": 1}, "consume": {"consumer": 1}}[cmd]
    frames = [msgpack.packb([b"a"])] if cmd == "put" else []
    assert rig.ask(PEER, cmd, *frames, queue="q", **fields).code == QueueNotFound.code


def test_a_message_expires_wherever_it_stands(rig: NodeRig) -> None:
    rig.put("q", b"a")
    rig.put("q", b"b", ttl_ms=2_000)
    rig.put("q", b"c")
    rig.pass_time(1_999)
    assert rig.stats("q")["messages"] == 3
    rig.pass_time(1)
    assert (rig.stats("q")["messages"], rig.stats("q")["counters"]["expired"]) == (2, 1)
    assert rig.get("q").bodies() == [b"a", b"c"]


def test_a_message_in_flight_does_not_expire_under_its_consumer(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", ttl_ms=2_000)
    got = rig.get("q", lease_ms=60_000)
    rig.pass_time(40_000)
    assert rig.settle("ack", got, ranges=[[0, 1]])["count"] == 1
    assert rig.settle("nack", got, ranges=[[1, 1]], charge=False)["count"] == 1
    assert rig.get("q").messages() == []
    assert rig.stats("q")["messages"] == 0


def test_a_return_does_not_restart_the_time_to_live(rig: NodeRig) -> None:
    rig.put("q", b"a", ttl_ms=10_000)
    rig.settle("nack", rig.get("q"), delay_ms=20_000)
    rig.pass_time(10_000)
    assert rig.stats("q")["messages"] == 0


def test_the_queues_time_to_live_holds_where_the_put_names_none(rig: NodeRig) -> None:
    declare(rig, ttl_ms=5_000)
    rig.put("q", b"a")
    rig.put("q", b"b", ttl_ms=9_000)
    rig.pass_time(5_000)
    assert rig.get("q").bodies() == [b"b"]


def test_what_expired_on_its_way_back_is_removed_in_the_end(rig: NodeRig) -> None:
    """At the instant of its end the message is named by an entry that is not yet on disk."""
    rig.put("q", b"a", ttl_ms=2_000)
    got = rig.get("q")
    settle = {"queue": "q", "tag": got["tag"], "ranges": got.ranges()}
    rig.command(PEER, "nack", delay_ms=0, **settle)
    rig.turn()
    rig.now += 2_000
    rig.turn()
    rig.run()
    rig.pass_time(31_000)
    assert rig.stats("q")["messages"] == 0


def test_expiry_goes_on_after_a_restart(rig: NodeRig) -> None:
    rig.put("q", b"a", ttl_ms=5_000)
    rig.put("q", b"b")
    rig.crash()
    rig.hello()
    rig.pass_time(5_000)
    assert rig.stats("q")["messages"] == 1
    assert rig.rows(Family.EXPIRY) == [] or rig.pass_time(1_000) is not None


def test_columns_weigh_once(rig: NodeRig) -> None:
    batch, columns = msgpack.packb([b"a", b"b"]), msgpack.packb({"ids": ["x", "y"]})
    rig.ask(PEER, "put", columns, batch, queue="q", count=2)
    assert rig.stats("q")["bytes"] == len(batch) + len(columns)
    assert rig.queue("q").proposed_bytes == 0
    rig.settle("ack", rig.get("q"))
    assert rig.stats("q")["bytes"] == 0
