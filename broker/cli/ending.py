"""How a command ends: the exit status, and one line on standard error that says why.

Law: no command ends with a traceback for anything that a user, a broker or a pipe did.

      0  done
      1  the broker refused it, or it failed; the line has the error's name
      2  the command was not understood
      3  no broker, or nobody who serves a call, answered in time
      4  there was nothing to take
     64+ an operator's errors, each with a status of its own (docs/operations.md)
    130  Ctrl-C
    141  whoever read the output closed it
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from broker.errors import (
    CallTimeout,
    ConnectionLost,
    DeadlinePassed,
    MsgQueueError,
    ProcessError,
    WaitTimeout,
)

FAILED = 1
NOT_UNDERSTOOD = 2
NO_ANSWER = 3
NOTHING_THERE = 4
INTERRUPTED = 130
PIPE_CLOSED = 141


def exit_status(error: MsgQueueError) -> int:
    if isinstance(error, ProcessError):
        return error.exit_status
    if isinstance(error, ConnectionLost | WaitTimeout | CallTimeout | DeadlinePassed):
        return NO_ANSWER
    return FAILED


class NamedEnds(click.Group):
    """A group of commands whose every end is one of the table above."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        """As click's, which ends the process unless ``standalone_mode`` is False."""
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **extra)
        sys.exit(self._status(args, extra))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The interpreter flushes once more on its way out, and nobody reads that either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(PIPE_CLOSED)

    def _status(self, args: Sequence[str] | None, extra: dict[str, Any]) -> int:
        try:
            status = super().main(args, standalone_mode=False, **extra)
        except click.Abort:
            return INTERRUPTED
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return NOT_UNDERSTOOD
        except click.ClickException as error:
            tell("usage", f"{_one_line(error.format_message())}{_where_to_look(error)}")
            return NOT_UNDERSTOOD
        except MsgQueueError as error:
            tell(error.name, error.text)
            return exit_status(error)
        return status if isinstance(status, int) else 0


def tell(name: str, text: str) -> None:
    click.echo(f"msgqueue: {name}: {text}", err=True)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _where_to_look(error: click.ClickException) -> str:
    ctx = getattr(error, "ctx", None)
    return f" ('{ctx.command_path} -h' tells more)" if ctx is not None else ""
