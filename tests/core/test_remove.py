"""Remove: messages that wait are taken out by position or by id, whatever they wait for."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import pytest

from broker import limits
from broker.storage.store import Family
from tests.node.soundness import require_sound
from tests.support.node_rig import PEER, CrashPoint, NodeRig, Sent

SECOND = 1_000
MINUTE = 60 * SECOND
YEAR = 365 * 24 * 60 * MINUTE


def remove(rig: NodeRig, *ranges: tuple[int, int], **fields: Any) -> Sent:
    if ranges:
        fields["ranges"] = [list(each) for each in ranges]
    return rig.ask(PEER, "remove", queue="q", **fields)


def put_ids(rig: NodeRig, *ids: str, **fields: Any) -> Sent:
    batch, columns = msgpack.packb([i.encode() for i in ids]), msgpack.packb({"ids": ids})
    return rig.ask(PEER, "put", columns, batch, queue="q", count=len(ids), **fields)


def test_what_is_ready_is_removed_by_position(rig: NodeRig) -> None:
    rig.put("q", *[b"%d" % n for n in range(6)])
    gone = remove(rig, (1, 2), (4, 1))
    assert (gone["count"], gone["missing"]) == (3, [])
    assert rig.stats("q")["counters"]["removed"] == 3
    assert rig.get("q").bodies() == [b"0", b"3", b"5"]


def test_what_is_held_or_gone_is_missing(rig: NodeRig) -> None:
    rig.put("q", *[b"%d" % n for n in range(6)])
    rig.settle("ack", rig.get("q", 1))
    held = rig.get("q", 2)
    gone = remove(rig, (0, 4), (6, 3))
    assert (gone["count"], gone["missing"]) == (1, [[0, 3], [6, 3]])
    assert remove(rig, (3, 1))["missing"] == [[3, 1]]
    assert rig.settle("ack", held)["count"] == 2
    assert rig.get("q").bodies() == [b"4", b"5"]


def test_what_came_back_or_rests_is_removed_with_its_attempts(rig: NodeRig) -> None:
    rig.put("q", *[b"%d" % n for n in range(4)])
    rig.settle("nack", rig.get("q", 1), delay_ms=MINUTE)
    rig.settle("nack", rig.get("q", 1), delay_ms=0)
    rig.settle("nack", rig.get("q", 1), charge=False)
    assert remove(rig, (0, 3))["count"] == 3
    rig.pass_time(MINUTE)
    assert rig.get("q").bodies() == [b"3"]
    require_sound(rig, rig.queue("q"))


def test_a_delayed_message_is_cancelled_before_its_instant(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", b"c", delay_ms=MINUTE)
    rig.put("q", b"d", delay_ms=2 * MINUTE, priority=9)
    assert remove(rig, (1, 1), (3, 1))["count"] == 2
    assert rig.stats("q")["delayed"] == 2
    assert remove(rig, (1, 1))["missing"] == [[1, 1]]
    rig.crash()
    rig.hello()
    rig.pass_time(2 * MINUTE)
    assert rig.get("q").bodies() == [b"a", b"c"]
    require_sound(rig, rig.queue("q"))


def test_a_message_is_cancelled_by_its_id(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="q", settings={"index_ids": True})
    put_ids(rig, "a", "b", delay_ms=MINUTE)
    put_ids(rig, "b", "c")
    held = rig.get("q", 2)
    gone = remove(rig, ids=["b", "c", b"nobody"])
    assert (gone["count"], gone["missing"]) == (1, ["c", b"nobody"])
    rig.settle("ack", held)
    rig.pass_time(MINUTE)
    assert rig.get("q").bodies() == [b"a"]


def test_a_message_with_an_instant_of_its_own_is_cancelled_by_its_id(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="q", settings={"index_ids": True})
    instants = [rig.now + MINUTE, rig.now + 2 * MINUTE, None]
    columns = msgpack.packb({"at_ms": instants, "ids": ["a", "b", "c"]})
    rig.ask(PEER, "put", columns, msgpack.packb([b"a", b"b", b"c"]), queue="q", count=3)
    assert remove(rig, ids=["b"])["count"] == 1
    rig.pass_time(2 * MINUTE)
    assert [rig.get("q").bodies() for _ in range(3)] == [[b"a"], [b"c"], []]
    require_sound(rig, rig.queue("q"))


def test_ids_need_an_index_and_one_of_both_is_named(rig: NodeRig) -> None:
    rig.put("q", b"a")
    assert remove(rig, ids=["a"])["error"] == "ids_not_indexed"
    assert remove(rig)["error"] == "bad_field"
    assert remove(rig, (0, 1), ids=["a"])["error"] == "bad_field"
    assert remove(rig, (0, limits.BATCH_COUNT_MAX + 1))["error"] == "too_large"


def test_it_is_answered_only_when_it_is_durable(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b")
    req = rig.command(PEER, "remove", queue="q", ranges=[[0, 1]])
    assert req not in [sent.req for sent in rig.turn()]
    rig.crash()
    rig.hello()
    assert rig.stats("q")["ready"] == 2
    assert remove(rig, (0, 1))["count"] == 1
    rig.crash()
    rig.hello()
    assert rig.get("q").bodies() == [b"b"]


def test_two_removals_of_one_turn_take_a_message_once(rig: NodeRig) -> None:
    rig.put("q", b"a", delay_ms=MINUTE)
    rig.put("q", b"b")
    for _ in range(2):
        rig.command(PEER, "remove", queue="q", ranges=[[0, 2]])
    answers = [sent for sent in rig.run() if sent.re == "ok"]
    assert [(sent["count"], sent["missing"]) for sent in answers] == [(2, []), (0, [[0, 2]])]
    require_sound(rig, rig.queue("q"))


def test_a_purge_and_a_removal_agree(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", delay_ms=MINUTE)
    rig.command(PEER, "remove", queue="q", ranges=[[0, 1]])
    rig.command(PEER, "purge", queue="q")
    rig.command(PEER, "remove", queue="q", ranges=[[1, 1]])
    counts = [sent["count"] for sent in rig.run() if sent.re == "ok"]
    assert counts == [1, 1, 0]
    require_sound(rig, rig.queue("q"))
    rig.pass_time(MINUTE)
    assert rig.get("q").bodies() == []


def test_a_cancelled_delay_leaves_the_disk_long_before_its_instant(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", delay_ms=YEAR)
    remove(rig, (0, 2))
    for _ in range(20):
        rig.put("churn", b"x" * 100)
        rig.settle("ack", rig.get("churn"))
        rig.put("q", b"x" * 100)
        rig.settle("ack", rig.get("q"))
    assert rig.rows(Family.DUE) == []


def test_nothing_of_what_was_removed_stays_in_memory(rig: NodeRig) -> None:
    for number in range(50):
        rig.put("q", b"x", b"y", delay_ms=YEAR)
        remove(rig, (2 * number, 1))
    assert len(rig.queue("q").claimed) == 0
    assert rig.stats("q")["delayed"] == 50


def test_a_removal_that_was_confirmed_survives_a_crash_with_any_write() -> None:
    for write in range(1, 40):
        rig = NodeRig()
        rig.hello()
        rig.store.crash_in = write
        removed: list[int] = []
        try:
            _put_and_remove(rig, removed)
        except CrashPoint:
            rig.crash(write % 2)
        rig.store.crash_in = None
        rig.crash()
        rig.hello()
        rig.ask(PEER, "declare", queue="q")
        rig.pass_time(MINUTE)
        rig.pass_time(MINUTE)
        assert not set(rig.get("q", 1_000).positions()) & set(removed), write
        require_sound(rig, rig.queue("q"))


def _put_and_remove(rig: NodeRig, removed: list[int]) -> None:
    for number in range(6):
        rig.put("q", b"a" * 50, b"b", delay_ms=MINUTE * (number % 3))
        position = 2 * number + number % 2
        if remove(rig, (position, 1))["count"]:
            removed.append(position)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_removed_and_whenever_the_rest_is_there_once(seed: int) -> None:
    random_ = random.Random(seed)
    rig = NodeRig()
    rig.hello(timeout_ms=limits.SESSION_TIMEOUT_MAX)
    live: set[int] = set()
    held: list[Sent] = []
    put = 0
    for _ in range(60):
        step = random_.randrange(6)
        if step <= 1:
            count = random_.randrange(1, 6)
            delay_ms = random_.choice([0, 0, SECOND, 5 * SECOND])
            bodies = [b"%d" % n for n in range(put, put + count)]
            rig.put("q", *bodies, delay_ms=delay_ms, priority=random_.randrange(3, 6))
            live |= set(range(put, put + count))
            put += count
        elif step == 2 and put:
            first, count = random_.randrange(put), random_.randrange(1, 8)
            gone = remove(rig, (first, count))
            missing = {p for low, size in gone["missing"] for p in range(low, low + size)}
            taken = set(range(first, first + count)) - missing
            assert taken <= live
            live -= taken
        elif step == 3:
            held.append(rig.get("q", random_.randrange(1, 5)))
        elif step == 4 and held:
            delivery = held.pop()
            if delivery["runs"]:
                cmd = random_.choice(["ack", "nack"])
                lost = rig.settle(cmd, delivery)
                assert "lost" not in lost.header
                if cmd == "ack":
                    live -= set(delivery.positions())
        elif random_.randrange(4):
            rig.pass_time(random_.randrange(1, 2 * SECOND))
        else:
            rig.crash()
            rig.hello(timeout_ms=limits.SESSION_TIMEOUT_MAX)
            held = []
        if put:
            require_sound(rig, rig.queue("q"))
            found = rig.ask(PEER, "browse", queue="q").positions()
            assert set(found) == live
            assert found == sorted(found)


def put_keyed(rig: NodeRig, *keys: str) -> None:
    """One message for each key, whose body is its number."""
    rig.ask(PEER, "declare", queue="q", settings={"ordering": "key"})
    batch = msgpack.packb([b"%d" % n for n in range(len(keys))])
    columns = msgpack.packb({"keys": list(keys)})
    rig.ask(PEER, "put", columns, batch, queue="q", count=len(keys))


def test_what_waits_behind_its_key_is_browsed_and_removed(rig: NodeRig) -> None:
    put_keyed(rig, "a", "a", "b", "a")
    held = rig.get("q", 1)
    assert held.positions() == [0]
    states = [m.run["state"] for m in rig.ask(PEER, "browse", queue="q").messages()]
    assert states == ["in_flight", *["ready"] * 3]
    gone = remove(rig, (0, 2))
    assert (gone["count"], gone["missing"]) == (1, [[0, 1]])
    rig.settle("ack", held)
    got = [rig.get("q", 1) for _ in range(2)]
    assert sorted(body for each in got for body in each.bodies()) == [b"2", b"3"]
