"""Queues as things: the commands that an operator gives, as processes beside a real broker."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from broker.cli.queue_settings import ELSEWHERE, flag_of
from broker.model.settings import QueueSettings
from tests.cli.terminal import Terminal
from tests.support.waiting import wait_until


def test_every_setting_of_a_queue_is_an_option(terminal: Terminal) -> None:
    text = terminal.done("queue", "declare", "-h").text
    missing = [
        field.name
        for field in fields(QueueSettings)
        if field.name not in ELSEWHERE and flag_of(field.name) not in text
    ]
    assert missing == []


def test_a_declared_queue_has_the_settings_that_were_named(terminal: Terminal, queue: str) -> None:
    words = ["--lease", "5m", "--max-bytes", "1MiB", "--overflow", "drop_oldest", "--index-ids"]
    told = terminal.done("queue", "declare", queue, *words, "-o", "json").json()["settings"]
    assert told["lease_ms"] == 300_000
    assert told["max_bytes"] == 2**20
    assert (told["overflow"], told["index_ids"]) == ("drop_oldest", True)
    assert told["ttl_ms"] is None
    terminal.done("queue", "declare", queue, *words)
    text = terminal.refused("queue", "declare", queue, name="settings_mismatch", status=1)
    assert "lease 5m, not 30s" in text


def test_an_update_changes_what_it_names_alone(terminal: Terminal, queue: str) -> None:
    terminal.done("queue", "declare", queue, "--lease", "5m", "--ttl", "1h")
    told = terminal.done("queue", "update", queue, "--ttl", "none", "-o", "json").json()
    assert (told["settings"]["ttl_ms"], told["settings"]["lease_ms"]) == (None, 300_000)
    info = terminal.done("queue", "info", queue).text
    assert "lease  5m" in info
    assert "ttl" not in info


def test_a_paused_queue_delivers_when_it_resumes(terminal: Terminal, queue: str) -> None:
    terminal.done("put", queue, "body")
    terminal.done("queue", "pause", queue)
    assert terminal.run("get", queue).status == 4
    terminal.done("queue", "resume", queue)
    assert terminal.done("get", queue).text == "body\n"


def test_the_list_has_a_line_for_each_queue(terminal: Terminal, queue: str) -> None:
    terminal.done("put", f"{queue}.a", "one", "two")
    terminal.done("queue", "declare", f"{queue}.b")
    told = terminal.done("queue", "ls", f"{queue}.", "-o", "json").json_lines()
    assert [(each["queue"], each["ready"]) for each in told] == [
        (f"{queue}.a", 2),
        (f"{queue}.b", 0),
    ]
    assert len(terminal.done("queue", "ls", f"{queue}.").lines) == 3


def test_messages_are_removed_and_moved_by_position_and_id(terminal: Terminal, queue: str) -> None:
    terminal.done("queue", "declare", queue, "--index-ids")
    terminal.done("put", queue, given="\n".join(map(str, range(10))))
    terminal.done("put", queue, "named", "--id", "n-1", "--delay", "1h")
    removed = terminal.done("queue", "remove", queue, "0", "2-4", "77", "-o", "json").json()
    assert (removed["removed"], removed["missing"]) == (4, [77])
    terminal.done("queue", "reschedule", queue, "--id", "n-1", "--delay", "0")
    assert terminal.done("get", queue, "--max", "9").lines[:6] == [*"156789"]
    info = terminal.done("queue", "info", queue, "-o", "json").json()
    assert info["delayed"] == 0
    assert terminal.run("queue", "remove", queue, "5000").status == 4


def test_dead_letters_go_back_to_where_they_died(terminal: Terminal, queue: str) -> None:
    dead = f"{queue}.dead"
    terminal.done("queue", "declare", dead)
    terminal.done("queue", "declare", queue, "--dead-letter", dead, "--ttl", "1ms")
    terminal.done("put", queue, "one", "two")
    wait_until(
        lambda: terminal.done("queue", "info", dead, "-o", "json").json()["ready"] == 2,
        "both have expired",
    )
    letter = terminal.done("peek", dead, "--max", "1", "-o", "json").json()
    assert letter["headers"]["x-death-reason"] == "expired"
    terminal.done("queue", "update", queue, "--ttl", "none")
    told = terminal.done("queue", "redrive", dead, "-o", "json").json()
    assert (told["moved"], told["left"], told["running"]) == (2, 0, False)
    assert sorted(terminal.done("get", queue, "--max", "2", "--wait", "10s").lines) == [
        "one",
        "two",
    ]


def test_a_queue_that_holds_messages_is_deleted_by_force(terminal: Terminal, queue: str) -> None:
    terminal.done("put", queue, "one", "two")
    terminal.refused("queue", "delete", queue, name="queue_not_empty", status=1)
    assert terminal.done("queue", "purge", queue, "-o", "json").json()["removed"] == 2
    terminal.done("put", queue, "three")
    terminal.done("queue", "delete", queue, "--force")
    terminal.refused("queue", "info", queue, name="queue_not_found", status=1)


def test_schedules_are_added_listed_and_removed(terminal: Terminal, queue: str) -> None:
    terminal.done("queue", "declare", queue)
    add = ("queue", "schedule", "add", queue)
    terminal.done(*add, "nightly", "all", "--cron", "30 2 * * *", "--zone", "Europe/Berlin")
    terminal.done(*add, "weekly", '{"top": 10}', "--json", "--cron", "0 7 * * 1")
    told = terminal.done("queue", "schedule", "ls", queue, "-o", "json").json_lines()
    assert [each["name"] for each in told] == ["nightly", "weekly"]
    assert told[0]["zone"] == "Europe/Berlin"
    assert told[1]["content_type"] == "application/json"
    assert all(each["next_at"] and each["error"] is None for each in told)
    terminal.refused(*add, "bad", "x", "--cron", "soon", name="bad_field", status=1)
    terminal.done("queue", "schedule", "remove", queue, "nightly")
    assert terminal.run("queue", "schedule", "remove", queue, "nightly").status == 4
    assert len(terminal.done("queue", "schedule", "ls", queue, "-o", "json").lines) == 1


def test_a_schedule_that_the_broker_cannot_follow_is_told(terminal: Terminal, queue: str) -> None:
    terminal.done("queue", "declare", queue)
    words = ("queue", "schedule", "add", queue, "bad", "x", "--cron", "0 7 * * *")
    text = terminal.refused(*words, "--zone", "Mars/Olympus", name="bad_field", status=1)
    assert "no time zone is called 'Mars/Olympus'" in text
    (told,) = terminal.done("queue", "schedule", "ls", queue, "-o", "json").json_lines()
    assert "Mars/Olympus" in told["error"]
    again = terminal.done(*words)
    assert f"{queue} has the schedule bad, next at 2" in again.text


def test_an_import_makes_what_was_exported_and_tells_what_differs(
    terminal: Terminal, queue: str, tmp_path: Path
) -> None:
    terminal.done("queue", "declare", queue, "--lease", "5m")
    path = tmp_path / "queues.json"
    terminal.done("export", str(path))
    definitions = json.loads(path.read_text("utf-8"))
    definitions["queues"] = {queue: definitions["queues"][queue]}
    path.write_text(json.dumps(definitions), "utf-8")
    terminal.done("queue", "delete", queue)

    def actions(*words: str) -> list[str]:
        told = terminal.run("import", str(path), "-o", "json", *words).json_lines()
        return [each["action"] for each in told]

    assert actions("--dry-run") == ["create"]
    assert actions() == ["create"]
    assert actions() == ["same"]
    terminal.done("queue", "update", queue, "--lease", "1m")
    assert actions() == ["differs"]
    text = terminal.refused("import", str(path), name="operation_refused", status=79)
    assert queue in text
    assert actions("--update") == ["update"]
    settings = terminal.done("queue", "info", queue, "-o", "json").json()["settings"]
    assert settings["lease_ms"] == 300_000


def test_a_file_that_defines_nothing_is_refused(terminal: Terminal) -> None:
    for given in ("{", "[]", '{"version": 1, "queues": {"a b": {}}}'):
        terminal.refused("import", "-", given=given, name="bad_input", status=81)
    given = '{"version": 1, "queues": {"orders": {"lease_ms": "long"}}}'
    text = terminal.refused("import", "-", given=given, name="bad_input", status=81)
    assert "orders: lease_ms" in text


def test_top_prints_all_queues_once(terminal: Terminal, queue: str) -> None:
    terminal.done("put", queue, "one", "two")
    lines = terminal.done("top", queue, "--once").lines
    assert lines[0].split()[:2] == ["QUEUE", "READY"]
    assert lines[1].split()[:2] == [queue, "2"]
    told = terminal.done("top", "--once", "-o", "json").json()
    assert queue in [each["queue"] for each in told["queues"]]
