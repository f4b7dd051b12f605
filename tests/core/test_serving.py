"""Handing messages on: order, credit, shares, cuts, and gets that wait."""

from __future__ import annotations

import msgpack
import pytest

from broker.errors import BadField, ConsumerExists, ConsumerNotFound, QueueDeleted
from tests.support.node_rig import PEER, NodeRig, Sent

OTHER = b"\0othr"


def consume(rig: NodeRig, number: int = 1, peer: bytes = PEER, **fields: object) -> None:
    assert rig.ask(peer, "consume", queue="q", consumer=number, **fields).re == "ok"


def deliveries(sent: list[Sent]) -> list[Sent]:
    return [s for s in sent if s.re == "messages"]


def test_higher_priorities_come_first_and_inside_one_the_older(rig: NodeRig) -> None:
    for body, priority in ((b"a", 4), (b"b", 0), (b"c", 9), (b"d", 4), (b"e", 9)):
        rig.put("q", body, priority=priority)
    got = rig.get("q")
    assert got.bodies() == [b"c", b"e", b"a", b"d", b"b"]
    assert [m.priority for m in got.messages()] == [9, 9, 4, 4, 0]


def test_one_that_came_back_is_ahead_of_younger_ones_and_behind_older(rig: NodeRig) -> None:
    rig.put("q", *[b"%d" % n for n in range(6)])
    first, second = rig.get("q", 2), rig.get("q", 2)
    rig.settle("nack", second, delay_ms=0)
    rig.settle("nack", first, ranges=[[1, 1]], delay_ms=0)
    assert rig.get("q").positions() == [1, 2, 3, 4, 5]


def test_a_consumer_gets_no_more_than_its_credit(rig: NodeRig) -> None:
    rig.put("q", *[b"x"] * 10)
    consume(rig, credit=3)
    assert rig.stats("q")["in_flight"] == 3
    rig.ask(PEER, "credit", consumer=1, messages=2)
    assert rig.stats("q")["in_flight"] == 5
    rig.pass_time(1_000)
    assert rig.stats("q")["in_flight"] == 5


def test_credit_in_bytes_is_overdrawn_by_one_message_at_most(rig: NodeRig) -> None:
    rig.put("q", *[b"x" * 100] * 10)
    consume(rig, credit=10, credit_bytes=250)
    assert rig.stats("q")["in_flight"] == 3
    rig.ask(PEER, "credit", consumer=1, bytes=50)
    assert rig.stats("q")["in_flight"] == 3
    rig.ask(PEER, "credit", consumer=1, bytes=100)
    assert rig.stats("q")["in_flight"] == 4


def test_one_message_larger_than_the_credit_in_bytes_is_delivered_alone(rig: NodeRig) -> None:
    rig.put("q", b"x" * 1_000)
    rig.put("q", b"y")
    consume(rig, credit=10, credit_bytes=10)
    assert rig.stats("q")["in_flight"] == 1


def test_consumers_that_wait_share_what_comes(rig: NodeRig) -> None:
    rig.hello(OTHER)
    consume(rig, credit=100)
    consume(rig, peer=OTHER, credit=100)
    rig.command(PEER, "put", msgpack.packb([b"x"] * 10), queue="q", count=10)
    got = deliveries(rig.run())
    assert sorted((s.peer, len(s.messages())) for s in got) == [(OTHER, 5), (PEER, 5)]


def test_consumers_are_served_in_turn(rig: NodeRig) -> None:
    rig.hello(OTHER)
    consume(rig, credit=100)
    consume(rig, peer=OTHER, credit=100)
    peers = []
    for _ in range(6):
        rig.command(PEER, "put", b"\x91\xc4\x01a", queue="q", count=1)
        peers += [s.peer for s in deliveries(rig.run())]
    assert peers == [PEER, OTHER] * 3


def test_a_batch_is_cut_where_the_credit_ends(rig: NodeRig) -> None:
    rig.put("q", *[b"%d" % n for n in range(20)])
    parts = [rig.get("q", 7).bodies() for _ in range(3)]
    assert parts == [[b"%d" % n for n in range(low, min(low + 7, 20))] for low in (0, 7, 14)]


def test_columns_are_cut_like_their_batch(rig: NodeRig) -> None:
    columns = msgpack.packb({"ids": ["a", "b", "c"]})
    req = rig.command(PEER, "put", columns, msgpack.packb([b"1", b"2", b"3"]), queue="q", count=3)
    assert next(s for s in rig.run() if s.req == req).re == "ok"
    rig.put("q", b"4")
    first, rest, alone = rig.get("q", 2), rig.get("q"), rig.get("q")
    assert [msgpack.unpackb(s.frames[0]) for s in (first, rest)] == [
        {"ids": ["a", "b"]},
        {"ids": ["c"]},
    ]
    assert (first.bodies(), rest.bodies(), alone.bodies()) == ([b"1", b"2"], [b"3"], [b"4"])
    rig.settle("nack", first, charge=False)
    again = rig.get("q")
    assert (len(again["runs"]), again.bodies()) == (1, [b"1", b"2"])


def test_content_type_and_type_travel_with_their_run(rig: NodeRig) -> None:
    rig.put("q", b"a", content_type="text/plain", type="greeting")
    rig.put("q", b"b")
    runs = rig.get("q")["runs"]
    assert [(r.get("content_type"), r.get("type")) for r in runs] == [
        ("text/plain", "greeting"),
        (None, None),
    ]


def test_a_get_waits_until_a_message_is_committed(rig: NodeRig) -> None:
    req = rig.command(PEER, "get", queue="q", max=5, timeout_ms=10_000)
    assert rig.run() == []
    rig.command(PEER, "put", b"\x91\xc4\x01a", queue="q", count=1)
    assert [s.bodies() for s in deliveries(rig.run()) if s.req == req] == [[b"a"]]
    assert rig.pass_time(20_000) == []


def test_a_get_whose_time_ends_is_answered_with_an_empty_batch(rig: NodeRig) -> None:
    req = rig.command(PEER, "get", queue="q", max=5, timeout_ms=3_000)
    rig.run()
    assert rig.wake_at is not None
    assert rig.wake_at <= rig.now + 3_000
    assert rig.pass_time(2_999) == []
    (answer,) = rig.pass_time(1)
    assert (answer.req, answer.messages(), answer["runs"]) == (req, [], [])


def test_a_get_without_req_is_refused_and_holds_nothing(rig: NodeRig) -> None:
    rig.put("q", b"a")
    rig.command(PEER, "get", queue="q", max=1, req=None)
    (refused,) = rig.run()
    assert (refused.code, refused.req, refused["cmd"]) == (BadField.code, None, "get")
    assert rig.stats("q")["in_flight"] == 0


def test_several_gets_end_each_at_its_time(rig: NodeRig) -> None:
    for seconds in (3, 1, 2):
        rig.command(PEER, "get", queue="q", max=1, timeout_ms=seconds * 1_000)
    rig.run()
    assert [len(rig.pass_time(1_000)) for _ in range(4)] == [1, 1, 1, 0]


def test_a_cancelled_consumer_gets_nothing_new_and_keeps_what_it_holds(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b")
    rig.command(PEER, "consume", queue="q", consumer=1, credit=1)
    (held,) = deliveries(rig.run())
    rig.ask(PEER, "cancel", consumer=1)
    assert (rig.stats("q")["in_flight"], rig.stats("q")["consumers"]) == (1, 0)
    assert rig.settle("ack", held)["count"] == 1
    assert rig.ask(PEER, "cancel", consumer=1).code == ConsumerNotFound.code
    assert rig.ask(PEER, "credit", consumer=1, messages=1).code == ConsumerNotFound.code


def test_a_consumers_number_is_taken_until_it_is_cancelled(rig: NodeRig) -> None:
    consume(rig)
    again = rig.ask(PEER, "consume", queue="other", consumer=1)
    assert again.code == ConsumerExists.code
    rig.ask(PEER, "cancel", consumer=1)
    consume(rig)


@pytest.mark.parametrize("cmd", ["get", "consume"])
def test_a_deletion_tells_those_who_wait(rig: NodeRig, cmd: str) -> None:
    fields = {"get": {"max": 1, "timeout_ms": 9_000}, "consume": {"consumer": 3}}[cmd]
    req = rig.command(PEER, cmd, queue="q", **fields)
    rig.run()
    rig.command(PEER, "delete", queue="q")
    told = [s for s in rig.run() if s.code == QueueDeleted.code]
    if cmd == "get":
        assert [(s.re, s.req) for s in told] == [("failed", req)]
    else:
        assert [(s.re, s["consumer"]) for s in told] == [("cancelled", 3)]
    assert rig.pass_time(20_000) == []


def test_a_large_backlog_is_read_in_order_without_holes(rig: NodeRig) -> None:
    for n in range(40):
        rig.put("q", *[b"%d" % (100 * n + i) for i in range(100)], priority=4 if n % 3 else 7)
    seen: list[int] = []
    while (got := rig.get("q", 333)).messages():
        seen += [int(body) for body in got.bodies()]
        rig.settle("ack", got)
    high = [n for n in range(4_000) if (n // 100) % 3 == 0]
    assert seen == high + [n for n in range(4_000) if (n // 100) % 3]
