"""The log: one event a line, as ``key=value`` text or as JSON.

Owns the two formats and the bound on repetitions.  Standard output is not its own: that
carries the ready line alone.  A client's mistake is never worth a traceback.

    2026-01-31T12:00:00.123Z info broker.server ready listen=tcp://127.0.0.1:5570
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

#: Lines of one event in one window; the first line of the next window tells how many were left out.
REPEATS_MAX = 5
WINDOW_S = 10.0


def configure_logs(*, form: str, level: str) -> None:
    """Sends everything that the process logs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else KeyValueLines())
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())


def log_event(logger: logging.Logger, level: int, event: str, **fields: object) -> None:
    """``event`` is a constant: what differs from line to line belongs into ``fields``."""
    if logger.isEnabledFor(level):
        logger.log(level, event, extra={"fields": fields})


class RepeatFilter(logging.Filter):
    """Lets REPEATS_MAX lines of an event pass in a window, so that no client can fill the disk.

    Warnings and errors are the broker's own and always pass.
    """

    def __init__(self) -> None:
        super().__init__()
        #: event -> (start of its window, lines in it)
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            return True
        started, count = self._seen.get(record.msg, (record.created, 0))
        if record.created - started >= WINDOW_S:
            if count > REPEATS_MAX:
                _fields(record)["left_out"] = count - REPEATS_MAX
            started, count = record.created, 0
        self._seen[record.msg] = (started, count + 1)
        return count < REPEATS_MAX


class KeyValueLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        words = [_instant(record), record.levelname.lower(), record.name]
        words.append(_one_line(record.getMessage()))
        words += [f"{key}={_quoted(value)}" for key, value in _fields(record).items()]
        return " ".join(words) + _traceback(self, record)


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _instant(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if traceback := _traceback(self, record):
            line["traceback"] = traceback.strip()
        return json.dumps(line, default=str)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """The record's own map; a record of another library gets an empty one."""
    fields = record.__dict__.setdefault("fields", {})
    assert isinstance(fields, dict)
    return fields


def _instant(record: logging.LogRecord) -> str:
    instant = datetime.fromtimestamp(record.created, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return "\n" + formatter.formatException(record.exc_info) if record.exc_info else ""


def _quoted(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else _one_line(str(value))
    return text if text and not set(text) & set(' "=') else json.dumps(text)


def _one_line(text: str) -> str:
    """Nothing that a client sends may forge a second line."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
