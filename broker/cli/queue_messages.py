"""``queue remove``, ``reschedule`` and ``redrive``: messages moved or dropped."""

from __future__ import annotations

import re
import time
from typing import Any

import click

from broker.cli.connecting import Broker, with_broker
from broker.cli.ending import NOTHING_THERE
from broker.cli.output import JSON, with_output, write_json, write_line
from broker.cli.progress import Progress
from broker.cli.take import explains_where, with_where
from broker.cli.values import Duration, Instant
from broker.client.operations import Changed
from broker.client.progress import POLL_S
from broker.client.sync_redrive import Redrive

#: Positions of one command; more are a purge, or several commands.
_POSITIONS_MAX = 1_000_000


class _Positions(click.ParamType[range]):
    """``17``, or ``17-25`` with both ends."""

    name = "positions"

    def convert(self, value: Any, param: Any, ctx: Any) -> range:
        if isinstance(value, range):
            return value
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", str(value), re.ASCII)
        if found is None:
            self.fail(f"{value!r} is no position: 17, or 17-25; an id goes by --id", param, ctx)
        first = int(found.group(1))
        last = int(found.group(2) or first)
        if not first <= last < first + _POSITIONS_MAX:
            self.fail(f"{value!r} is no range of at most {_POSITIONS_MAX} positions", param, ctx)
        return range(first, last + 1)


_positions = click.argument("positions", type=_Positions(), nargs=-1, metavar="[POSITION]...")
_ids = click.option("--id", "ids", multiple=True, metavar="ID", help="Of a message; repeatable.")


@click.command("remove")
@click.argument("queue")
@_positions
@_ids
@with_output
@with_broker
def remove_command(
    broker: Broker, queue: str, positions: tuple[range, ...], ids: tuple[str, ...], output: str
) -> int:
    """Remove single messages that wait.

    Also to cancel what is delayed.  Positions are those of `msgqueue peek`; the id that a put
    told, QUEUE:POSITION, is known everywhere, one of your own in a queue with --dedup or
    --index-ids.  A message that a consumer has stays, and counts as missing.  The exit status is 4
    when none was removed.

    \b
    Examples:
      msgqueue queue remove orders 17 20-25
      msgqueue queue remove orders --id order-4711 --id orders:17
    """
    which = _which(positions, ids)
    with broker.client() as client:
        changed = client.queue(queue).remove(which)
    return _tell_changed("removed", queue, changed, output)


@click.command("reschedule")
@click.argument("queue")
@_positions
@_ids
@click.option("--at", type=Instant(), metavar="INSTANT", help="Ready then.")
@click.option("--delay", type=Duration(), metavar="TIME", help="Ready so long from now; 0 is now.")
@with_output
@with_broker
def reschedule_command(
    broker: Broker,
    queue: str,
    positions: tuple[range, ...],
    ids: tuple[str, ...],
    at: float | None,
    delay: int | None,
    output: str,
) -> int:
    """Make messages ready at another time.

    Only those that wait, ready or delayed.  POSITION and ID are as in `queue remove`.

    \b
    Examples:
      msgqueue queue reschedule reminders 17 --at 2026-01-31T12:00:00Z
      msgqueue queue reschedule reminders --id call-back --delay 0
    """
    if (at is None) == (delay is None):
        raise click.UsageError("give either --at or --delay")
    which = _which(positions, ids)
    with broker.client() as client:
        delay_s = None if delay is None else delay / 1000
        changed = client.queue(queue).reschedule(which, at=at, delay=delay_s)
    return _tell_changed("rescheduled", queue, changed, output)


@click.command("redrive")
@click.argument("queue")
@click.option("--to", metavar="QUEUE", help="All to that queue. [where each came from]")
@click.option("--max", "count_max", type=click.IntRange(1), metavar="N", help="So many.")
@click.option("--per-second", type=click.IntRange(1), metavar="N", help="No faster than that.")
@click.option("--stop", is_flag=True, help="Stop the one that runs; what has not moved stays.")
@click.option("--no-wait", is_flag=True, help="Do not wait for its end; the broker goes on.")
@with_where
@with_output
@with_broker
@explains_where
def redrive_command(
    broker: Broker,
    queue: str,
    to: str | None,
    count_max: int | None,
    per_second: int | None,
    stop: bool,
    no_wait: bool,
    where: tuple[list[Any], ...],
    output: str,
) -> None:
    """Send dead letters back.

    Each goes to the queue where it died, or all to the one of --to, which takes what never died
    as well: that empties any queue into another.  It shows how far it is, and ends when all have
    moved.  Ctrl-C ends the waiting; the redrive goes on until `redrive --stop`.

    \b
    Examples:
      msgqueue queue redrive orders.dead
      msgqueue queue redrive orders.dead --where x-death-reason=attempts --per-second 100
      msgqueue queue redrive orders.dead --to orders.retry --max 1000
    """
    with broker.client() as client:
        redriven = client.queue(queue)
        if stop:
            job = redriven.redriving()
            job.stop()
        else:
            job = redriven.redrive(
                to, max=count_max, per_second=per_second, selector=list(where) or None
            )
            if not no_wait:
                _wait(job)
    if output == JSON:
        write_json({"queue": queue, "moved": job.moved, "left": job.left, "running": job.running})
    else:
        state = "goes on" if job.running else "is over"
        write_line(f"the redrive of {queue} {state}: {job.moved} moved, {job.left} left")


def _wait(job: Redrive) -> None:
    with Progress(f"redriving {job.queue}", job.moved + job.left) as progress:
        while job.running:
            time.sleep(POLL_S)
            job.refresh()
            progress.tell(job.moved, job.moved + job.left)


def _which(positions: tuple[range, ...], ids: tuple[str, ...]) -> list[int | str | bytes]:
    if not positions and not ids:
        raise click.UsageError("name messages: positions such as 17 or 20-25, or --id ID")
    return [*(position for each in positions for position in each), *ids]


def _tell_changed(what: str, queue: str, changed: Changed, output: str) -> int:
    count, missing = changed.messages, changed.missing
    if output == JSON:
        write_json({"queue": queue, what: count, "missing": missing})
    else:
        lacking = f"; not there, or with a consumer: {_named(missing)}" if missing else ""
        write_line(f"{what} {count} of {queue}{lacking}")
    return 0 if count else NOTHING_THERE


def _named(missing: list[int | str | bytes]) -> str:
    shown = ", ".join(str(each) for each in missing[:10])
    return f"{shown} and {len(missing) - 10} more" if len(missing) > 10 else shown
