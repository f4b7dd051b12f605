"""``msgqueue serve``: a broker until a signal ends it.

Owns how the process of a broker ends: one line on standard error and the status of the error.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from pathlib import Path

import click

from broker.cli.config_options import given_flags, with_fields
from broker.cli.ending import exit_status
from broker.errors import MsgQueueError
from broker.server.config import FIELDS, load_config


@click.command("serve")
@with_fields(FIELDS)
def serve_command(file: Path | None, **flags: object) -> None:
    """Run a broker until SIGTERM or SIGINT.

    \b
    Examples:
      msgqueue serve
      msgqueue serve --data /var/lib/msgqueue --listen tcp://127.0.0.1:5570
    """
    # Here, so that the help of the command line loads no broker.
    from broker.server.service import serve

    status = 1
    try:
        serve(load_config(given_flags(flags), os.environ, file=file))
        status = 0
    except MsgQueueError as error:
        status = exit_status(error)
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
