"""Queues as things: declare, stats, lists, purge, delete and made again."""

from __future__ import annotations

import pytest

from broker.errors import (
    BadField,
    QueueNotEmpty,
    QueueNotFound,
    SettingsMismatch,
    UnknownSetting,
)
from tests.support.node_rig import PEER, NodeRig


def declare(rig: NodeRig, **settings: object) -> int:
    return rig.ask(PEER, "declare", queue="q", settings=settings).code


def test_declare_is_idempotent_and_tells_other_settings(rig: NodeRig) -> None:
    first = rig.ask(PEER, "declare", queue="q", settings={"lease_ms": 5_000})
    again = rig.ask(PEER, "declare", queue="q", settings={"lease_ms": 5_000})
    assert (first["created"], again["created"]) == (True, False)
    assert first["uuid"] == again["uuid"]
    assert rig.ask(PEER, "declare", queue="q")["created"] is False
    assert declare(rig, lease_ms=6_000) == SettingsMismatch.code


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"nonsense": 1}, UnknownSetting.code),
        ({"lease_ms": 1}, BadField.code),
        ({"lease_ms": None}, BadField.code),
        ({"ttl_ms": "5"}, BadField.code),
        ({"max_messages": True}, BadField.code),
        ({"ttl_ms": None}, 0),
    ],
)
def test_settings_are_checked(rig: NodeRig, settings: dict[str, object], code: int) -> None:
    assert declare(rig, **settings) == code


def test_settings_outlive_a_restart_by_log_and_by_checkpoint(rig: NodeRig) -> None:
    declare(rig, lease_ms=5_000, max_bytes=77)
    for end in (rig.crash, rig.restart):
        end()
        rig.hello()
        settings = rig.stats("q")["settings"]
        assert (settings["lease_ms"], settings["max_bytes"]) == (5_000, 77)


def test_stats_count_by_state_and_priority(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", b"c")
    rig.put("q", b"d", priority=9)
    rig.settle("nack", rig.get("q", 1), delay_ms=9_000)
    rig.get("q", 1)
    stats = rig.stats("q")
    assert (stats["ready"], stats["in_flight"], stats["delayed"]) == (2, 1, 1)
    assert (stats["messages"], stats["by_priority"]) == (4, {"4": 3, "9": 1})
    assert rig.ask(PEER, "stats")["stats"]["messages"] == 4
    assert rig.ask(PEER, "stats", queue="none").code == QueueNotFound.code


def test_queues_are_listed_in_pages(rig: NodeRig) -> None:
    for name in ("d", "a", "c", "b"):
        rig.put(name, b"x")
    page = rig.ask(PEER, "queues", max=3)
    assert (page["queues"], page["more"]) == (["a", "b", "c"], True)
    page = rig.ask(PEER, "queues", after="c")
    assert (page["queues"], page["more"]) == (["d"], False)


def test_purge_removes_ready_and_delayed_ones(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", b"c")
    rig.settle("nack", rig.get("q", 1), delay_ms=9_000)
    held = rig.get("q", 1)
    assert rig.ask(PEER, "purge", queue="q")["count"] == 2
    assert rig.stats("q")["messages"] == 1
    assert rig.settle("ack", held)["count"] == 1
    rig.pass_time(10_000)
    assert rig.get("q").messages() == []
    assert rig.stats("q")["bytes"] == 0


def test_two_purges_on_their_way_together_remove_each_message_once(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b")
    reqs = [rig.command(PEER, "purge", queue="q") for _ in range(2)]
    counts = {s.req: s["count"] for s in rig.run()}
    assert [counts[req] for req in reqs] == [2, 0]
    assert rig.stats("q")["ready"] == 0


def test_a_purge_beside_a_return_on_its_way_counts_nothing_twice(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b")
    got = rig.get("q", 1)
    settle = {"queue": "q", "tag": got["tag"], "ranges": got.ranges()}
    rig.command(PEER, "nack", delay_ms=0, **settle)
    purge = rig.command(PEER, "purge", queue="q")
    stats = rig.command(PEER, "stats", queue="q")
    answers = {s.req: s for s in rig.run()}
    assert answers[purge]["count"] == 2
    assert answers[stats]["stats"]["ready"] >= 0
    assert rig.stats("q")["messages"] == 0


def test_delete_asks_for_an_empty_queue_unless_forced(rig: NodeRig) -> None:
    rig.put("q", b"a")
    assert rig.ask(PEER, "delete", queue="q").code == QueueNotEmpty.code
    assert rig.ask(PEER, "delete", queue="q", if_empty=False)["count"] == 1
    assert rig.ask(PEER, "delete", queue="q").code == QueueNotFound.code


def test_a_queue_made_again_is_another_queue(rig: NodeRig) -> None:
    rig.put("q", b"old", b"older", producer=b"p", seq=0)
    uuid = rig.stats("q")["uuid"]
    held = rig.get("q", 1)
    rig.command(PEER, "delete", queue="q", if_empty=False)
    rig.command(PEER, "put", b"\x91\xc4\x03new", queue="q", count=1)
    rig.run()
    assert rig.stats("q")["uuid"] != uuid
    assert rig.settle("ack", held).code == 301
    rig.crash()
    rig.hello()
    assert rig.get("q").bodies() == [b"new"]
    assert rig.put("q", b"x", producer=b"p", seq=1)["error"] == "producer_expired"
