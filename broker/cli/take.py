"""``msgqueue get`` and ``consume``: messages to standard output, acknowledged once written there.

Law: a message is acknowledged after the write of it, and after no other.  What was taken and could
not be written, because the reader closed the pipe, goes back uncharged.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import click

from broker.cli.connecting import Broker, require_queue, with_broker
from broker.cli.ending import NOTHING_THERE
from broker.cli.messages import as_json
from broker.cli.output import JSON, with_output, write_bytes, write_json
from broker.cli.values import Condition, Duration
from broker.client.message import Message
from broker.errors import QueueNotFound
from broker.limits import GET_COUNT_MAX

if TYPE_CHECKING:
    from broker.client.sync_client import Client

_CONDITIONS = """
    \b
    A condition of --where is one of these; all that are given must hold:
      country=de     equal           size>10   size<=99   by number
      kind=a|b       one of          name^=order.         begins with
      trace          is there        !trace               is not there
    A name that begins with $ is a property: '$type=event', '$priority>5'.
    Quotes make a text of a number: 'size="10"'."""

with_where = click.option(
    "--where", type=Condition(), multiple=True, metavar="CONDITION", help="On headers; repeatable."
)
_raw = click.option("--raw", is_flag=True, help="Bodies as they are, with no newline after each.")


def explains_where(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the grammar of --where to the command's help."""
    command.__doc__ = f"{(command.__doc__ or '').rstrip()}\n{_CONDITIONS}\n"
    return command


@click.command("get")
@click.argument("queue")
@click.option(
    "--max", "count_max", type=click.IntRange(1, GET_COUNT_MAX), default=1, metavar="N", help="[1]"
)
@click.option("--wait", type=Duration(), default="0", metavar="TIME", help="For the first. [0]")
@click.option(
    "--ack/--no-ack", default=True, help="Remove what was printed, or give it back. [ack]"
)
@with_where
@_raw
@with_output
@with_broker
@explains_where
def get_command(
    broker: Broker,
    queue: str,
    count_max: int,
    wait: int,
    ack: bool,
    where: tuple[list[Any], ...],
    raw: bool,
    output: str,
) -> int:
    """Take messages and print them.

    A body is a line.  It takes what is there, up to --max messages, and with --wait waits for the
    first.  The exit status is 4 when there was none.  With -o json a line tells all of a message,
    and can be put again by `msgqueue put --jsonl`.

    \b
    Examples:
      msgqueue get orders
      msgqueue get orders --max 100 --wait 5s -o json
      msgqueue get orders --no-ack --where country=de
      msgqueue get images --raw > ring.png
    """
    write = _writer(output, raw)
    with broker.client() as client:
        taking = require_queue(client, queue)
        messages = taking.get_many(count_max, wait / 1000, selector=list(where) or None)
        _hand_out(messages, write, ack=ack)
    return 0 if messages else NOTHING_THERE


@click.command("consume")
@click.argument("queue")
@click.option(
    "--max", "count_max", type=click.IntRange(1), metavar="N", help="End after so many messages."
)
@click.option("--idle-timeout", type=Duration(), metavar="TIME", help="End when none comes for it.")
@click.option(
    "--priority",
    type=click.IntRange(-100, 100),
    metavar="N",
    help="Consumers of a higher one are served first. [0]",
)
@with_where
@_raw
@with_output
@with_broker
@explains_where
def consume_command(
    broker: Broker,
    queue: str,
    count_max: int | None,
    idle_timeout: int | None,
    priority: int | None,
    where: tuple[list[Any], ...],
    raw: bool,
    output: str,
) -> None:
    """Print messages as they come.

    Until Ctrl-C, --max or --idle-timeout.

    Each is acknowledged once it is written to standard output.  What was taken and not written goes
    back: at Ctrl-C, at SIGTERM, and when the reader closes the pipe.  With -o json a line tells all
    of a message.  A queue that is not there is declared, and waited on.

    \b
    Examples:
      msgqueue consume orders
      msgqueue consume orders -o json | jq .body
      msgqueue consume orders --idle-timeout 2s > backup.txt
      msgqueue consume orders --max 10 --where 'size>100'
    """
    write = _writer(output, raw)
    idle_s = None if idle_timeout is None else idle_timeout / 1000
    with _ended_by_sigterm(), broker.client() as client:
        _tell_new(client, queue)
        messages = client.queue(queue).consume(
            max=count_max, timeout=idle_s, priority=priority, selector=list(where) or None
        )
        with closing(messages):
            _hand_out(messages, write, ack=True)


def _hand_out(messages: Iterable[Message], write: Callable[[Message], None], *, ack: bool) -> None:
    """Writes each, then settles it.  What is given back goes at the end, not to come again here."""
    kept: list[Message] = []
    left = iter(messages)
    try:
        for message in left:
            kept.append(message)
            write(message)
            if ack:
                kept.pop()
                message.ack()
    finally:
        for message in (*kept, *(left if isinstance(messages, list) else ())):
            if message.is_held:
                message.nack(delay=0, charge=False)


def _writer(output: str, raw: bool) -> Callable[[Message], None]:
    if output == JSON:
        return lambda message: write_json(as_json(message))
    end = b"" if raw else b"\n"
    return lambda message: write_bytes(message.raw + end)


def _tell_new(client: Client, queue: str) -> None:
    """A name that was mistyped would wait for ever without a word."""
    try:
        require_queue(client, queue)
    except QueueNotFound:
        click.echo(f"msgqueue: {queue} is not there yet: it is declared now, and empty", err=True)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """As Ctrl-C does it: what is held goes back before the process ends."""

    def end(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    former = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
