"""Reschedule: a message that waits gets another instant, and keeps its place and its attempts."""

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


@pytest.fixture
def rig() -> NodeRig:
    rig = NodeRig()
    rig.hello(timeout_ms=limits.SESSION_TIMEOUT_MAX)
    return rig


def reschedule(rig: NodeRig, *ranges: tuple[int, int], **fields: Any) -> Sent:
    if ranges:
        fields["ranges"] = [list(each) for each in ranges]
    return rig.ask(PEER, "reschedule", queue="q", **fields)


def take(rig: NodeRig, count: int = 1_000) -> list[bytes]:
    """Gets messages and settles them."""
    got = rig.get("q", count)
    if got["runs"]:
        rig.settle("ack", got)
    return got.bodies()


def again(rig: NodeRig) -> None:
    """The broker is killed and starts again."""
    rig.crash()
    rig.hello(timeout_ms=limits.SESSION_TIMEOUT_MAX)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_ready_message_waits_and_then_has_its_old_place(rig: NodeRig, restarts: bool) -> None:
    rig.put("q", b"a", b"b", b"c")
    assert reschedule(rig, (0, 1), delay_ms=MINUTE)["count"] == 1
    if restarts:
        again(rig)
    assert rig.stats("q")["ready"] == 2
    rig.pass_time(MINUTE - 1)
    assert rig.get("q", 1).bodies() == [b"b"]
    rig.pass_time(1)
    assert rig.get("q").bodies() == [b"a", b"c"]
    require_sound(rig, rig.queue("q"))


@pytest.mark.parametrize("restarts", [False, True])
def test_a_delayed_message_is_moved_earlier_and_later(rig: NodeRig, restarts: bool) -> None:
    rig.put("q", b"a", b"b", b"c", delay_ms=2 * MINUTE)
    assert reschedule(rig, (0, 1), at_ms=rig.now + MINUTE)["count"] == 1
    assert reschedule(rig, (2, 1), at_ms=rig.now + 3 * MINUTE)["count"] == 1
    if restarts:
        again(rig)
    assert rig.stats("q")["delayed"] == 3
    for expected in (b"a", b"b", b"c"):
        rig.pass_time(MINUTE - 1)
        assert take(rig) == []
        rig.pass_time(1)
        assert take(rig) == [expected]
        require_sound(rig, rig.queue("q"))


@pytest.mark.parametrize("restarts", [False, True])
def test_an_instant_in_the_past_is_now(rig: NodeRig, restarts: bool) -> None:
    rig.put("q", b"a", b"b", delay_ms=MINUTE)
    rig.put("q", b"c")
    assert reschedule(rig, (1, 1), at_ms=1)["count"] == 1
    if restarts:
        again(rig)
    assert rig.stats("q")["ready"] == 2
    held = rig.get("q")
    assert held.bodies() == [b"b", b"c"]
    assert [message.attempts for message in held.messages()] == [0, 0]
    rig.settle("ack", held)
    rig.pass_time(MINUTE)
    assert rig.get("q").bodies() == [b"a"]
    require_sound(rig, rig.queue("q"))


def test_what_rests_after_a_nack_keeps_its_attempts(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b")
    rig.settle("nack", rig.get("q", 1), delay_ms=MINUTE)
    assert reschedule(rig, (0, 1), delay_ms=0)["count"] == 1
    again(rig)
    found = rig.get("q", 1).messages()
    assert [(message.body, message.attempts) for message in found] == [(b"a", 1)]


def test_it_may_be_moved_again_and_again(rig: NodeRig) -> None:
    rig.put("q", b"a", delay_ms=YEAR)
    for minutes in (5, 1, 3, 2):
        assert reschedule(rig, (0, 1), delay_ms=minutes * MINUTE)["count"] == 1
    rig.pass_time(2 * MINUTE - 1)
    assert rig.get("q").bodies() == []
    rig.pass_time(1)
    assert rig.get("q").bodies() == [b"a"]
    require_sound(rig, rig.queue("q"))


def test_what_is_held_or_gone_is_missing(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", b"c")
    rig.settle("ack", rig.get("q", 1))
    held = rig.get("q", 1)
    moved = reschedule(rig, (0, 5), delay_ms=MINUTE)
    assert (moved["count"], moved["missing"]) == (1, [[0, 2], [3, 2]])
    assert rig.settle("ack", held)["count"] == 1


def test_messages_are_moved_by_their_ids(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="q", settings={"dedup": "unsettled"})
    columns = msgpack.packb({"ids": ["a", "b"]})
    rig.ask(PEER, "put", columns, msgpack.packb([b"a", b"b"]), queue="q", count=2, delay_ms=YEAR)
    moved = reschedule(rig, ids=["b", "c"], delay_ms=MINUTE)
    assert (moved["count"], moved["missing"]) == (1, ["c"])
    again(rig)
    rig.pass_time(MINUTE)
    assert rig.get("q").bodies() == [b"b"]
    assert rig.ask(PEER, "remove", queue="q", ids=["a"])["count"] == 1


def test_one_of_several_own_instants_is_moved(rig: NodeRig) -> None:
    columns = msgpack.packb({"at_ms": [rig.now + MINUTE, rig.now + 2 * MINUTE, None]})
    rig.ask(PEER, "put", columns, msgpack.packb([b"a", b"b", b"c"]), queue="q", count=3)
    assert reschedule(rig, (1, 1), delay_ms=0)["count"] == 1
    assert reschedule(rig, (0, 1), delay_ms=3 * MINUTE)["count"] == 1
    again(rig)
    assert take(rig) == [b"b", b"c"]
    rig.pass_time(2 * MINUTE)
    assert take(rig) == []
    rig.pass_time(MINUTE)
    assert take(rig) == [b"a"]
    require_sound(rig, rig.queue("q"))


def test_a_message_lives_no_longer_for_it(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", ttl_ms=MINUTE)
    rig.put("q", b"c", ttl_ms=MINUTE, delay_ms=MINUTE)
    reschedule(rig, (0, 1), delay_ms=2 * MINUTE)
    reschedule(rig, (2, 1), delay_ms=0)
    rig.pass_time(MINUTE)
    rig.pass_time(SECOND)
    assert rig.stats("q")["counters"]["expired"] == 2
    assert rig.get("q").bodies() == [b"c"]


def test_who_held_it_before_a_restart_does_not_settle_it_after_it_was_moved(rig: NodeRig) -> None:
    rig.put("q", b"a")
    held = rig.get("q")
    again(rig)
    assert reschedule(rig, (0, 1), delay_ms=MINUTE)["count"] == 1
    assert rig.settle("ack", held)["error"] == "lease_lost"


def test_an_instant_is_named_once(rig: NodeRig) -> None:
    rig.put("q", b"a")
    assert reschedule(rig, (0, 1))["error"] == "bad_field"
    assert reschedule(rig, (0, 1), at_ms=1, delay_ms=1)["error"] == "bad_field"
    assert reschedule(rig, delay_ms=1)["error"] == "bad_field"


def test_a_purge_takes_what_was_moved(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", delay_ms=MINUTE)
    rig.command(PEER, "reschedule", queue="q", ranges=[[0, 1]], delay_ms=0)
    rig.ask(PEER, "purge", queue="q")
    rig.pass_time(MINUTE)
    assert rig.get("q").bodies() == []
    require_sound(rig, rig.queue("q"))


def test_what_was_moved_and_settled_leaves_the_disk_before_its_first_instant(rig: NodeRig) -> None:
    rig.put("q", b"a", delay_ms=YEAR)
    reschedule(rig, (0, 1), delay_ms=0)
    rig.settle("ack", rig.get("q"))
    for _ in range(20):
        rig.put("q", b"x" * 100)
        rig.settle("ack", rig.get("q"))
    assert rig.rows(Family.DUE) == []


def test_moves_outlive_a_crash_with_any_write() -> None:
    for write in range(1, 40):
        rig = NodeRig()
        rig.hello(timeout_ms=limits.SESSION_TIMEOUT_MAX)
        rig.store.crash_in = write
        moved: set[int] = set()
        try:
            _put_and_move(rig, moved)
        except CrashPoint:
            rig.crash(write % 2)
        rig.store.crash_in = None
        again(rig)
        rig.ask(PEER, "declare", queue="q")
        found = rig.get("q", 1_000)
        assert moved <= set(found.positions()), write
        rig.settle("ack", found)
        require_sound(rig, rig.queue("q"))


def _put_and_move(rig: NodeRig, moved: set[int]) -> None:
    for number in range(6):
        rig.put("q", b"a" * 50, b"b", delay_ms=MINUTE)
        if reschedule(rig, (2 * number, 1), delay_ms=0)["count"]:
            moved.add(2 * number)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_moved_comes_at_its_instant_and_once(seed: int) -> None:
    random_ = random.Random(seed)
    rig = NodeRig()
    rig.hello(timeout_ms=limits.SESSION_TIMEOUT_MAX)
    due: dict[int, int] = {}
    put = 0
    for _ in range(60):
        step = random_.randrange(5)
        if step == 0:
            count, delay_ms = random_.randrange(1, 6), random_.choice([0, SECOND, MINUTE])
            rig.put("q", *[b"x"] * count, delay_ms=delay_ms, priority=random_.randrange(4, 6))
            due |= dict.fromkeys(range(put, put + count), rig.now + delay_ms)
            put += count
        elif step == 1 and put:
            first, count = random_.randrange(put), random_.randrange(1, 5)
            at = rig.now + random_.choice([-1, 0, SECOND, MINUTE])
            answer = reschedule(rig, (first, count), at_ms=at)
            missing = {p for low, size in answer["missing"] for p in range(low, low + size)}
            for position in set(range(first, first + count)) - missing:
                assert position in due
                due[position] = at
            assert not (missing & set(due))
        elif step == 2:
            got = rig.get("q", 3)
            ready = {position for position, at in due.items() if at <= rig.now}
            assert set(got.positions()) <= ready
            assert len(got.positions()) == min(3, len(ready))
            if got["runs"]:
                rig.settle("ack", got)
            for position in got.positions():
                del due[position]
        elif step == 3:
            rig.pass_time(random_.randrange(1, MINUTE // 4))
        elif random_.randrange(3) == 0:
            again(rig)
        if put:
            require_sound(rig, rig.queue("q"))
    rig.pass_time(MINUTE)
    assert set(rig.get("q", 1_000).positions()) == set(due)
