"""Channels at the command line: pub, sub, channel and bindings beside a real broker."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.cli.terminal import Terminal
from tests.support.waiting import DEADLINE_S, wait_until


@pytest.fixture
def channel(queue: str) -> str:
    """A name that no other test uses."""
    return queue


def wait_subscribed(terminal: Terminal, channel: str, count: int = 1) -> None:
    def is_subscribed() -> bool:
        answer = terminal.run("channel", "info", channel, "-o", "json")
        return answer.status == 0 and answer.json()["subscriptions"] == count

    wait_until(is_subscribed, f"{count} subscriptions of {channel}")


def lines_of(process: subprocess.Popen[bytes]) -> list[str]:
    """All that a command writes until its end."""
    with process:
        out, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, errors) == (0, b"")
    return out.decode().splitlines()


def test_words_and_lines_reach_who_subscribes_in_order(terminal: Terminal, channel: str) -> None:
    terminal.done("channel", "declare", channel)
    process = terminal.start("sub", channel, "-n", "4")
    wait_subscribed(terminal, channel)
    told = terminal.done("pub", channel, "one", "zwei ü").text
    assert told == f"published 2 messages to {channel}, which goes to 1 subscription\n"
    terminal.done("pub", channel, "-", given="three\nfour\n")
    assert lines_of(process) == ["one", "zwei ü", "three", "four"]


def test_that_nobody_subscribes_is_told_and_no_failure(terminal: Terminal, channel: str) -> None:
    told = terminal.done("pub", channel, "to nobody").text
    assert told == f"published 1 message to {channel}, which goes to 0 subscriptions\n"


def test_a_pattern_shows_the_channel_of_each_message(terminal: Terminal, channel: str) -> None:
    terminal.done("pub", f"{channel}.a", "before")
    process = terminal.start("sub", f"{channel}.*", "-n", "2")
    wait_subscribed(terminal, f"{channel}.a")
    terminal.done("pub", f"{channel}.a", "one")
    terminal.done("pub", f"{channel}.b", "two")
    assert lines_of(process) == [f"{channel}.a  one", f"{channel}.b  two"]


def test_what_sub_tells_as_json_can_be_published_again(terminal: Terminal, channel: str) -> None:
    terminal.done("channel", "declare", channel, "--history", "10")
    terminal.done("channel", "declare", f"{channel}.copy", "--history", "10")
    given: list[dict[str, Any]] = [
        {"body": {"item": "ring"}, "headers": {"country": "de"}, "type": "order", "key": "k"},
        {"body": "plain ü"},
        {"body_base64": "AP/+", "headers": {"raw": {"base64": "AP8="}}},
    ]
    terminal.done("pub", channel, "--jsonl", given="\n".join(map(json.dumps, given)))
    told = terminal.done("sub", channel, "--from", "all", "-n", "3", "-o", "json")
    terminal.done("pub", f"{channel}.copy", "--jsonl", given=told.raw)
    copied = terminal.done("channel", "history", f"{channel}.copy", "-o", "json").json_lines()
    own = [{name: each[name] for name in given[n]} for n, each in enumerate(copied)]
    assert own == given
    assert [each["channel"] for each in copied] == [f"{channel}.copy"] * 3


def test_a_subscription_begins_where_it_is_told(terminal: Terminal, channel: str) -> None:
    terminal.done("channel", "declare", channel, "--history", "10")
    bodies = [f"body {number}" for number in range(5)]
    published = terminal.done("pub", channel, *bodies, "-o", "json").json_lines()
    third = str(published[2]["sequence"])
    assert terminal.done("sub", channel, "--from", "all", "-n", "5").lines == bodies
    assert terminal.done("sub", channel, "--from", third, "-n", "3").lines == bodies[2:]
    assert terminal.done("sub", channel, "--from", "last", "-n", "1").lines == bodies[4:]
    assert terminal.done("sub", channel, "--from", "1h", "-n", "5").lines == bodies


def test_a_condition_on_headers_chooses_messages(terminal: Terminal, channel: str) -> None:
    terminal.done("channel", "declare", channel, "--history", "10")
    terminal.done("pub", channel, "small", "--header", "size=1")
    terminal.done("pub", channel, "large", "--header", "size=20")
    found = terminal.done("sub", channel, "--from", "all", "--where", "size>10", "-n", "1")
    assert found.lines == ["large"]


def test_what_the_history_does_not_have_any_more_is_told_as_a_gap(
    terminal: Terminal, channel: str
) -> None:
    terminal.done("channel", "declare", channel, "--history", "2")
    published = terminal.done("pub", channel, *"abcde", "-o", "json").json_lines()
    first = str(published[0]["sequence"])
    answer = terminal.done("sub", channel, "--from", first, "-n", "2")
    assert answer.lines == ["d", "e"]
    assert answer.errors == f"msgqueue: gap: {channel}: 3 messages are missed, from {first} on\n"
    strict = terminal.run("sub", channel, "--from", first, "-n", "2", "--strict")
    assert strict.status == 1
    assert "events_missed" in strict.errors


def test_the_history_is_printed_in_order_and_in_parts(terminal: Terminal, channel: str) -> None:
    terminal.done("channel", "declare", channel, "--history", "10")
    assert terminal.run("channel", "history", channel).status == 4
    published = terminal.done("pub", channel, "a", "b", "c", "-o", "json").json_lines()
    assert terminal.done("channel", "history", channel).lines == ["a", "b", "c"]
    assert terminal.done("channel", "history", channel, "--last").lines == ["c"]
    behind = terminal.done(
        *("channel", "history", channel, "--after", str(published[0]["sequence"]), "--max", "1")
    )
    assert behind.lines == ["b"]


def test_a_channel_is_declared_listed_changed_and_deleted(terminal: Terminal, channel: str) -> None:
    told = terminal.done("channel", "declare", channel, "--history", "3", "--durable").text
    assert told == f"{channel} is declared, with 3 messages, durable\n"
    terminal.done("channel", "declare", channel, "--history", "3", "--durable")
    terminal.refused(
        *("channel", "declare", channel, "--history", "4"), name="settings_mismatch", status=1
    )
    terminal.done("channel", "update", channel, "--history", "2", "--age", "1h")
    terminal.done("pub", channel, "a", "b", "c")
    (listed,) = terminal.done("channel", "ls", channel, "-o", "json").json_lines()
    assert (listed["channel"], listed["published"]) == (channel, 3)
    assert listed["settings"]["history_messages"] == 2
    assert f"{channel} " in terminal.done("channel", "ls").text
    assert "2 messages" in terminal.done("channel", "info", channel).text
    told = terminal.done("channel", "delete", channel, "--yes").text
    assert told.startswith(f"{channel} is deleted, with ")
    terminal.refused("channel", "info", channel, name="channel_not_found", status=1)


def test_a_bound_queue_gets_what_is_published(terminal: Terminal, queue: str) -> None:
    terminal.done("queue", "declare", queue)
    terminal.done("queue", "bind", queue, f"{queue}.>", "--where", "size>10")
    (bound,) = terminal.done("queue", "bindings", queue, "-o", "json").json_lines()
    assert bound["pattern"] == f"{queue}.>"
    assert "size > 10" in terminal.done("queue", "bindings", queue).text
    terminal.done("pub", f"{queue}.a", "large", "--header", "size=20")
    terminal.done("pub", f"{queue}.a", "small", "--header", "size=2")
    terminal.done("queue", "unbind", queue, f"{queue}.>")
    terminal.done("pub", f"{queue}.b", "after", "--header", "size=20")
    assert terminal.done("get", queue, "--max", "10").lines == ["large"]
    terminal.refused("queue", "unbind", queue, "other", name="binding_not_found", status=1)


@pytest.mark.parametrize(
    "words",
    [
        ["sub"],
        ["sub", "a", "--from", "yesterday"],
        ["channel", "update", "a"],
        ["channel", "history", "a", "--last", "--max", "3"],
        ["pub", "a", "b", "--whole"],
        ["call", "a", "--all", "--stream"],
    ],
    ids=" ".join,
)
def test_a_mistake_in_the_words_is_one_line(terminal: Terminal, words: list[str]) -> None:
    terminal.refused(*words, name="usage", status=2)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["sub", "a..b"], "bad_pattern"),
        (["sub", "a*"], "bad_pattern"),
        (["pub", "a b", "body"], "name_not_allowed"),
        (["pub", "$sys.alarm", "body"], "name_not_allowed"),
        (["channel", "history", "nothing-was-published-here"], "channel_not_found"),
        (["channel", "delete", "nothing-was-published-here", "--yes"], "channel_not_found"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else given,
)
def test_what_the_broker_refuses_is_one_line(
    terminal: Terminal, words: list[str], name: str
) -> None:
    terminal.refused(*words, name=name, status=1)


def test_a_line_that_a_channel_cannot_have_is_named(terminal: Terminal, channel: str) -> None:
    given = '{"body": "a"}\n{"body": "b", "priority": 3}\n'
    text = terminal.refused("pub", channel, "--jsonl", given=given, name="bad_input", status=81)
    assert "message 2: 'priority'" in text
    assert "only the first is published" in text
