"""Queues with ordering keys: of a key one message is away at most, and other keys flow."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker import limits
from broker.errors import BadField
from tests.support.node_rig import PEER, NodeRig, Sent

OTHER = b"\0othr"


@pytest.fixture
def keyed(rig: NodeRig) -> NodeRig:
    declare(rig)
    rig.hello(OTHER)
    return rig


def declare(rig: NodeRig, **settings: Any) -> None:
    rig.ask(PEER, "declare", queue="q", settings={"ordering": "key", **settings})


def put(rig: NodeRig, keys: str, **fields: Any) -> None:
    """A message for each letter; the body is the letter with its place among equal ones."""
    bodies = [f"{key}{keys[:index].count(key)}".encode() for index, key in enumerate(keys)]
    frames = msgpack.packb({"keys": list(keys)}), msgpack.packb(bodies)
    assert rig.ask(PEER, "put", *frames, queue="q", count=len(keys), **fields).re == "ok"


def settle_one(rig: NodeRig, cmd: str, got: Sent, index: int = 0, **fields: Any) -> Sent:
    return rig.settle(cmd, got, ranges=[[got.positions()[index], 1, 0]], **fields)


def test_of_each_key_one_message_is_in_flight(keyed: NodeRig) -> None:
    put(keyed, "aabac")
    got = keyed.get("q")
    assert got.bodies() == [b"a0", b"b0", b"c0"]
    assert msgpack.unpackb(got.frames[0]) == {"keys": ["a", "b", "c"]}
    assert keyed.get("q").bodies() == []
    assert keyed.stats("q")["held_by_key"] == 2


def test_the_next_of_a_key_comes_after_the_end_of_the_one_before(keyed: NodeRig) -> None:
    put(keyed, "aaab")
    got = keyed.get("q")
    settle_one(keyed, "ack", got)
    again = keyed.get("q")
    assert again.bodies() == [b"a1"]
    settle_one(keyed, "reject", again)
    assert keyed.get("q").bodies() == [b"a2"]


def test_a_key_is_free_once_the_end_is_committed_and_not_before(keyed: NodeRig) -> None:
    put(keyed, "aa")
    got = keyed.get("q")
    keyed.command(PEER, "ack", queue="q", tag=got["tag"], ranges=got.ranges())
    req = keyed.command(OTHER, "get", queue="q", max=10, timeout_ms=1_000)
    assert not [sent for sent in keyed.turn() if sent.req == req]
    keyed.sync()
    assert [sent.bodies() for sent in keyed.turn() if sent.req == req] == [[b"a1"]]


def test_a_message_that_waits_for_its_retry_holds_its_key_over_a_restart(keyed: NodeRig) -> None:
    put(keyed, "aab")
    settle_one(keyed, "nack", keyed.get("q", 1), delay_ms=60_000)
    assert keyed.get("q", auto_ack=True).bodies() == [b"b0"]
    keyed.restart()
    keyed.hello()
    put(keyed, "c")
    assert keyed.get("q", auto_ack=True).bodies() == [b"c0"]
    keyed.pass_time(60_000)
    assert keyed.get("q").bodies() == [b"a0"]


def test_a_message_whose_lease_ended_goes_before_the_next_of_its_key(keyed: NodeRig) -> None:
    put(keyed, "aab")
    keyed.get("q", lease_ms=1_000)
    keyed.pass_time(1_000 + limits.LEASE_STEP)
    got = keyed.get("q")
    assert (got.bodies(), [m.attempts for m in got.messages()]) == ([b"a0", b"b0"], [1, 1])


def test_of_a_free_key_the_higher_priority_goes_first(keyed: NodeRig) -> None:
    put(keyed, "a")
    put(keyed, "a", priority=9)
    got = keyed.get("q")
    assert [m.priority for m in got.messages()] == [9]
    settle_one(keyed, "ack", got)
    assert [m.priority for m in keyed.get("q").messages()] == [4]


def test_messages_without_a_key_are_free(keyed: NodeRig) -> None:
    keyed.put("q", b"one", b"two")
    frames = (
        msgpack.packb({"keys": ["a", None, "a", None]}),
        msgpack.packb([b"0", b"1", b"2", b"3"]),
    )
    keyed.ask(PEER, "put", *frames, queue="q", count=4)
    assert keyed.get("q").bodies() == [b"one", b"two"]
    assert keyed.get("q").bodies() == [b"0", b"1", b"3"]


def test_a_key_in_the_header_is_the_key_of_the_whole_batch(keyed: NodeRig) -> None:
    keyed.put("q", b"0", b"1", key="a")
    keyed.put("q", b"2", key=b"a")
    got = keyed.get("q")
    assert (got.bodies(), got["runs"][0]["key"]) == ([b"0"], "a")
    settle_one(keyed, "ack", got)
    assert keyed.get("q").bodies() == [b"1"]


def test_after_a_restart_the_holder_extends_and_its_key_stays_held(keyed: NodeRig) -> None:
    put(keyed, "aab")
    got = keyed.get("q")
    keyed.restart()
    keyed.hello()
    keyed.hello(OTHER)
    extended = keyed.settle("extend", got, ranges=[[0, 1, 0]])
    assert extended["held"] == [[0, 1, 0]]
    assert keyed.get("q", peer=OTHER).bodies() == [b"b0"]


def test_nobody_extends_a_message_while_another_of_its_key_is_in_flight(keyed: NodeRig) -> None:
    put(keyed, "a")
    got = keyed.get("q")
    keyed.restart()
    keyed.hello()
    keyed.hello(OTHER)
    put(keyed, "a", priority=9)
    assert [m.priority for m in keyed.get("q", peer=OTHER).messages()] == [9]
    assert keyed.settle("extend", got)["lost"] == [[0, 1, 0]]


def test_auto_ack_takes_one_of_a_key_at_a_time(keyed: NodeRig) -> None:
    put(keyed, "aab")
    assert keyed.get("q", auto_ack=True).bodies() == [b"a0", b"b0"]
    assert keyed.get("q", auto_ack=True).bodies() == [b"a1"]
    assert keyed.stats("q")["messages"] == 0


def test_an_expired_message_lets_the_next_of_its_key_go(keyed: NodeRig) -> None:
    put(keyed, "ab", ttl_ms=2_000)
    put(keyed, "a")
    keyed.get("q", 1)
    keyed.pass_time(2_000)
    assert keyed.get("q").bodies() == []
    keyed.pass_time(limits.LEASE_DEFAULT)
    assert keyed.get("q").bodies() == [b"a0"]


def test_a_purge_frees_no_key_that_is_in_flight(keyed: NodeRig) -> None:
    put(keyed, "aabb")
    got = keyed.get("q", 1)
    keyed.ask(PEER, "purge", queue="q")
    put(keyed, "ab")
    assert keyed.get("q").bodies() == [b"b0"]
    settle_one(keyed, "ack", got)
    assert keyed.get("q").bodies() == [b"a0"]


def test_a_dead_letter_frees_its_key_and_carries_it_along(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="q", settings={"ordering": "key", "dead_letter": "dead"})
    put(rig, "aa")
    settle_one(rig, "reject", rig.get("q"))
    assert rig.get("q").bodies() == [b"a1"]


def test_consumers_share_the_keys_and_none_is_left_out_after_a_full_turn(keyed: NodeRig) -> None:
    for peer in (PEER, OTHER):
        keyed.ask(peer, "consume", queue="q", consumer=1, credit=2)
    put(keyed, "abcdabcd")
    first = [sent for sent in keyed.sent if sent.re == "messages"]
    assert sorted(body for sent in first for body in sent.bodies()) == [b"a0", b"b0", b"c0", b"d0"]
    assert {sent.peer for sent in first} == {PEER, OTHER}
    for sent in first:
        keyed.settle("ack", sent, peer=sent.peer, consumer=1, credit=2)
    second = [sent for sent in keyed.sent if sent.re == "messages"][len(first) :]
    assert sorted(body for sent in second for body in sent.bodies()) == [b"a1", b"b1", b"c1", b"d1"]


def test_a_window_that_is_full_opens_again(keyed: NodeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHOICE_WINDOW_MAX", 3)
    put(keyed, "aaaa")
    put(keyed, "b")
    got = keyed.get("q")
    seen = got.bodies()
    while got.messages():
        settle_one(keyed, "ack", got)
        got = keyed.get("q")
        seen += got.bodies()
    assert sorted(seen) == [b"a0", b"a1", b"a2", b"a3", b"b0"]


@pytest.mark.parametrize("key", [1, None, "x" * (limits.KEY_BYTES_MAX + 1), b"x" * 256, "é" * 200])
def test_what_is_no_key_is_refused_by_name(keyed: NodeRig, key: Any) -> None:
    assert keyed.put("q", b"x", key=key).code == BadField.code


@pytest.mark.parametrize("keys", [[1], [True], ["é" * 128], [b"x" * 256], [["a"]]])
def test_a_column_of_what_are_no_keys_is_refused_by_name(keyed: NodeRig, keys: list[Any]) -> None:
    frames = msgpack.packb({"keys": keys}), msgpack.packb([b"x"])
    assert keyed.ask(PEER, "put", *frames, queue="q", count=1).code == BadField.code


def test_a_key_and_a_column_of_keys_exclude_each_other(keyed: NodeRig) -> None:
    frames = msgpack.packb({"keys": ["a"]}), msgpack.packb([b"x"])
    assert keyed.ask(PEER, "put", *frames, queue="q", count=1, key="a").code == BadField.code


def test_a_queue_without_keys_and_selectors_has_no_choice(rig: NodeRig) -> None:
    rig.put("q", b"x", key="a")
    rig.get("q", selector=[["$type", "exists", True]])
    assert rig.queue("q").choice is not None
    assert rig.get("q").bodies() == [b"x"]
    assert rig.queue("q").choice is None
