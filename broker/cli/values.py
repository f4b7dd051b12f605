"""What words on the command line mean: durations, sizes, instants, headers, conditions.

Owns the grammar of single values, and says in one sentence what was expected instead.
"""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from typing import Any

import click

from broker.errors import ConfigError
from broker.server.quantities import parse_bytes, parse_ms

#: The longer operators come first: ``size>=10`` is not ``size>`` and ``=10``.
_CONDITION = re.compile(r"([^=<>^!]+?)\s*(<=|>=|\^=|=|<|>)\s*(.*)", re.DOTALL)


class Duration(click.ParamType[int]):
    """``30s``, ``5m``, ``500ms``, ``12h``, ``7d``, as milliseconds; a bare number has no unit."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip()
        if text.isdigit() and int(text):
            self.fail(f"{value!r} has no unit: write {text}s, {text}m or {text}ms", param, ctx)
        try:
            return parse_ms(text)
        except ConfigError as error:
            self.fail(error.text, param, ctx)


class Size(click.ParamType[int]):
    """``4096``, ``512KiB``, ``256MiB``, as bytes."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        try:
            return parse_bytes(value)
        except ConfigError as error:
            self.fail(error.text, param, ctx)


class Instant(click.ParamType[float]):
    """``2026-01-31T12:00:00Z``, or seconds since the Unix epoch; as those seconds."""

    name = "instant"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        try:
            return instant(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Past(click.ParamType[float]):
    """An instant, or a duration that ends now, such as ``10m``; as seconds since the Unix epoch."""

    name = "past"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        text = str(value).strip()
        try:
            if re.fullmatch(r"\d+[a-z]+", text):
                return time.time() - parse_ms(text) / 1000
            return instant(text)
        except ConfigError:
            self.fail(f"{value!r} is no duration: 500ms, 30s, 5m, 12h, 7d", param, ctx)
        except ValueError as error:
            self.fail(f"{error}, or a duration that ends now, such as 10m", param, ctx)


class Start(click.ParamType[Any]):
    """Where a subscription begins: a word, a sequence (int), or a time of the past (float)."""

    name = "start"

    def convert(self, value: Any, param: Any, ctx: Any) -> str | int | float:
        text = str(value).strip()
        if text in ("now", "all", "last"):
            return text
        if text.isdigit():
            return int(text)
        try:
            return Past().convert(text, None, None)
        except click.BadParameter:
            self.fail(
                f"{value!r} is none of now, all, last, a sequence, 10m, 2026-01-31T12:00:00Z",
                param,
                ctx,
            )


class Header(click.ParamType[tuple[str, Any]]):
    """``name=value``; a value that reads as a JSON number or boolean is one, any other text."""

    name = "header"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, _scalar(text)


class Condition(click.ParamType[list[Any]]):
    """A condition on a header, as the wire has it: ``[header, operator, operand]``."""

    name = "condition"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[Any]:
        if isinstance(value, list):
            return value
        text = str(value).strip()
        found = _CONDITION.fullmatch(text)
        if found is not None:
            return _comparison(*found.groups())
        name = text.removeprefix("!")
        if not name or re.search(r"[=<>^!\s]", name):
            self.fail(f"{value!r} is no condition: NAME, NAME=VALUE, NAME=A|B, NAME>5 ...")
        return [name, "exists", not text.startswith("!")]


def instant(value: Any) -> float:
    """Raises ValueError.  A time without a zone is of this machine's."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip()
    try:
        return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else _timestamp(text)
    except ValueError:
        raise ValueError(
            f"{value!r} is no instant: 2026-01-31T12:00:00Z, or seconds since the Unix epoch"
        ) from None


def _timestamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _comparison(name: str, operator: str, operand: str) -> list[Any]:
    name = name.strip()
    if operator == "=" and "|" in operand and not operand.startswith('"'):
        return [name, "in", [_scalar(part) for part in operand.split("|")]]
    if operator == "^=":
        return [name, "prefix", operand]
    return [name, operator, _scalar(operand)]


def _scalar(text: str) -> Any:
    """Quotes make a text of what would be a number: ``"10"``."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text
    return value if isinstance(value, str | int | float | bool) else text


def _refuse(word: str) -> Any:
    raise ValueError(word)
