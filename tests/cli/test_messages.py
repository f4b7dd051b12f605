"""Messages through pipes: put, get, consume and peek as processes beside a real broker."""

from __future__ import annotations

import json
import os
import select
import signal
from typing import Any

import pytest

from tests.cli.terminal import Terminal
from tests.support.waiting import DEADLINE_S, wait_until


def test_words_are_put_and_taken_in_order(terminal: Terminal, queue: str) -> None:
    put = terminal.done("put", queue, "first", "zweite ü")
    assert put.text == f"put 2 messages into {queue}\n"
    assert terminal.done("get", queue).text == "first\n"
    assert terminal.done("get", queue, "--max", "10").text == "zweite ü\n"


def test_nothing_to_get_has_a_status_of_its_own(terminal: Terminal, queue: str) -> None:
    terminal.done("queue", "declare", queue)
    answer = terminal.run("get", queue)
    assert (answer.status, answer.raw, answer.errors) == (4, b"", "")


def test_each_line_of_standard_input_is_a_message(terminal: Terminal, queue: str) -> None:
    lines = [f"line {number}" for number in range(3_000)]
    terminal.done("put", queue, given="\n".join(lines))
    assert terminal.done("consume", queue, "--max", "3000").lines == lines


def test_the_whole_input_is_one_message_of_any_bytes(terminal: Terminal, queue: str) -> None:
    body = bytes(range(256)) * 100
    terminal.done("put", queue, "--whole", given=body)
    assert terminal.done("get", queue, "--raw").raw == body


def test_what_get_tells_as_json_can_be_put_again(terminal: Terminal, queue: str) -> None:
    lines: list[dict[str, Any]] = [
        {"body": {"item": "ring", "price": 1.5}, "headers": {"country": "de", "size": 12}},
        {"body": "plain text ü", "priority": 9, "type": "note"},
        {"body_base64": "AP/+", "headers": {"raw": {"base64": "AP8="}}},
        {"body": "<p>", "content_type": "text/html", "priority": 0},
    ]
    given = "\n".join(json.dumps(line) for line in lines)
    terminal.done("put", queue, "--jsonl", given=given)
    taken = terminal.done("get", queue, "--max", "4", "-o", "json")
    terminal.done("put", queue, "--jsonl", given=taken.raw)
    again = terminal.done("get", queue, "--max", "4", "-o", "json")

    def own(told: list[dict[str, object]]) -> list[dict[str, object]]:
        return [
            {name: value for name, value in each.items() if name not in ("position", "put_at")}
            for each in told
        ]

    assert own(again.json_lines()) == own(taken.json_lines())
    assert [each["priority"] for each in again.json_lines()] == [9, 4, 4, 0]
    assert again.json_lines()[1]["body"] == lines[0]["body"]
    assert again.json_lines()[1]["headers"] == lines[0]["headers"]
    assert again.json_lines()[2]["body_base64"] == "AP/+"


def test_a_bad_line_is_named_and_those_before_it_are_put(terminal: Terminal, queue: str) -> None:
    given = '{"body": 1}\n{"body": 2}\n{"body": 3, "colour": "red"}\n{"body": 4}\n'
    text = terminal.refused("put", queue, "--jsonl", given=given, name="bad_input", status=81)
    assert "line 3: 'colour'" in text
    assert "the first 2 messages are put" in text
    assert terminal.done("get", queue, "--max", "9").lines == ["1", "2"]


def test_json_is_checked(terminal: Terminal, queue: str) -> None:
    text = terminal.refused("put", queue, "--json", "{", name="bad_input", status=81)
    assert "body 1: not JSON" in text


def test_a_put_tells_each_position_and_a_duplicate(terminal: Terminal, queue: str) -> None:
    terminal.done("queue", "declare", queue, "--dedup", "window")
    words = ("put", queue, "body", "--id", "order-1", "-o", "json")
    first, second = terminal.done(*words).json(), terminal.done(*words).json()
    assert first == {
        "queue": queue,
        "position": 0,
        "id": "order-1",
        "copies": 1,
        "duplicate": False,
    }
    assert second["duplicate"] is True


def test_what_was_only_shown_is_there_again_uncharged(terminal: Terminal, queue: str) -> None:
    terminal.done("put", queue, "one", "two")
    assert terminal.done("get", queue, "--max", "2", "--no-ack").lines == ["one", "two"]
    again = terminal.done("get", queue, "--max", "2", "-o", "json").json_lines()
    assert [(each["body"], each["attempts"]) for each in again] == [("one", 0), ("two", 0)]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("country=de", ["small", "large"]),
        ("size>10", ["large"]),
        ("country=fr|it", ["french"]),
        ("country^=d", ["small", "large"]),
        ("country", ["small", "large", "french"]),
        ("!country", ["bare"]),
    ],
)
def test_a_condition_chooses(
    terminal: Terminal, queue: str, condition: str, expected: list[str]
) -> None:
    given = [
        {"body": "small", "headers": {"country": "de", "size": 3}},
        {"body": "large", "headers": {"country": "de", "size": 30}},
        {"body": "french", "headers": {"country": "fr", "size": 10}},
        {"body": "bare"},
    ]
    terminal.done("put", queue, "--jsonl", given="\n".join(map(json.dumps, given)))
    peeked = terminal.done("peek", queue, "--where", condition, "-o", "json")
    assert [each["body"] for each in peeked.json_lines()] == expected
    assert terminal.done("get", queue, "--max", "9", "--where", condition).lines == expected


def test_peeking_changes_nothing(terminal: Terminal, queue: str) -> None:
    terminal.done("put", queue, "one", "two\n\x1b[2J")
    terminal.done("put", queue, "later", "--delay", "1h")
    shown = terminal.done("peek", queue).lines
    assert shown[0].split() == ["POSITION", "STATE", "PRIORITY", "ATTEMPTS", "DUE", "ID", "BODY"]
    assert shown[2].endswith("two\\n\\x1b[2J")
    states = [each["state"] for each in terminal.done("peek", queue, "-o", "json").json_lines()]
    assert states == ["ready", "ready", "delayed"]
    second = terminal.done("peek", queue, "--from", "1", "--max", "1", "-o", "json").json()
    assert second["position"] == 1
    assert terminal.done("queue", "info", queue, "-o", "json").json()["messages"] == 3


def test_a_closed_pipe_gives_back_what_was_not_read(terminal: Terminal, queue: str) -> None:
    given = "\n".join(str(number) * 2_000 for number in range(1_000))
    terminal.done("put", queue, given=given)
    with terminal.start("consume", queue) as consuming:
        assert consuming.stdout is not None
        assert consuming.stdout.readline().startswith(b"0")
        consuming.stdout.close()
        assert consuming.wait(DEADLINE_S) == 141
        assert consuming.stderr is not None
        assert consuming.stderr.read() == b""
    stats = terminal.done("queue", "info", queue, "-o", "json").json()
    assert stats["in_flight"] == 0
    assert stats["ready"] > 0
    left = terminal.done("peek", queue, "--max", "1", "-o", "json").json()
    assert left["attempts"] == 0


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
def test_a_consumer_follows_until_a_signal(
    terminal: Terminal, queue: str, number: signal.Signals, status: int
) -> None:
    with terminal.start("consume", queue) as consuming:
        assert consuming.stderr is not None
        assert consuming.stdout is not None
        assert b"declared now" in consuming.stderr.readline()
        terminal.done("put", queue, "late")
        assert consuming.stdout.readline() == b"late\n"
        consuming.send_signal(number)
        assert consuming.wait(DEADLINE_S) == status
    wait_until(
        lambda: terminal.done("queue", "info", queue, "-o", "json").json()["messages"] == 0,
        "the acknowledgement of what was printed",
    )


def test_nothing_is_drawn_where_there_is_no_terminal(terminal: Terminal, queue: str) -> None:
    answer = terminal.done("put", queue, given="x\n" * 20_000)
    assert answer.errors == ""


def test_a_long_put_tells_on_the_terminal_how_far_it_is(terminal: Terminal, queue: str) -> None:
    ours, theirs = os.openpty()
    with terminal.start("put", queue, stderr=theirs) as putting:
        os.close(theirs)
        assert putting.stdin is not None
        drawn = b""

        def is_drawn() -> bool:
            nonlocal drawn
            assert putting.stdin is not None
            putting.stdin.write(b"x\n" * 1_000)
            putting.stdin.flush()
            while select.select([ours], [], [], 0)[0]:
                drawn += os.read(ours, 4_096)
            return b"messages" in drawn

        wait_until(is_drawn, "the count on the terminal", deadline_s=60)
        out, _ = putting.communicate(timeout=DEADLINE_S)
    os.close(ours)
    assert out.startswith(b"put ")


def test_who_writes_to_a_full_queue_waits_for_room(terminal: Terminal, queue: str) -> None:
    terminal.done("queue", "declare", queue, "--max-messages", "1")
    terminal.done("put", queue, "one")
    terminal.refused("put", queue, "two", name="queue_full", status=1)
    with terminal.start("put", queue, "two", "--wait-for-room") as putting:
        assert terminal.done("get", queue).text == "one\n"
        assert putting.wait(DEADLINE_S) == 0
    assert terminal.done("get", queue).text == "two\n"


def test_a_single_put_tells_the_id_by_which_it_is_cancelled(terminal: Terminal, queue: str) -> None:
    text = terminal.done("put", queue, "later", "--delay", "1h").text
    assert text == f"put 1 message into {queue}, its id is {queue}:0\n"
    assert terminal.done("queue", "remove", queue, "--id", f"{queue}:0").text


def test_a_message_of_a_partition_is_shown_with_its_partition(
    terminal: Terminal, queue: str
) -> None:
    terminal.done("queue", "declare", queue, "--partitions", "3")
    terminal.done("put", queue, "body", "--key", "k")
    assert f"{queue}#" in terminal.done("peek", queue).lines[1]


def test_what_is_no_address_is_not_understood(terminal: Terminal, queue: str) -> None:
    text = terminal.refused("get", queue, "--connect", "127.0.0.1:5570", name="usage", status=2)
    assert "tcp://HOST:PORT" in text
