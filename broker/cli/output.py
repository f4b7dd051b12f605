"""What commands write: JSON for scripts, lines and tables for people.

Law: a line that was written is out of this process.  Each write is flushed, so that a message is
acknowledged only when its reader has it, and a closed pipe is seen at the write that meets it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

TEXT, JSON = "text", "json"
Command = TypeVar("Command", bound=Callable[..., object])

_encode = json.JSONEncoder(ensure_ascii=False).encode


def with_output(command: Command) -> Command:
    """Gives the command ``output``: TEXT or JSON."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice([TEXT, JSON]),
        default=TEXT,
        show_default=True,
        help="For people, or for scripts.",
    )(command)


def write_json(value: object) -> None:
    """One JSON value in one line."""
    write_bytes(_encode(value).encode("utf-8", "surrogateescape") + b"\n")


def write_line(text: str) -> None:
    write_bytes(text.encode("utf-8", "replace") + b"\n")


def write_lines(lines: Iterable[str]) -> None:
    write_line("\n".join(lines))


def write_bytes(raw: bytes) -> None:
    # Standard output may stand for something without bytes below it, as in a test.
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:
        sys.stdout.write(raw.decode("utf-8", "replace"))
        sys.stdout.flush()
        return
    binary.write(raw)
    binary.flush()


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Columns as wide as their widest value, two spaces between them; numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    lines = [list(header), *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    is_number = [
        bool(cells) and all(_is_number(row[column]) for row in cells)
        for column in range(len(header))
    ]
    return [
        "  ".join(
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(line, widths, is_number, strict=True)
        ).rstrip()
        for line in lines
    ]


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(",", "").replace(".", "").isdigit()
