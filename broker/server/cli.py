"""The command line: ``msgqueue serve``.

Owns the words of the commands, and how an error ends the process: one line on standard error
and the exit status of the error.  click is an extra, and imported by no other module.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from broker.errors import MsgQueueError, ProcessError
from broker.server.config import FIELDS, load_config
from broker.server.service import serve
from broker.server.version import program_version

try:
    import click
except ModuleNotFoundError:
    sys.exit("msgqueue: the command line needs click: pip install 'msgqueue[cli]'")

_Command = TypeVar("_Command", bound=Callable[..., object])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(program_version(), prog_name="msgqueue")
def main() -> None:
    """A durable message broker over ZeroMQ."""


def _with_fields(command: _Command) -> _Command:
    """One flag for each field of the Config; what is not given stays out of the flags."""
    for field in reversed(FIELDS):
        flag: str = field.flag
        extra: dict[str, Any] = {"metavar": field.metavar}
        if field.metavar == "BOOL":
            flag, extra = f"{flag}/--no-{flag[2:]}", {"default": None}
        command = click.option(
            flag,
            field.name,
            multiple=field.name == "listen",
            help=f"{field.help} [{field.variable}; default: {field.default}]",
            **extra,
        )(command)
    return command


@main.command("serve")
@click.option("--config", "file", type=click.Path(path_type=Path), help="A TOML file.")
@_with_fields
def serve_command(file: Path | None, **flags: object) -> None:
    """Run a broker until SIGTERM or SIGINT."""
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    status = 1
    try:
        serve(load_config(given, os.environ, file=file))
        status = 0
    except MsgQueueError as error:
        status = error.exit_status if isinstance(error, ProcessError) else 1
        _tell(f"msgqueue: {error.name}: {error.text}")
    except Exception:
        _tell(traceback.format_exc())
        raise
    finally:
        # What the interpreter would still do on its way out, flushing sockets and closing the
        # store, must not happen once the disk has failed, and may wait for ever.
        os._exit(status)


def _tell(text: str) -> None:
    """On standard error, which may itself be a file on the disk that is full."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)
