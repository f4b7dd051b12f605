"""``msgqueue service``: which services there are, and how busy."""

from __future__ import annotations

import click

from broker.cli.connecting import Broker, with_broker
from broker.cli.ending import NamedEnds
from broker.cli.output import JSON, table, with_output, write_json, write_lines


@click.group("service", cls=NamedEnds)
def service_group() -> None:
    """Look at services; `msgqueue call` asks one."""


@service_group.command("ls")
@click.argument("pattern", default=">")
@with_output
@with_broker
def ls_command(broker: Broker, pattern: str, output: str) -> None:
    """List the services that have workers or calls.

    All, or those that match PATTERN.  With -o json a line is one service with all that the broker
    counts of it.
    """
    with broker.client() as client:
        found = client.services(pattern)
    if output == JSON:
        for name, facts in found.items():
            write_json({"service": name, **facts})
        return
    columns = ("workers", "concurrency", "busy", "waiting")
    counted = ("calls", "answered", "handler_failed", "timeout", "overloaded")
    rows = [
        (name, *(facts[each] for each in columns), *(facts["counters"][each] for each in counted))
        for name, facts in found.items()
    ]
    header = ("SERVICE", *(each.replace("_", " ").upper() for each in (*columns, *counted)))
    write_lines(table(header, rows))
