"""``msgqueue sub``: messages of channels to standard output, as they are published.

Law: what was missed and cannot be had any more is told on standard error, at the moment when it is
known; nothing is left out without a word.
"""

from __future__ import annotations

from typing import Any

import click

from broker.cli.connecting import Broker, with_broker
from broker.cli.ending import tell
from broker.cli.events import event_writer
from broker.cli.output import with_output
from broker.cli.take import explains_where, with_where
from broker.cli.values import Duration, Start
from broker.client.channels.runs import Gap


@click.command("sub")
@click.argument("patterns", metavar="PATTERN...", nargs=-1, required=True)
@click.option("--from", "start", type=Start(), default="now", metavar="START", help="[now]")
@click.option(
    "-n",
    "--max",
    "count_max",
    type=click.IntRange(1),
    metavar="N",
    help="End after so many messages.",
)
@click.option("--idle-timeout", type=Duration(), metavar="TIME", help="End when none comes for it.")
@click.option("--strict", is_flag=True, help="End with status 1 when any message was missed.")
@click.option("--raw", is_flag=True, help="Bodies as they are: no channel, no newline.")
@with_where
@with_output
@with_broker
@explains_where
def sub_command(
    broker: Broker,
    patterns: tuple[str, ...],
    start: Any,
    count_max: int | None,
    idle_timeout: int | None,
    strict: bool,
    raw: bool,
    where: tuple[list[Any], ...],
    output: str,
) -> None:
    """Print what is published to channels.

    Until Ctrl-C, --max or --idle-timeout.  In a PATTERN * stands for one token of a name and > at
    the end for all the rest; quote it.  A body is a line, with its channel before it where more
    than one channel can match.  Messages that were missed are told on standard error.

    \b
    --from is where to begin:
      now            with what is published from now on
      all, last      with all that each channel keeps, with its newest message
      340            with that sequence
      10m, 2026-01-31T12:00:00Z
                     so long ago, at that instant

    \b
    Examples:
      msgqueue sub news.de
      msgqueue sub 'news.*' 'alarms.>' -o json | jq .body
      msgqueue sub prices.gold --from last -n 1
      msgqueue sub '$sys.>' -o json
    """
    write = event_writer(output, raw, patterns)
    idle_s = None if idle_timeout is None else idle_timeout / 1000
    with (
        broker.client() as client,
        client.subscribe(
            *patterns,
            start=start,
            selector=list(where) or None,
            on_gap=_tell_gap,
            raise_gaps=strict,
            max=count_max,
            timeout=idle_s,
        ) as subscription,
    ):
        for event in subscription:
            write(event)


def _tell_gap(gap: Gap) -> None:
    if gap.missed is None:
        tell("gap", f"{gap.channel} began anew at {gap.first}; how much was missed nobody knows")
    else:
        what = "message is" if gap.missed == 1 else "messages are"
        tell("gap", f"{gap.channel}: {gap.missed} {what} missed, from {gap.first} on")
