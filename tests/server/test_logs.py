"""How log lines look, and that clients cannot flood them."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from broker.server.logs import REPEATS_MAX, WINDOW_S, JsonLines, KeyValueLines, RepeatFilter


def record(
    event: str = "peer unreachable", level: int = logging.INFO, **fields: Any
) -> logging.LogRecord:
    made = logging.LogRecord("broker.server", level, __file__, 1, event, None, None)
    made.created = 1_769_860_800.123
    made.__dict__["fields"] = fields
    return made


def test_a_text_line_has_the_instant_the_level_and_each_field() -> None:
    line = KeyValueLines().format(record(peer=b"\0\1", reason="the connection is gone", count=3))
    assert line == (
        "2026-01-31T12:00:00.123Z info broker.server peer unreachable"
        ' peer=0001 reason="the connection is gone" count=3'
    )


def test_a_json_line_has_the_same() -> None:
    line = JsonLines().format(record(reason="gone", count=3))
    assert json.loads(line) == {
        "time": "2026-01-31T12:00:00.123Z",
        "level": "info",
        "logger": "broker.server",
        "event": "peer unreachable",
        "reason": "gone",
        "count": 3,
    }


@pytest.mark.parametrize("formatter", [KeyValueLines(), JsonLines()])
def test_a_value_cannot_forge_a_second_line(formatter: logging.Formatter) -> None:
    line = formatter.format(record(queue="a\n2026-01-31 error the end\x1b[2J"))
    assert "\n" not in line
    assert "\x1b" not in line


def test_a_record_of_another_library_is_formatted_too() -> None:
    foreign = logging.LogRecord("other", logging.ERROR, __file__, 1, "%s!", ("oh",), None)
    assert KeyValueLines().format(foreign).endswith("error other oh!")


def test_repetitions_of_an_event_are_left_out_and_counted() -> None:
    repeats = RepeatFilter()
    passed = [repeats.filter(record()) for _ in range(REPEATS_MAX + 7)]
    assert passed.count(True) == REPEATS_MAX
    assert repeats.filter(record("another event"))
    later = record()
    later.created += WINDOW_S
    assert repeats.filter(later)
    assert later.__dict__["fields"] == {"left_out": 7}


def test_a_warning_is_never_left_out() -> None:
    repeats = RepeatFilter()
    assert all(repeats.filter(record(level=logging.WARNING)) for _ in range(REPEATS_MAX * 3))
