"""``msgqueue peek``: what waits in a queue, and what is held, without taking any of it."""

from __future__ import annotations

from typing import Any

import click

from broker.cli.connecting import Broker, with_broker
from broker.cli.ending import NOTHING_THERE
from broker.cli.messages import as_json, own_id, timestamp
from broker.cli.output import JSON, table, with_output, write_json, write_lines
from broker.cli.take import explains_where, with_where
from broker.client.browsing import BrowsedMessage

_BODY_CHARACTERS = 60


@click.command("peek")
@click.argument("queue")
@click.option("--max", "count_max", type=click.IntRange(1), default=10, metavar="N", help="[10]")
@click.option(
    "--from", "first", type=click.IntRange(0), metavar="POSITION", help="Begin there. [the oldest]"
)
@click.option(
    "--id", "ids", multiple=True, metavar="ID", help="The message of that id; repeatable."
)
@with_where
@with_output
@with_broker
@explains_where
def peek_command(
    broker: Broker,
    queue: str,
    count_max: int,
    first: int | None,
    ids: tuple[str, ...],
    where: tuple[list[Any], ...],
    output: str,
) -> int:
    """Look at messages without taking them.

    They come in the order of their positions.  The state is ready, delayed, in_flight (a consumer
    has it), resting (waits for its retry, or was rescheduled) or departing (on its way to another
    queue).  Bodies are cut short; -o json has all of them.  Of a queue with partitions the
    position has its partition: part#1:17.  The exit status is 4 when there was none.

    \b
    Examples:
      msgqueue peek orders
      msgqueue peek orders --from 1200 --max 100 -o json
      msgqueue peek orders --id order-17
    """
    with broker.client() as client:
        found = client.queue(queue).browse(
            after=None if first is None else first - 1,
            max=count_max,
            selector=list(where) or None,
            ids=list(ids) or None,
        )
        messages = list(found)
    if output == JSON:
        for message in messages:
            write_json(as_json(message))
    elif messages:
        write_lines(table(_HEADER, [_row(message, queue) for message in messages]))
    return 0 if messages else NOTHING_THERE


_HEADER = ("POSITION", "STATE", "PRIORITY", "ATTEMPTS", "DUE", "ID", "BODY")


def _row(message: BrowsedMessage, asked: str) -> tuple[object, ...]:
    place = f"{message.queue}:{message.position}"
    return (
        message.position if message.queue == asked else place,
        message.state,
        message.priority,
        message.attempts,
        timestamp(message.due_at),
        _short(own_id(message)),
        _short(message.raw),
    )


def _short(value: str | bytes | None) -> str | None:
    """In one line, with what no terminal should be sent written out."""
    if value is None:
        return None
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    shown = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text[:200])
    if len(shown) > _BODY_CHARACTERS or len(text) > 200:
        return f"{shown[: _BODY_CHARACTERS - 1]}…"
    return shown
