"""Every setting of a queue as an option, made from the settings themselves.

Law: a setting that ``QueueSettings`` has is an option here, or importing this fails: each has its
sentence of help in the table below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, fields
from enum import StrEnum
from typing import Any

import click

from broker.cli.values import Duration, Size
from broker.limits import DAY, HOUR, MINUTE, SECOND
from broker.model.settings import Dedup, Ordering, Overflow, QueueSettings

#: What takes a bound off: ``--ttl none``.
NONE = "none"
#: Have commands of their own.
ELSEWHERE = frozenset({"schedules", "bindings", "channel"})
_CHOICES: dict[str, type[StrEnum]] = {"overflow": Overflow, "dedup": Dedup, "ordering": Ordering}
_HELP = {
    "durable": "On disk, or in memory only.",
    "lease_ms": "How long a consumer has a message before it comes back.",
    "ttl_ms": "A message that waits longer expires.",
    "delay_ms": "A message is ready so long after its put.",
    "max_messages": "Messages that may wait; see --overflow.",
    "max_bytes": "Bytes that may wait, such as 512MiB, a few for each message beside its body;"
    " see --overflow.",
    "overflow": "What a put does that finds the queue full.",
    "max_attempts": "Tries before a message is a dead letter, or dropped without --dead-letter;"
    " 4 with --dead-letter.",
    "dead_letter": "The queue that takes what was rejected, failed or expired.",
    "backoff_ms": "The wait before the first retry of a message that was given back.",
    "backoff_factor": "Each further wait is so many times longer.",
    "backoff_max_ms": "The longest wait before a retry.",
    "backoff_jitter": "The share of a wait that is left to chance, in percent.",
    "dedup": "How long a message's id keeps a second one out.",
    "dedup_window_ms": "How long, for --dedup window.",
    "index_ids": "Messages can be found by their ids.",
    "ordering": "With key, at most one message of a key is with a consumer.",
    "max_in_flight": "Messages that consumers may have at a time.",
    "max_per_second": "Deliveries a second.",
    "exclusive": "One consumer takes; the next one when it has gone.",
    "paused": "Nothing is delivered.",
    "partitions": "Spread over so many queues.",
}


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each setting; ``given_settings`` takes them out again."""
    for field in reversed(_fields()):
        command = _option(field)(command)
    return command


def given_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Those that were named, as the wire has them."""
    named = {name: value for name, value in options.items() if value is not None}
    return {name: None if value == NONE else value for name, value in named.items()}


def flag_of(setting: str) -> str:
    return "--" + setting.removesuffix("_ms").replace("_", "-")


def shown(setting: str, value: Any) -> str:
    """A value as the option takes it."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "on" if value else "off"
    return duration(value) if setting.endswith("_ms") else str(value)


def duration(ms: int) -> str:
    """In the largest unit that makes a whole number of it: ``30s``, ``5m``, ``1500ms``."""
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND)):
        if ms and ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms" if ms else "0"


class _OrNone(click.ParamType[Any]):
    """A value, or the word that takes the bound off."""

    def __init__(self, value: click.ParamType[Any]) -> None:
        self.name = value.name
        self._value = value

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return NONE if value == NONE else self._value.convert(value, param, ctx)


def _fields() -> list[Field[Any]]:
    return [field for field in fields(QueueSettings) if field.name not in ELSEWHERE]


def _option(field: Field[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    flag, help_text = flag_of(field.name), _HELP[field.name]
    default = shown(field.name, field.default)
    if isinstance(field.default, bool):
        return click.option(
            f"{flag}/--no-{flag[2:]}", field.name, default=None, help=f"{help_text} [{default}]"
        )
    value, metavar = _type_of(field)
    if field.default is None:
        value, metavar = _OrNone(value), f"{metavar}|{NONE}"
    return click.option(
        flag, field.name, type=value, metavar=metavar, help=f"{help_text} [{default}]"
    )


def _type_of(field: Field[Any]) -> tuple[click.ParamType[Any], str]:
    if field.name in _CHOICES:
        words = [str(choice) for choice in _CHOICES[field.name]]
        return click.Choice(words), "|".join(words)
    if field.name.endswith("_ms"):
        return Duration(), "TIME"
    if field.name == "max_bytes":
        return Size(), "SIZE"
    return (click.STRING, "QUEUE") if "str" in str(field.type) else (click.INT, "N")
