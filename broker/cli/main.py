"""The command ``msgqueue``: which words there are, and where each of them lives.

Law: a command loads what it needs and no more.  ``msgqueue put`` loads no broker, ``serve`` no
drawing; so the table below names modules, and a word is imported when it is said.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from broker.server.version import program_version

try:
    import click
except ModuleNotFoundError:
    sys.exit("msgqueue: the command line needs click: pip install 'msgqueue[cli]'")

from broker.cli.ending import NamedEnds

#: The word, and where its command stands, in the order in which help tells them.
WORDS = {
    "serve": "broker.cli.serve:serve_command",
    "put": "broker.cli.put:put_command",
    "get": "broker.cli.take:get_command",
    "consume": "broker.cli.take:consume_command",
    "peek": "broker.cli.peek:peek_command",
    "queue": "broker.cli.queue:queue_group",
    "pub": "broker.cli.publish:pub_command",
    "sub": "broker.cli.subscribe:sub_command",
    "channel": "broker.cli.channel:channel_group",
    "call": "broker.cli.call:call_command",
    "service": "broker.cli.service:service_group",
    "top": "broker.cli.top:top_command",
    "check": "broker.cli.check:check_command",
    "export": "broker.cli.definitions:export_command",
    "import": "broker.cli.definitions:import_command",
    "cluster": "broker.cli.cluster:cluster_group",
}


class _Words(NamedEnds):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(WORDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = WORDS.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: Any = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Words, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(program_version(), prog_name="msgqueue")
def main() -> None:
    """A durable message broker over ZeroMQ, and all that can be asked of it.

    \b
    First steps:
      msgqueue serve                       in one terminal: a broker
      msgqueue put orders 'one' 'two'      in another: two messages
      msgqueue get orders                  takes one and prints it
      msgqueue consume orders              takes the rest, and waits for more
      msgqueue queue ls                    what is there

    Every command explains itself: `msgqueue put -h`. All but serve and cluster speak with the
    broker that --connect or MSGQUEUE_CONNECT names, tcp://127.0.0.1:5570 by default.
    """
