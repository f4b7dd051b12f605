"""What a transient queue can do: all that needs no row on the disk."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker.limits import HOUR
from tests.support.node_rig import PEER, NodeRig, Sent

SECOND = 1_000


@pytest.fixture
def rig(rig: NodeRig) -> NodeRig:
    """Its queue ``q`` is transient."""
    declare(rig)
    return rig


def declare(rig: NodeRig, **settings: Any) -> Sent:
    return rig.ask(PEER, "declare", queue="q", settings={"durable": False, **settings})


def come_back(rig: NodeRig) -> None:
    rig.crash()
    rig.hello()


def put_timed(rig: NodeRig, *timed: tuple[bytes, int]) -> Sent:
    columns = msgpack.packb({"at_ms": [at for _, at in timed]})
    batch = msgpack.packb([body for body, _ in timed])
    return rig.ask(PEER, "put", columns, batch, queue="q", count=len(timed))


def held(rig: NodeRig) -> int:
    """Stored batches in memory."""
    return rig.machine("q").transient.memory.batches


@pytest.mark.parametrize(
    "setting",
    [
        {"dead_letter": "dead"},
        {"dedup": "window"},
        {"dedup": "unsettled"},
        {"index_ids": True},
        {"partitions": 2},
    ],
)
def test_what_needs_the_disk_is_refused_by_name(rig: NodeRig, setting: dict[str, Any]) -> None:
    (name,) = setting
    made = rig.ask(PEER, "declare", queue="other", settings={"durable": False, **setting})
    assert (made["error"], name in made["text"]) == ("bad_field", True)
    assert rig.ask(PEER, "update", queue="q", settings=setting)["error"] == "bad_field"


def test_nothing_leaves_for_another_queue(rig: NodeRig) -> None:
    assert rig.ask(PEER, "redrive", queue="q", to="other")["error"] == "bad_field"
    rig.put("q", b"a")
    delivery = rig.get("q")
    settles = [{"queue": "q", "tag": delivery["tag"], "ranges": delivery.ranges()}]
    frames = msgpack.packb([])
    refused = rig.ask(
        PEER, "transact", frames, queue="q", settles=settles, puts=[], producer=b"p", seq=0
    )
    assert refused["error"] == "bad_field"
    assert rig.settle("ack", delivery).re == "ok"


def test_what_fails_too_often_is_dropped_and_counted(rig: NodeRig) -> None:
    rig.ask(PEER, "update", queue="q", settings={"max_attempts": 2, "backoff_ms": 10})
    rig.put("q", b"a")
    rig.settle("nack", rig.get("q"))
    rig.pass_time(SECOND)
    again = rig.get("q")
    assert [m.attempts for m in again.messages()] == [1]
    rig.settle("nack", again)
    stats = rig.stats("q")
    assert (stats["messages"], stats["counters"]["dropped"]) == (0, 1)
    assert held(rig) == 0


def test_a_lease_that_ends_gives_the_message_back(rig: NodeRig) -> None:
    rig.put("q", b"a")
    rig.get("q", lease_ms=2 * SECOND)
    rig.pass_time(3 * SECOND)
    assert [(m.body, m.attempts) for m in rig.get("q").messages()] == [(b"a", 1)]


def test_priorities_delays_and_instants_hold(rig: NodeRig) -> None:
    rig.put("q", b"later", delay_ms=2 * SECOND)
    rig.put("q", b"plain")
    rig.put("q", b"urgent", priority=9)
    put_timed(rig, (b"third", rig.now + 3 * SECOND), (b"first", rig.now + SECOND))
    assert rig.stats("q")["delayed"] == 3
    assert rig.get("q").bodies() == [b"urgent", b"plain"]
    came: list[list[bytes]] = []
    for _ in range(3):
        rig.pass_time(SECOND)
        came.append(rig.get("q").bodies())
    assert came == [[b"first"], [b"later"], [b"third"]]


def test_delayed_messages_come_due_however_far_the_disks_index_was_read(rig: NodeRig) -> None:
    rig.put("q", b"kept", delay_ms=HOUR)
    rig.put("durable", b"a", delay_ms=SECOND)
    rig.pass_time(2 * SECOND)
    rig.put("q", b"b", delay_ms=1)
    rig.pass_time(10)
    rig.pass_time(10)
    assert rig.get("q").bodies() == [b"b"]
    assert rig.stats("q")["delayed"] == 1


def test_what_lives_too_long_expires(rig: NodeRig) -> None:
    rig.put("q", b"a", ttl_ms=SECOND)
    rig.put("q", b"held", ttl_ms=SECOND)
    rig.get("q", 1)
    rig.pass_time(2 * SECOND)
    stats = rig.stats("q")
    assert (stats["messages"], stats["in_flight"], stats["counters"]["expired"]) == (1, 1, 1)
    for _ in range(2):
        rig.pass_time(120 * SECOND)
    assert rig.stats("q")["messages"] == 0
    assert held(rig) == 0
    assert len(rig.machine("q").transient.memory.expiry) == 0


def test_limits_refuse_and_the_oldest_give_way(rig: NodeRig) -> None:
    rig.ask(PEER, "update", queue="q", settings={"max_messages": 2})
    rig.put("q", b"a", b"b")
    assert rig.put("q", b"c")["error"] == "queue_full"
    rig.ask(PEER, "update", queue="q", settings={"overflow": "drop_oldest"})
    rig.put("q", b"c")
    assert rig.get("q").bodies() == [b"b", b"c"]


def test_a_purge_leaves_what_is_in_flight(rig: NodeRig) -> None:
    rig.put("q", b"held", b"a")
    rig.put("q", b"later", delay_ms=SECOND)
    delivery = rig.get("q", 1)
    assert rig.ask(PEER, "purge", queue="q")["count"] == 2
    assert rig.stats("q")["messages"] == 1
    rig.settle("ack", delivery)
    rig.pass_time(2 * SECOND)
    assert rig.get("q").bodies() == []
    assert held(rig) == 0


def test_messages_are_browsed_removed_and_rescheduled(rig: NodeRig) -> None:
    first = rig.put("q", b"a", b"b", b"c")["first"]
    rig.put("q", b"later", delay_ms=SECOND)
    shown = rig.ask(PEER, "browse", queue="q")
    assert msgpack.unpackb(shown.frames[-1]) == [b"a", b"b", b"c", b"later"]
    assert rig.ask(PEER, "remove", queue="q", ranges=[[first, 1, 0]])["count"] == 1
    assert rig.ask(PEER, "remove", queue="q", ranges=[[first + 3, 1, 0]])["count"] == 1
    moved = rig.ask(PEER, "reschedule", queue="q", ranges=[[first + 1, 1, 0]], delay_ms=SECOND)
    assert moved["count"] == 1
    assert rig.get("q").bodies() == [b"c"]
    rig.pass_time(SECOND)
    assert rig.get("q").bodies() == [b"b"]
    rig.pass_time(2 * HOUR)
    assert rig.machine("q").due_rows == {}


def test_keys_keep_their_order(rig: NodeRig) -> None:
    rig.ask(PEER, "update", queue="q", settings={"ordering": "key"})
    for number, key in enumerate(["x", "y", "x"]):
        rig.put("q", b"%d" % number, key=key)
    delivery = rig.get("q")
    assert delivery.bodies() == [b"0", b"1"]
    rig.settle("ack", delivery)
    assert rig.get("q").bodies() == [b"2"]


def test_selectors_choose(rig: NodeRig) -> None:
    rig.put("q", b"a", type="odd")
    rig.put("q", b"b", type="even")
    assert rig.get("q", selector=[["$type", "=", "even"]]).bodies() == [b"b"]


def test_a_paused_queue_hands_nothing_on(rig: NodeRig) -> None:
    rig.ask(PEER, "update", queue="q", settings={"paused": True})
    rig.put("q", b"a")
    assert rig.get("q").bodies() == []
    rig.ask(PEER, "update", queue="q", settings={"paused": False})
    assert rig.get("q").bodies() == [b"a"]


def test_auto_ack_takes_for_good(rig: NodeRig) -> None:
    rig.put("q", b"a")
    assert rig.get("q", auto_ack=True).bodies() == [b"a"]
    assert (rig.stats("q")["messages"], held(rig)) == (0, 0)


def test_dead_letters_may_go_to_a_transient_queue(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="work", settings={"dead_letter": "q"})
    rig.put("work", b"a")
    rig.settle("reject", rig.get("work"))
    rig.pass_time(SECOND)
    assert rig.get("q").bodies() == [b"a"]
    assert rig.stats("work")["messages"] == 0


def test_its_schedules_put_once_and_begin_anew_with_the_reign(rig: NodeRig) -> None:
    schedule = {"cron": "* * * * *", "zone": "UTC", "body": "tick"}
    rig.ask(PEER, "update", queue="q", settings={"schedules": {"s": schedule}})
    at = rig.now + 60 * SECOND
    assert [each.last_at for each in rig.node.recurring.schedules(rig.now)] == [rig.now]
    rig.pass_time(60 * SECOND)
    for _ in range(2):
        [scheduled] = rig.node.recurring.schedules(rig.now)
        rig.node.recurring.put_scheduled(rig.now, scheduled, at)
        rig.run()
    assert rig.get("q").bodies() == [b"tick"]
    come_back(rig)
    [scheduled] = rig.node.recurring.schedules(rig.now)
    assert scheduled.last_at == rig.now
