"""The command line: ``msgqueue serve`` and, in a module of its own, ``msgqueue cluster``.

Owns the words of the commands, and how an error ends the process: one line on standard error
and the exit status of the error.  click is an extra, and imported by no module but these.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from pathlib import Path

from broker.errors import MsgQueueError, ProcessError
from broker.server.config import FIELDS, load_config
from broker.server.service import serve
from broker.server.version import program_version

try:
    import click

    from broker.server.cli_options import given_flags, with_fields
    from broker.server.cluster_commands import cluster_group
except ModuleNotFoundError:
    sys.exit("msgqueue: the command line needs click: pip install 'msgqueue[cli]'")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(program_version(), prog_name="msgqueue")
def main() -> None:
    """A durable message broker over ZeroMQ."""


main.add_command(cluster_group)


@main.command("serve")
@with_fields(FIELDS)
def serve_command(file: Path | None, **flags: object) -> None:
    """Run a broker until SIGTERM or SIGINT."""
    status = 1
    try:
        serve(load_config(given_flags(flags), os.environ, file=file))
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
