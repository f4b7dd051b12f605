"""Settles of an older epoch: taken or ``lease_lost`` exactly as the protocol says."""

from __future__ import annotations

import pytest

from broker.errors import LeaseLost
from tests.support.node_rig import PEER, NodeRig, Sent

OTHER = b"\0othr"


@pytest.fixture
def old(rig: NodeRig) -> Sent:
    """A delivery of ten messages before a restart; two sessions since."""
    rig.put("q", *[b"%d" % n for n in range(10)])
    delivery = rig.get("q")
    rig.crash()
    rig.hello()
    rig.hello(OTHER)
    return delivery


def test_what_waits_may_be_settled_by_who_held_it(rig: NodeRig, old: Sent) -> None:
    assert rig.settle("ack", old, ranges=[[2, 3], [7, 1]])["count"] == 4
    assert rig.get("q").positions() == [0, 1, 5, 6, 8, 9]


def test_what_another_holds_now_is_lost(rig: NodeRig, old: Sent) -> None:
    new = rig.get("q", 4, peer=OTHER)
    reply = rig.settle("ack", old)
    assert reply.code == LeaseLost.code
    assert reply["lost"] == [[0, 4, 0]]
    assert rig.settle("ack", new, peer=OTHER)["count"] == 4


def test_what_was_delivered_in_this_epoch_and_came_back_is_lost(rig: NodeRig, old: Sent) -> None:
    new = rig.get("q", 1, peer=OTHER)
    rig.settle("nack", new, peer=OTHER, charge=False)
    assert rig.settle("ack", old, ranges=[[0, 1]]).code == LeaseLost.code
    assert rig.get("q", 1).positions() == [0]


def test_the_same_settle_twice_counts_once(rig: NodeRig, old: Sent) -> None:
    rig.get("q", 1)
    settle = {"queue": "q", "tag": old["tag"], "ranges": [[4, 2]]}
    first = rig.command(PEER, "ack", **settle)
    second = rig.command(OTHER, "ack", **settle)
    replies = {s.req: s for s in rig.run()}
    assert replies[first]["count"] == 2
    assert replies[second].code == LeaseLost.code
    assert rig.stats("q")["messages"] == 8


def test_what_was_taken_again_is_not_anothers_to_settle(rig: NodeRig, old: Sent) -> None:
    rig.get("q", 1)
    assert rig.settle("extend", old, ranges=[[4, 2]])["held"] == [[4, 2, 0]]
    assert rig.settle("ack", old, peer=OTHER, ranges=[[4, 2]]).code == LeaseLost.code
    assert rig.settle("ack", old, ranges=[[4, 2]])["count"] == 2


def test_attempts_must_match(rig: NodeRig, old: Sent) -> None:
    assert rig.settle("ack", old, ranges=[[0, 1, 1]]).code == LeaseLost.code


def test_attempts_outlive_the_restart(rig: NodeRig) -> None:
    rig.put("q", b"a")
    rig.settle("nack", rig.get("q"), delay_ms=0)
    old = rig.get("q")
    rig.crash()
    rig.hello()
    assert rig.settle("ack", old, ranges=[[0, 1, 0]]).code == LeaseLost.code
    assert rig.settle("ack", old, ranges=[[0, 1, 1]])["count"] == 1


def test_a_range_beyond_the_queue_is_lost(rig: NodeRig, old: Sent) -> None:
    reply = rig.settle("ack", old, ranges=[[8, 2**62]])
    assert reply["lost"] == [[10, 2**62 - 2, 0]]


def test_a_tag_of_this_epoch_claims_nothing_that_waits(rig: NodeRig, old: Sent) -> None:
    new = rig.get("q", 1)
    assert rig.settle("ack", new, ranges=[[5, 1]]).code == LeaseLost.code


def test_a_deleted_and_remade_queue_knows_no_old_tag(rig: NodeRig, old: Sent) -> None:
    rig.ask(PEER, "delete", queue="q", if_empty=False)
    rig.put("q", b"new")
    assert rig.settle("ack", old, ranges=[[0, 1]]).code == LeaseLost.code
    assert rig.settle("extend", old)["held"] == []


def test_what_was_extended_is_never_delivered_beside(rig: NodeRig, old: Sent) -> None:
    rig.settle("extend", old, ranges=[[3, 2]], lease_ms=5_000)
    assert rig.get("q").positions() == [0, 1, 2, 5, 6, 7, 8, 9]
    rig.pass_time(5_060)
    assert [(m.position, m.attempts) for m in rig.get("q").messages()] == [(3, 1), (4, 1)]


def test_a_session_takes_again_what_the_one_that_it_resumes_held(rig: NodeRig) -> None:
    session = rig.hello()["session"]
    rig.put("q", b"a", b"b", b"c")
    got = rig.get("q", 2)
    rig.hello(b"\0new0", resume=session)
    held = rig.settle("extend", got, b"\0new0", ranges=[[0, 1]])
    assert held["held"] == [[0, 1, 0]]
    assert rig.settle("ack", got, b"\0new0")["count"] == 2
    assert rig.get("q", peer=b"\0new0").bodies() == [b"c"]


def test_what_another_was_given_meanwhile_is_not_taken_again(rig: NodeRig) -> None:
    session = rig.hello()["session"]
    rig.put("q", b"a")
    got = rig.get("q")
    rig.hello(b"\0othr")
    rig.hello(b"\0new0", resume=session)
    other = rig.get("q", peer=b"\0othr")
    assert rig.settle("ack", got, b"\0new0")["error"] == "lease_lost"
    rig.settle("nack", other, b"\0othr", delay_ms=0, charge=False)
    assert rig.settle("ack", got, b"\0new0")["error"] == "lease_lost"
