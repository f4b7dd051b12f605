"""Leases, ack, nack, reject, extend: who may say what of a message, and what comes of it."""

from __future__ import annotations

import pytest

from broker.errors import BadField, LeaseLost
from tests.support.node_rig import PEER, NodeRig

OTHER = b"\0othr"


@pytest.mark.parametrize("cmd", ["ack", "reject"])
def test_a_settled_message_is_gone_for_good(rig: NodeRig, cmd: str) -> None:
    rig.put("q", b"a", b"b")
    assert rig.settle(cmd, rig.get("q"))["count"] == 2
    rig.crash()
    rig.hello()
    assert rig.get("q").messages() == []
    assert rig.stats("q")["messages"] == 0


def test_a_settle_is_answered_only_when_it_is_durable(rig: NodeRig) -> None:
    rig.put("q", b"a")
    got = rig.get("q")
    ranges = got.ranges()
    req = rig.command(PEER, "ack", queue="q", tag=got["tag"], ranges=ranges)
    assert rig.turn() == []
    rig.sync()
    assert [s.req for s in rig.turn()] == [req]


def test_a_lease_that_ends_makes_the_message_ready_with_one_more_attempt(rig: NodeRig) -> None:
    rig.put("q", b"a")
    got = rig.get("q", lease_ms=2_000)
    rig.pass_time(1_999)
    assert rig.stats("q")["in_flight"] == 1
    rig.pass_time(60)
    assert [m.attempts for m in rig.get("q").messages()] == [1]
    assert rig.settle("ack", got).code == LeaseLost.code


def test_many_leases_of_one_queue_end_each_at_its_own_time(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", b"c")
    for lease_ms in (1_000, 3_000, 2_000):
        rig.get("q", 1, lease_ms=lease_ms)
    in_flight = []
    for _ in range(4):
        in_flight.append(rig.stats("q")["in_flight"])
        rig.pass_time(1_060)
    assert in_flight == [3, 2, 1, 0]


def test_extend_counts_from_the_call(rig: NodeRig) -> None:
    rig.put("q", b"a")
    got = rig.get("q", lease_ms=2_000)
    rig.pass_time(1_500)
    extended = rig.settle("extend", got, lease_ms=2_000)
    assert (extended["held"], extended["lost"]) == ([[0, 1, 0]], [])
    rig.pass_time(1_900)
    assert rig.stats("q")["in_flight"] == 1
    assert rig.settle("ack", got)["count"] == 1


def test_an_extended_message_stays_its_consumers(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", b"c")
    rig.command(PEER, "consume", queue="q", consumer=1, credit=3, concurrency=2)
    got = next(s for s in rig.run() if s.re == "messages")
    rig.settle("extend", got, lease_ms=60_000)
    rig.node.unreachable(rig.now, PEER, "gone")
    rig.hello()
    assert [m.attempts for m in rig.get("q").messages()] == [1, 1, 0]


def test_extend_needs_the_queue_of_the_tag(rig: NodeRig) -> None:
    rig.put("q", b"a")
    got = rig.get("q")
    for name in ("q2", "q3", "q4", "q5"):
        rig.put(name, b"x")
        assert rig.settle("extend", got, queue=name)["held"] == []


def test_the_valid_part_of_a_settle_is_carried_out(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", b"c")
    got = rig.get("q", 2)
    reply = rig.settle("ack", got, ranges=[[0, 5], [1, 1], [0, 1, 1]])
    assert reply.code == LeaseLost.code
    assert reply["lost"] == [[2, 3, 0], [1, 1, 0], [0, 1, 1]]
    assert rig.stats("q")["messages"] == 1


def test_nobody_settles_what_another_session_holds(rig: NodeRig) -> None:
    rig.hello(OTHER)
    rig.put("q", b"a")
    got = rig.get("q")
    assert rig.settle("ack", got, peer=OTHER).code == LeaseLost.code
    assert rig.settle("ack", got)["count"] == 1


def test_a_message_given_back_returns_to_its_place(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", b"c")
    got = rig.get("q", 2)
    rig.settle("nack", got, ranges=[[1, 1]], delay_ms=0)
    rig.settle("nack", got, ranges=[[0, 1]], charge=False)
    assert [(m.body, m.attempts) for m in rig.get("q").messages()] == [
        (b"a", 0),
        (b"b", 1),
        (b"c", 0),
    ]


def test_nack_waits_for_its_delay_and_over_a_restart(rig: NodeRig) -> None:
    rig.put("q", b"a")
    rig.settle("nack", rig.get("q"), delay_ms=5_000)
    assert rig.stats("q")["delayed"] == 1
    rig.crash()
    rig.hello()
    rig.pass_time(4_999)
    assert rig.get("q").messages() == []
    rig.pass_time(1)
    assert [m.attempts for m in rig.get("q").messages()] == [1]


def test_nack_without_a_delay_waits_for_the_backoff_of_the_queue(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="q", settings={"backoff_ms": 1_000, "backoff_max_ms": 3_000})
    rig.put("q", b"a")
    for least, most in ((1_600, 2_000), (2_400, 3_000), (2_400, 3_000)):
        rig.settle("nack", rig.get("q"))
        rig.pass_time(least - 1)
        assert rig.get("q").messages() == []
        rig.pass_time(most - least + 1)
        assert rig.stats("q")["ready"] == 1


def test_a_message_that_rests_anew_is_not_woken_by_its_earlier_rest(rig: NodeRig) -> None:
    rig.put("q", b"a")
    old = rig.get("q")
    rig.crash()
    rig.hello()
    rig.settle("nack", old, charge=False, delay_ms=2_000)
    rig.crash()
    rig.hello()
    assert rig.settle("nack", old, charge=False, delay_ms=9_000)["count"] == 1
    rig.pass_time(2_000)
    assert rig.get("q").messages() == []
    rig.pass_time(7_000)
    assert rig.get("q").bodies() == [b"a"]


def test_bytes_add_up_whatever_part_of_a_delivery_is_settled(rig: NodeRig) -> None:
    rig.put("q", b"a" * 50, b"b")
    rig.put("q", b"c" * 500, b"d" * 7)
    got = rig.get("q")
    rig.settle("ack", got, ranges=[[0, 1], [2, 1]])
    rig.settle("nack", got, ranges=[[1, 1], [3, 1]], charge=False)
    left = rig.get("q")
    rig.settle("ack", left, ranges=[[1, 1]])
    rig.settle("ack", left, ranges=[[3, 1]])
    assert (rig.stats("q")["messages"], rig.stats("q")["bytes"]) == (0, 0)


def test_a_settle_with_credit_brings_the_next_messages(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", b"c")
    rig.command(PEER, "consume", queue="q", consumer=1, credit=1)
    for body in (b"a", b"b", b"c"):
        got = next(s for s in rig.run() if s.re == "messages")
        assert got.bodies() == [body]
        settle = {"queue": "q", "tag": got["tag"], "ranges": got.ranges()}
        rig.command(PEER, "ack", req=None, consumer=1, credit=1, **settle)


def test_credit_for_a_consumer_of_another_queue_is_refused_before_anything_is_settled(
    rig: NodeRig,
) -> None:
    rig.ask(PEER, "consume", queue="other", consumer=1, credit=1)
    rig.put("q", b"a")
    got = rig.get("q")
    assert rig.settle("ack", got, consumer=1, credit=1).code == BadField.code
    assert rig.settle("ack", got)["count"] == 1


def test_a_settle_with_credit_for_a_cancelled_consumer_has_one_answer(rig: NodeRig) -> None:
    rig.put("q", b"a")
    got = rig.get("q")
    assert rig.settle("ack", got, consumer=9, credit=1)["count"] == 1


def test_a_settle_without_req_tells_only_its_failure(rig: NodeRig) -> None:
    rig.put("q", b"a")
    got = rig.get("q")
    settle = {"queue": "q", "tag": got["tag"], "ranges": got.ranges(), "req": None}
    rig.command(PEER, "ack", **settle)
    assert rig.run() == []
    rig.command(PEER, "ack", **settle)
    (failed,) = rig.run()
    assert (failed.code, failed["cmd"], failed["queue"]) == (LeaseLost.code, "ack", "q")
    assert failed["lost"] == [[0, 1, 0]]
