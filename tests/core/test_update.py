"""``update``: other settings for a queue that lives."""

from __future__ import annotations

import msgpack
import pytest

from broker.errors import (
    BadField,
    QueueNotEmpty,
    QueueNotFound,
    SettingsMismatch,
    UnknownSetting,
)
from tests.support.node_rig import PEER, NodeRig


def update(rig: NodeRig, **settings: object) -> int:
    return rig.ask(PEER, "update", queue="q", settings=settings).code


def test_update_answers_with_all_settings(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="q", settings={"lease_ms": 5_000})
    answer = rig.ask(PEER, "update", queue="q", settings={"ttl_ms": 7_000})
    assert answer["uuid"] == rig.stats("q")["uuid"]
    assert answer["settings"] == rig.stats("q")["settings"]
    assert (answer["settings"]["lease_ms"], answer["settings"]["ttl_ms"]) == (5_000, 7_000)


def test_update_is_answered_when_it_is_durable(rig: NodeRig) -> None:
    rig.put("q", b"a")
    req = rig.command(PEER, "update", queue="q", settings={"lease_ms": 5_000})
    assert [s for s in rig.turn() if s.req == req] == []
    assert [s.re for s in rig.run() if s.req == req] == ["ok"]
    assert rig.stats("q")["settings"]["lease_ms"] == 5_000


def test_updated_settings_outlive_a_restart_by_log_and_by_checkpoint(rig: NodeRig) -> None:
    rig.put("q", b"a")
    assert update(rig, lease_ms=5_000, paused=True) == 0
    for end in (rig.crash, rig.restart):
        end()
        rig.hello()
        settings = rig.stats("q")["settings"]
        assert (settings["lease_ms"], settings["paused"]) == (5_000, True)
        assert rig.get("q").messages() == []


def test_an_update_that_was_not_durable_is_gone_with_the_crash(rig: NodeRig) -> None:
    rig.put("q", b"a")
    rig.command(PEER, "update", queue="q", settings={"paused": True})
    rig.turn()
    rig.crash()
    rig.hello()
    assert rig.stats("q")["settings"]["paused"] is False
    assert rig.get("q").bodies() == [b"a"]


def test_two_updates_on_their_way_together_both_count(rig: NodeRig) -> None:
    rig.put("q", b"a")
    rig.command(PEER, "update", queue="q", settings={"lease_ms": 5_000})
    rig.command(PEER, "update", queue="q", settings={"ttl_ms": 9_000})
    rig.run()
    settings = rig.stats("q")["settings"]
    assert (settings["lease_ms"], settings["ttl_ms"]) == (5_000, 9_000)


def test_what_comes_behind_an_update_goes_by_it_at_once(rig: NodeRig) -> None:
    rig.put("q", b"a")
    rig.command(PEER, "update", queue="q", settings={"delay_ms": 60_000})
    rig.command(PEER, "put", msgpack.packb([b"b"]), queue="q", count=1)
    rig.run()
    stats = rig.stats("q")
    assert (stats["ready"], stats["delayed"]) == (1, 1)


def test_a_lease_that_begins_later_has_the_new_length(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b")
    rig.ask(PEER, "consume", queue="q", consumer=1, credit=1)
    update(rig, lease_ms=2_000)
    rig.ask(PEER, "credit", consumer=1, messages=1)
    rig.pass_time(2_100)
    assert (rig.stats("q")["in_flight"], rig.stats("q")["counters"]["lease_ended"]) == (1, 1)


def test_a_limit_that_was_raised_lets_more_in(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="q", settings={"max_messages": 1})
    rig.put("q", b"a")
    assert rig.put("q", b"b")["error"] == "queue_full"
    update(rig, max_messages=2)
    assert rig.put("q", b"b").re == "ok"
    update(rig, max_messages=None)
    assert rig.put("q", b"c").re == "ok"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"nonsense": 1}, UnknownSetting.code),
        ({"lease_ms": 1}, BadField.code),
        ({"durable": False}, BadField.code),
        ({"partitions": 2}, BadField.code),
        ({"dead_letter": "q"}, BadField.code),
        ({"overflow": "dead_letter_oldest"}, BadField.code),
        ({"ordering": "key"}, QueueNotEmpty.code),
        ({"dedup": "window"}, QueueNotEmpty.code),
        ({"index_ids": True}, QueueNotEmpty.code),
        ({"durable": True, "partitions": 1, "ordering": "queue"}, 0),
        ({}, 0),
    ],
)
def test_what_cannot_change_is_refused_and_changes_nothing(
    rig: NodeRig, settings: dict[str, object], code: int
) -> None:
    rig.put("q", b"a")
    before = rig.stats("q")["settings"]
    assert update(rig, **settings) == code
    assert rig.stats("q")["settings"] == before


def test_how_messages_are_kept_changes_while_the_queue_is_empty(rig: NodeRig) -> None:
    rig.put("q", b"a")
    rig.get("q", auto_ack=True)
    assert update(rig, index_ids=True) == 0
    assert rig.stats("q")["settings"]["index_ids"] is True


def test_no_queue_is_its_own_dead_letter_queue(rig: NodeRig) -> None:
    declared = rig.ask(PEER, "declare", queue="q", settings={"dead_letter": "q"})
    assert declared.code == BadField.code
    assert rig.ask(PEER, "stats", queue="q").code == QueueNotFound.code


def test_update_makes_no_queue(rig: NodeRig) -> None:
    assert update(rig, paused=True) == QueueNotFound.code


def test_declare_minds_updated_settings_but_not_a_pause(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="q", settings={"lease_ms": 5_000})
    update(rig, paused=True)
    again = rig.ask(PEER, "declare", queue="q", settings={"lease_ms": 5_000})
    assert (again.code, again["created"]) == (0, False)
    update(rig, lease_ms=6_000)
    again = rig.ask(PEER, "declare", queue="q", settings={"lease_ms": 5_000})
    assert again.code == SettingsMismatch.code
