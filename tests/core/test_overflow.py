"""Full queues: what is refused, what is dropped, what is never dropped."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from tests.support.node_rig import PEER, NodeRig


def declare(rig: NodeRig, overflow: str = "drop_oldest", **settings: object) -> None:
    fields = {"queue": "q", "settings": {"overflow": overflow, **settings}}
    assert rig.ask(PEER, "declare", **fields).code == 0


def put_many(rig: NodeRig, count: int, **fields: object) -> list[str]:
    """Single puts that come in one turn; gives what became of each."""
    reqs = [
        rig.command(PEER, "put", msgpack.packb([b"%d" % n]), queue="q", count=1, **fields)
        for n in range(count)
    ]
    answers = {s.req: s for s in rig.run()}
    return [answers[req].header.get("error", "ok") for req in reqs]


def waiting(rig: NodeRig) -> int:
    stats = rig.stats("q")
    return int(stats["ready"] + stats["delayed"])


# What counts


def test_what_is_in_flight_does_not_count(rig: NodeRig) -> None:
    declare(rig, "reject", max_messages=2)
    rig.put("q", b"a", b"b")
    assert rig.put("q", b"c")["error"] == "queue_full"
    rig.get("q", 1)
    assert rig.put("q", b"c").re == "ok"
    assert rig.put("q", b"d")["error"] == "queue_full"


def test_what_is_on_its_way_out_does_not_count(rig: NodeRig) -> None:
    declare(rig, "reject", max_messages=2)
    rig.put("q", b"a", b"b")
    held = rig.get("q", 1)
    rig.command(PEER, "ack", queue="q", tag=held["tag"], ranges=held.ranges())
    assert put_many(rig, 2) == ["ok", "queue_full"]


def test_what_comes_back_and_what_is_delayed_counts(rig: NodeRig) -> None:
    declare(rig, "reject", max_messages=2)
    rig.put("q", b"a")
    rig.put("q", b"later", delay_ms=60_000)
    rig.settle("nack", rig.get("q"), delay_ms=60_000)
    assert (waiting(rig), rig.put("q", b"c")["error"]) == (2, "queue_full")


def test_what_is_proposed_counts(rig: NodeRig) -> None:
    declare(rig, "reject", max_messages=2)
    assert put_many(rig, 3) == ["ok", "ok", "queue_full"]


def test_bytes_in_flight_and_on_their_way_out_do_not_count(rig: NodeRig) -> None:
    declare(rig, "reject", max_bytes=250)
    for _ in range(2):
        rig.put("q", b"x" * 100)
    assert rig.put("q", b"x" * 100)["error"] == "queue_full"
    held = rig.get("q", 1)
    assert rig.put("q", b"x" * 100).re == "ok"
    rig.settle("nack", held, charge=False, delay_ms=0)
    assert rig.put("q", b"")["error"] == "queue_full"
    rig.settle("ack", rig.get("q"))
    assert rig.queue("q").leases.bytes == 0
    assert rig.put("q", b"x" * 200).re == "ok"


def test_a_batch_is_taken_or_refused_whole(rig: NodeRig) -> None:
    declare(rig, "reject", max_messages=3)
    rig.put("q", b"a")
    assert rig.put("q", b"b", b"c", b"d")["error"] == "queue_full"
    assert rig.stats("q")["messages"] == 1


# What is dropped


def test_the_oldest_gives_way_by_an_entry_and_is_counted(rig: NodeRig) -> None:
    declare(rig, max_messages=3)
    for n in range(5):
        assert rig.put("q", b"%d" % n).re == "ok"
        assert waiting(rig) <= 3
    counters = rig.stats("q")["counters"]
    assert (counters["overflowed"], counters["dropped"]) == (2, 2)
    rig.crash()
    rig.hello()
    assert rig.get("q").bodies() == [b"2", b"3", b"4"]


def test_puts_of_one_turn_leave_the_newest(rig: NodeRig) -> None:
    declare(rig, max_messages=3)
    assert put_many(rig, 20) == ["ok"] * 20
    assert rig.get("q").bodies() == [b"17", b"18", b"19"]
    assert rig.stats("q")["counters"]["overflowed"] == 17


def test_the_lowest_priority_gives_way_first(rig: NodeRig) -> None:
    declare(rig, max_messages=4)
    for body, priority in ((b"a", 9), (b"b", 0), (b"c", 4), (b"d", 0)):
        rig.put("q", body, priority=priority)
    rig.put("q", b"e", b"f", b"g", priority=7)
    assert rig.get("q").bodies() == [b"a", b"e", b"f", b"g"]


def test_one_that_came_back_gives_way_at_its_old_place(rig: NodeRig) -> None:
    declare(rig, max_messages=3)
    rig.put("q", b"a", b"b", b"c")
    first = rig.get("q", 1)
    rig.settle("nack", first, delay_ms=0)
    rig.put("q", b"d")
    assert rig.get("q").bodies() == [b"b", b"c", b"d"]


def test_a_batch_is_cut_where_enough_gave_way(rig: NodeRig) -> None:
    declare(rig, max_messages=10, max_bytes=10_000)
    rig.put("q", *[b"%d" % n for n in range(10)])
    rig.put("q", b"x", b"y", b"z")
    assert rig.get("q").bodies() == [b"%d" % n for n in range(3, 10)] + [b"x", b"y", b"z"]
    assert rig.queue("q").leases.bytes == rig.stats("q")["bytes"]


def test_bytes_make_as_many_give_way_as_needed(rig: NodeRig) -> None:
    declare(rig, max_bytes=350)
    for n in range(3):
        rig.put("q", b"%d" % n * 100)
    rig.put("q", b"x" * 150)
    assert [body[:1] for body in rig.get("q").bodies()] == [b"2", b"x"]


def test_what_can_be_handed_on_is_not_dropped(rig: NodeRig) -> None:
    declare(rig, max_messages=2)
    rig.ask(PEER, "consume", queue="q", consumer=1, credit=100)
    put_many(rig, 20)
    stats = rig.stats("q")
    assert (stats["in_flight"], stats["counters"]["overflowed"]) == (20, 0)


def test_what_is_in_flight_is_never_dropped(rig: NodeRig) -> None:
    declare(rig, max_messages=2)
    rig.put("q", b"a", b"b")
    held = rig.get("q")
    for n in range(5):
        rig.put("q", b"%d" % n)
    assert rig.settle("ack", held)["count"] == 2
    assert rig.get("q").bodies() == [b"3", b"4"]


def test_what_waits_for_an_instant_is_never_dropped(rig: NodeRig) -> None:
    declare(rig, max_messages=2)
    rig.put("q", b"now")
    rig.put("q", b"soon", delay_ms=60_000)
    rig.put("q", b"later", delay_ms=90_000)
    assert (rig.stats("q")["ready"], rig.stats("q")["delayed"]) == (0, 2)
    assert rig.put("q", b"x")["error"] == "queue_full"
    assert put_many(rig, 2, delay_ms=5) == ["queue_full"] * 2
    rig.pass_time(60_000)
    assert rig.put("q", b"x").re == "ok"
    assert rig.get("q").bodies() == [b"x"]


def test_instants_of_their_own_are_no_way_around_the_limit(rig: NodeRig) -> None:
    declare(rig, max_messages=3)
    at = rig.now + 60_000
    columns = msgpack.packb({"at_ms": [None, at]})
    reqs = [
        rig.command(PEER, "put", columns, msgpack.packb([b"a", b"b"]), queue="q", count=2)
        for _ in range(3)
    ]
    answers = {s.req: s for s in rig.run()}
    assert [answers[req].header.get("error", "ok") for req in reqs] == ["ok"] + ["queue_full"] * 2


def test_a_batch_above_the_limit_is_refused(rig: NodeRig) -> None:
    declare(rig, max_messages=2, max_bytes=1_000)
    rig.put("q", b"a", b"b")
    assert rig.put("q", b"c", b"d", b"e")["error"] == "queue_full"
    assert rig.put("q", b"x" * 2_000)["error"] == "queue_full"
    assert rig.get("q").bodies() == [b"a", b"b"]


def test_a_lower_limit_drops_what_is_above_it(rig: NodeRig) -> None:
    declare(rig, max_messages=5)
    rig.put("q", *[b"%d" % n for n in range(5)])
    rig.ask(PEER, "update", queue="q", settings={"max_messages": 2})
    assert rig.get("q").bodies() == [b"3", b"4"]


def test_a_paused_queue_drops_too(rig: NodeRig) -> None:
    declare(rig, max_messages=1, paused=True)
    put_many(rig, 3)
    assert (waiting(rig), rig.stats("q")["counters"]["overflowed"]) == (1, 2)


@pytest.mark.parametrize("limit", [{"max_messages": 50}, {"max_bytes": 500}])
def test_a_long_run_keeps_the_limit_and_counts_every_message(
    rig: NodeRig, limit: dict[str, Any]
) -> None:
    declare(rig, **limit)
    total = 0
    for n in range(120):
        count = n % 7 + 1
        assert rig.put("q", *[b"%d" % n] * count, priority=n % 3).re == "ok"
        total += count
        stats = rig.stats("q")
        assert stats["ready"] <= limit.get("max_messages", total)
        assert stats["bytes"] <= limit.get("max_bytes", stats["bytes"])
        if n % 10 == 0:
            rig.settle("ack", rig.get("q", 2))
    counters = rig.stats("q")["counters"]
    left = rig.stats("q")["messages"]
    assert counters["put"] == total == left + counters["acked"] + counters["overflowed"]
    rig.restart()
    rig.hello()
    stats = rig.stats("q")
    assert stats["messages"] == stats["ready"] == left
    bodies = rig.get("q").bodies()
    assert len(bodies) == stats["messages"]
    assert rig.queue("q").settling_messages == rig.queue("q").settling_bytes == 0


# Dead letters


def test_the_oldest_goes_to_the_dead_letter_queue(rig: NodeRig) -> None:
    declare(rig, "dead_letter_oldest", max_messages=2, dead_letter="dead")
    rig.put("dead", b"first")
    for n in range(5):
        assert rig.put("q", b"%d" % n).re == "ok"
    assert rig.get("q").bodies() == [b"3", b"4"]
    rig.pass_time(1_000)
    dead = rig.get("dead")
    assert dead.bodies() == [b"first", b"0", b"1", b"2"]
    assert dead["runs"][-1]["death"]["reason"] == "overflow"
    counters = rig.stats("q")["counters"]
    assert (counters["overflowed"], counters["dead_lettered"], counters["dropped"]) == (3, 3, 0)


def test_a_target_that_takes_nothing_does_not_let_its_source_grow_without_end(
    rig: NodeRig,
) -> None:
    dead = {"max_messages": 1}
    assert rig.ask(PEER, "declare", queue="dead", settings=dead).code == 0
    rig.put("dead", b"x")
    declare(rig, "dead_letter_oldest", max_messages=3, dead_letter="dead")
    outcomes = [rig.put("q", b"%d" % n).header.get("error", "ok") for n in range(10)]
    assert outcomes == ["ok"] * 6 + ["queue_full"] * 4
    stats = rig.stats("q")
    assert (stats["ready"], stats["departing"]) == (3, 3)
    rig.settle("ack", rig.get("dead"))
    rig.pass_time(2_000)
    assert rig.put("q", b"x").re == "ok"


def test_a_bound_of_bytes_that_is_set_later_knows_what_is_in_flight(rig: NodeRig) -> None:
    rig.put("q", b"x" * 100, b"y" * 100)
    held = rig.get("q", 1)
    rig.ask(PEER, "update", queue="q", settings={"max_bytes": 220})
    assert rig.put("q", b"x" * 100).re == "ok"
    assert rig.put("q", b"x" * 100)["error"] == "queue_full"
    rig.settle("ack", held)
    assert rig.put("q", b"x" * 100)["error"] == "queue_full"
    rig.ask(PEER, "update", queue="q", settings={"max_bytes": None})
    rig.ask(PEER, "update", queue="q", settings={"max_bytes": 220})
    rig.get("q")
    assert rig.put("q", b"x" * 100).re == "ok"
