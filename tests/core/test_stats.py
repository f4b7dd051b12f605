"""What a queue, and all of them together, tell about themselves."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker.core.choosing.rates import Rates
from tests.support.node_rig import PEER, NodeRig

OTHER = b"\0othr"


def totals(rig: NodeRig) -> dict[str, Any]:
    stats: dict[str, Any] = rig.ask(PEER, "stats")["stats"]
    return stats


# Ages


def test_the_age_is_of_the_oldest_ready_message(rig: NodeRig) -> None:
    assert rig.ask(PEER, "declare", queue="q").code == 0
    assert rig.stats("q")["oldest_ms"] is None
    rig.put("q", b"a")
    rig.pass_time(500)
    rig.put("q", b"b", priority=9)
    rig.pass_time(100)
    assert rig.stats("q")["oldest_ms"] == 600
    first = rig.get("q", 1)
    assert first.bodies() == [b"b"]
    held = rig.get("q")
    assert rig.stats("q")["oldest_ms"] is None
    rig.settle("nack", held, delay_ms=0)
    assert rig.stats("q")["oldest_ms"] == 600


def test_the_age_is_found_behind_what_is_settled_and_over_a_restart(rig: NodeRig) -> None:
    for n in range(5):
        rig.put("q", b"%d" % n)
        rig.pass_time(100)
    rig.get("q", 2, auto_ack=True)
    rig.restart()
    rig.hello()
    assert rig.stats("q")["oldest_ms"] == 300


def test_what_waits_for_its_instant_has_no_age_yet(rig: NodeRig) -> None:
    rig.put("q", b"a", delay_ms=1_000)
    rig.pass_time(500)
    assert rig.stats("q")["oldest_ms"] is None
    rig.pass_time(500)
    assert rig.stats("q")["oldest_ms"] == 1_000


# By priority


def test_ready_messages_are_told_by_priority(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", b"c")
    rig.put("q", b"d", b"e", priority=9)
    rig.put("q", b"f", priority=9, delay_ms=1_000)
    rig.put("q", b"g", priority=0, delay_ms=90_000)
    assert rig.stats("q")["ready_by_priority"] == {"4": 3, "9": 2}
    held = rig.get("q", 1)
    rig.settle("nack", rig.get("q", 2), ranges=[[4, 1]], delay_ms=60_000)
    assert rig.stats("q")["ready_by_priority"] == {"4": 2}
    rig.pass_time(1_000)
    assert rig.stats("q")["ready_by_priority"] == {"4": 2, "9": 1}
    rig.settle("nack", held, charge=False, delay_ms=0)
    assert rig.stats("q")["ready_by_priority"] == {"4": 2, "9": 2}
    assert sum(rig.stats("q")["ready_by_priority"].values()) == rig.stats("q")["ready"]


# Rates


def test_rates_are_of_the_last_ten_seconds(rig: NodeRig) -> None:
    rig.put("q", b"a")
    for _ in range(30):
        rig.put("q", *[b"x"] * 4)
        rig.settle("nack", rig.get("q", 1), delay_ms=0)
        rig.settle("ack", rig.get("q", 2))
        rig.pass_time(1_000)
        rig.stats("q")
    rates = rig.stats("q")["rates"]
    assert rates == {"in": 4.0, "out": 3.0, "ack": 2.0, "nack": 1.0}
    for _ in range(11):
        rig.pass_time(1_000)
        rates = rig.stats("q")["rates"]
    assert set(rates.values()) == {0.0}


def test_who_asks_seldom_hears_of_the_time_since_then() -> None:
    rates = Rates(0)
    counters = {"put": 0, "delivered": 0, "acked": 0, "nacked": 0}
    rates.per_second(1_000, counters)
    assert rates.per_second(61_000, {**counters, "put": 600})["in"] == 10.0
    assert rates.per_second(61_500, {**counters, "put": 1_200})["in"] == pytest.approx(1_200 / 60.5)
    assert rates.per_second(71_500, {**counters, "put": 1_200})["in"] == pytest.approx(600 / 10.5)


# Who takes


def test_consumers_are_listed_in_the_order_of_their_coming(rig: NodeRig) -> None:
    rig.hello(OTHER)
    rig.put("q", b"a", b"b", b"c")
    rig.ask(PEER, "consume", queue="q", consumer=3, credit=2, priority=4)
    rig.ask(OTHER, "consume", queue="q", consumer=8, credit=5, credit_bytes=1_000)
    first, second = rig.stats("q")["consumer_list"]
    assert first["credit_bytes"] > second["credit_bytes"]
    del first["credit_bytes"], second["credit_bytes"]
    assert first == {
        "client": "rig",
        "consumer": 3,
        "in_flight": 2,
        "credit": 0,
        "priority": 4,
        "active": True,
    }
    assert (second["consumer"], second["in_flight"], second["credit"]) == (8, 1, 4)
    assert rig.stats("q")["consumers"] == 2


# Counters


def test_every_way_out_of_a_queue_has_its_counter(rig: NodeRig) -> None:
    settings = {"max_messages": 10, "overflow": "drop_oldest", "max_attempts": 1}
    rig.ask(PEER, "declare", queue="q", settings=settings)

    def counted(name: str) -> int:
        return int(rig.stats("q")["counters"][name])

    rig.put("q", b"a", b"b", b"c", b"d")
    rig.settle("ack", rig.get("q", 1))
    rig.settle("reject", rig.get("q", 1))
    rig.settle("nack", rig.get("q", 1), delay_ms=0)
    rig.get("q", 1, auto_ack=True)
    rig.put("q", b"e", ttl_ms=1_000)
    rig.pass_time(1_000)
    rig.put("q", *[b"x"] * 8)
    rig.put("q", *[b"x"] * 5)
    rig.ask(PEER, "remove", queue="q", ranges=[[10, 1]])
    rig.ask(PEER, "purge", queue="q")
    assert rig.stats("q")["messages"] == 0
    names = ("acked", "rejected", "exhausted", "expired", "overflowed", "removed", "purged")
    assert [counted(name) for name in names] == [2, 1, 1, 1, 3, 1, 9]
    assert counted("dropped") == 1 + 1 + 1 + 3
    assert counted("put") == sum(counted(name) for name in names)


def test_messages_that_go_with_their_queue_are_counted(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b")
    rig.put("other", b"c")
    rig.ask(PEER, "delete", queue="q", if_empty=False)
    assert totals(rig)["deleted_messages"] == 2
    rig.crash()
    rig.hello()
    assert totals(rig)["deleted_messages"] == 0


# All queues


def test_totals_are_over_all_queues(rig: NodeRig) -> None:
    for name in ("a", "b", "c"):
        rig.put(name, b"1", b"2")
    rig.put("c", b"3", delay_ms=5_000)
    rig.get("a", 1)
    rig.ask(PEER, "consume", queue="b", consumer=1, credit=0)
    rig.command(PEER, "get", queue="none", max=1, timeout_ms=9_000)
    rig.ask(PEER, "update", queue="c", settings={"paused": True})
    found = totals(rig)
    names = ("ready", "in_flight", "delayed", "departing", "messages", "queues")
    assert [found[name] for name in names] == [5, 1, 1, 0, 7, 4]
    assert (found["consumers"], found["waiting_gets"], found["paused"]) == (1, 1, 1)


# Purge


def test_a_purge_keeps_the_confirms_that_wait(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b")
    put = rig.command(PEER, "put", msgpack.packb([b"c"]), queue="q", count=1)
    assert [s for s in rig.turn() if s.req == put] == []
    purge = rig.command(PEER, "purge", queue="q")
    answers = {s.req: s for s in rig.run()}
    assert (answers[put].re, answers[purge]["count"]) == ("ok", 2)
    assert rig.get("q").bodies() == [b"c"]
