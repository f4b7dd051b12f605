"""``msgqueue queue bind``, ``unbind`` and ``bindings``: queues that keep what is published."""

from __future__ import annotations

from typing import Any

import click

from broker.cli.connecting import Broker, with_broker
from broker.cli.messages import as_plain
from broker.cli.output import JSON, table, with_output, write_json, write_line, write_lines
from broker.cli.take import explains_where, with_where


@click.command("bind")
@click.argument("queue")
@click.argument("pattern")
@with_where
@with_output
@with_broker
@explains_where
def bind_command(
    broker: Broker, queue: str, pattern: str, where: tuple[list[Any], ...], output: str
) -> None:
    """Put what is published to PATTERN into a queue, too.

    From the moment this ends each message is in the queue once, also while nobody consumes it.

    \b
    Examples:
      msgqueue queue bind orders.audit 'orders.>'
      msgqueue queue bind orders.large orders.new --where 'amount>1000'
    """
    with broker.client() as client:
        client.queue(queue).bind(pattern, selector=list(where) or None)
    _tell(output, f"{queue} gets what is published to {pattern}", queue, pattern)


@click.command("unbind")
@click.argument("queue")
@click.argument("pattern")
@with_output
@with_broker
def unbind_command(broker: Broker, queue: str, pattern: str, output: str) -> None:
    """Put no more of PATTERN into a queue.

    What is in the queue stays.
    """
    with broker.client() as client:
        client.queue(queue).unbind(pattern)
    _tell(output, f"{queue} gets nothing of {pattern} any more", queue, pattern)


@click.command("bindings")
@click.argument("queue")
@with_output
@with_broker
def bindings_command(broker: Broker, queue: str, output: str) -> None:
    """List the patterns that a queue is bound to."""
    with broker.client() as client:
        found = client.queue(queue).bindings()
    if output == JSON:
        for pattern, terms in found.items():
            write_json({"queue": queue, "pattern": pattern, **as_plain(terms)})
        return
    rows = [(pattern, _told(terms.get("selector"))) for pattern, terms in found.items()]
    write_lines(table(("PATTERN", "WHERE"), rows))


def _told(selector: list[list[Any]] | None) -> str | None:
    if selector is None:
        return None
    return ", ".join(f"{name} {operator} {value}" for name, operator, value in selector)


def _tell(output: str, text: str, queue: str, pattern: str) -> None:
    if output == JSON:
        write_json({"queue": queue, "pattern": pattern})
    else:
        write_line(text)
