"""Flags of commands for the fields of the Config, as each command wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from broker.server.config import Field

Command = TypeVar("Command", bound=Callable[..., object])


def with_fields(wanted: Iterable[Field]) -> Callable[[Command], Command]:
    """``--config FILE`` and one flag for each field."""
    fields = tuple(wanted)

    def decorate(command: Command) -> Command:
        for field in reversed(fields):
            command = _with_field(command, field)
        path = click.Path(path_type=Path)
        return click.option("--config", "file", type=path, help="A TOML file.")(command)

    return decorate


def given_flags(flags: Mapping[str, object]) -> dict[str, object]:
    """What was given on the command line, and nothing else."""
    return {name: value for name, value in flags.items() if value not in (None, ())}


def _with_field(command: Command, field: Field) -> Command:
    flag: str = field.flag
    extra: dict[str, Any] = {"metavar": field.metavar}
    if field.metavar == "BOOL":
        flag, extra = f"{flag}/--no-{flag[2:]}", {"default": None}
    return click.option(
        flag,
        field.name,
        multiple=field.is_list,
        help=f"{field.help} [{field.variable}; default: {field.default}]",
        **extra,
    )(command)
