"""How commands end: statuses, one line for each error, and a check for health checks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.support.broker_process import ROOT, BrokerProcess
from tests.support.waiting import DEADLINE_S

WORDS = [
    *("serve", "put", "get", "consume", "peek", "queue", "top", "check", "export", "import"),
    *("cluster", "queue ls", "queue info", "queue declare", "queue update", "queue purge"),
    *("queue delete", "queue pause", "queue resume", "queue redrive", "queue remove"),
    *("queue reschedule", "queue schedule add", "queue schedule ls", "queue schedule remove"),
    *("queue bind", "queue unbind", "queue bindings", "pub", "sub", "channel ls", "channel info"),
    *("channel history", "channel declare", "channel update", "channel delete", "call"),
    "service ls",
]


def test_every_command_explains_itself(terminal: Terminal) -> None:
    whole = terminal.done("-h").text
    for words in WORDS:
        text = terminal.done(*words.split(), "-h").text
        assert text.startswith(f"Usage: msgqueue {words} ")
        assert f"  {words.split()[0]} " in whole


@pytest.mark.parametrize(
    "words",
    [
        ["bogus"],
        ["put"],
        ["put", "orders", "body", "--delay", "5"],
        ["put", "orders", "body", "--delay", "soon"],
        ["put", "orders", "body", "--header", "novalue"],
        ["put", "orders", "a", "b", "--id", "x"],
        ["get", "orders", "--max", "0"],
        ["get", "orders", "--where", "a b"],
        ["queue", "update", "orders"],
        ["queue", "remove", "orders"],
        ["queue", "remove", "orders", "x"],
        ["queue", "reschedule", "orders", "1"],
        ["queue", "declare", "orders", "--overflow", "burst"],
    ],
    ids=" ".join,
)
def test_a_mistake_in_the_words_is_one_line(terminal: Terminal, words: list[str]) -> None:
    text = terminal.refused(*words, name="usage", status=2)
    assert "-h' tells more" in text


@pytest.mark.parametrize(
    "words",
    [
        ["get"],
        ["peek"],
        ["queue", "info"],
        ["queue", "purge"],
        ["queue", "update", "--lease", "5s"],
    ],
    ids=" ".join,
)
def test_an_unknown_queue_is_named_and_not_made(terminal: Terminal, words: list[str]) -> None:
    text = terminal.refused(*words, "nowhere", name="queue_not_found", status=1)
    assert "nowhere" in text
    assert "nowhere" not in terminal.done("queue", "ls").text


def test_a_name_that_is_none_is_refused(terminal: Terminal) -> None:
    terminal.refused("put", "a b", "body", name="name_not_allowed", status=1)


@pytest.mark.parametrize(
    "words", [["put", "orders", "x"], ["get", "orders"], ["queue", "ls"], ["export"]], ids=" ".join
)
def test_without_a_broker_the_address_is_named(
    terminal: Terminal, nobody: str, words: list[str]
) -> None:
    where = ("--connect", nobody, "--timeout", "200ms")
    text = terminal.refused(*words, *where, name="connection_lost", status=3)
    assert nobody in text


def test_check_tells_a_broker_that_is_well(terminal: Terminal) -> None:
    assert terminal.done("check").text.startswith("ok: tcp://")
    found = terminal.done("check", "-o", "json").json()
    assert found["status"] == "ok"
    assert found["problems"] == []


def test_check_tells_that_nobody_answers(terminal: Terminal, nobody: str) -> None:
    answer = terminal.run("check", "--connect", nobody, "--timeout", "200ms", "-o", "json")
    assert answer.status == 2
    assert answer.json()["status"] == "critical"


def test_check_tells_an_alarm(tmp_path: Path) -> None:
    # More than any disk has free.
    with BrokerProcess(tmp_path, ["--disk-reserve", "900000GiB"]) as full:
        terminal = Terminal(full.endpoint)
        answer = terminal.run("check", "-o", "json")
        assert answer.status == 1
        assert answer.json()["problems"][0].startswith("alarm: ")
        terminal.refused(
            "put", "orders", "x", "--timeout", "300ms", name="resource_alarm", status=1
        )


def test_a_completion_script_comes_with_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from broker.cli.main import main; main(prog_name='msgqueue')"],
        cwd=ROOT,
        env={"_MSGQUEUE_COMPLETE": "bash_complete", "COMP_WORDS": "msgqueue q", "COMP_CWORD": "1"},
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stdout.decode().split() == ["plain,queue"]


def test_sending_data_loads_no_broker() -> None:
    program = (
        "import sys, json; import broker.cli.put, broker.cli.take, broker.cli.queue;"
        "print(json.dumps([name for name in sys.modules if name.startswith('broker.')]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True
    )
    loaded = set(json.loads(done.stdout))
    assert not [name for name in loaded if name.startswith(("broker.core", "broker.storage"))]
    assert "rich" not in loaded
