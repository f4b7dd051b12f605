"""``msgqueue top``: all queues as they are now, drawn again and again.

Owns the table and the keys.  What it shows is asked from the broker each time; it keeps nothing
between two drawings.
"""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from broker.cli.connecting import Broker, with_broker
from broker.cli.output import JSON, table, with_output, write_json, write_lines
from broker.cli.queue_facts import plain_stats
from broker.cli.values import Duration
from broker.client.sync_client import Client
from broker.errors import QueueNotFound
from broker.limits import SECOND

if TYPE_CHECKING:
    from rich.table import Table

_HEADER = (
    *("QUEUE", "READY", "FLIGHT", "DELAY", "DEPART", "IN/S", "OUT/S", "ACK/S", "NACK/S"),
    *("CONS", "OLDEST", "BYTES", ""),
)
_SORTS = {
    "name": lambda stats: stats["queue"],
    "ready": lambda stats: (-stats["ready"], stats["queue"]),
    "in": lambda stats: (-_rate(stats, "in"), stats["queue"]),
    "out": lambda stats: (-_rate(stats, "out"), stats["queue"]),
}


@click.command("top")
@click.argument("queues", metavar="[QUEUE]...", nargs=-1)
@click.option("--every", type=Duration(), default="2s", metavar="TIME", help="[2s]")
@click.option("--sort", type=click.Choice(list(_SORTS)), default="name", show_default=True)
@click.option("--once", is_flag=True, help="Print the table once and end.")
@with_output
@with_broker
def top_command(
    broker: Broker, queues: tuple[str, ...], every: int, sort: str, once: bool, output: str
) -> None:
    """Watch the queues.

    All, or those that are named; q or Ctrl-C ends.  FLIGHT is what consumers have, DEPART what is
    on its way to another queue, OLDEST how long the oldest message that is ready has waited.

    Without a terminal the table is printed once.  With -o json a line is all queues at one moment,
    one line each --every.

    \b
    Examples:
      msgqueue top
      msgqueue top --sort ready --every 1s
      msgqueue top --once -o json | jq '.queues[] | select(.ready > 1000)'
    """
    with broker.client() as client:

        def look() -> list[dict[str, Any]]:
            return sorted(_all_stats(client, queues), key=_SORTS[sort])

        if output == JSON:
            _print_each(look, every / 1000, once)
        elif once or not sys.stdout.isatty():
            write_lines(table(_HEADER, [_row(stats) for stats in look()]))
        else:
            _watch(look, every / 1000, broker.address)


def _print_each(look: Any, every_s: float, once: bool) -> None:
    while True:
        write_json({"at": time.time(), "queues": look()})
        if once:
            return
        time.sleep(every_s)


def _watch(look: Any, every_s: float, address: str) -> None:
    """Draws until a key or a signal ends it."""
    from rich.live import Live

    with _keys() as pressed, Live(screen=True, auto_refresh=False) as live:
        while True:
            live.update(_drawing(look(), address), refresh=True)
            if pressed(every_s) in ("q", "Q"):
                return


def _drawing(found: list[dict[str, Any]], address: str) -> Table:
    from rich.table import Table

    title = f"msgqueue {address}   {time.strftime('%H:%M:%S')}   {len(found)} queues   q ends"
    drawing = Table(
        box=None, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left"
    )
    for number, name in enumerate(_HEADER):
        side: Any = "right" if 0 < number < len(_HEADER) - 1 else "left"
        drawing.add_column(name, justify=side, no_wrap=True, min_width=len(name))
    for stats in found:
        style = "yellow" if stats["settings"]["paused"] else None
        drawing.add_row(
            *("-" if value is None else str(value) for value in _row(stats)), style=style
        )
    return drawing


@contextmanager
def _keys() -> Iterator[Any]:
    """Gives a function that waits for a key, at most so many seconds; "" when none came."""
    if not sys.stdin.isatty():
        yield _wait_keyless
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    former = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)

    def pressed(seconds: float) -> str:
        return sys.stdin.read(1) if select.select([sys.stdin], [], [], seconds)[0] else ""

    try:
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, former)


def _wait_keyless(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def _all_stats(client: Client, queues: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """A queue that is named must be there; one that was listed may be gone meanwhile."""
    for name in queues or client.queues():
        try:
            yield plain_stats(client.queue(name).stats())
        except QueueNotFound:
            if queues:
                raise


def _row(stats: dict[str, Any]) -> tuple[Any, ...]:
    oldest_ms = stats.get("oldest_ms")
    return (
        stats["queue"],
        stats["ready"],
        stats["in_flight"],
        stats["delayed"],
        stats.get("departing", 0),
        *(_shown_rate(_rate(stats, name)) for name in ("in", "out", "ack", "nack")),
        stats["consumers"],
        None if oldest_ms is None else _age(oldest_ms // SECOND),
        stats["bytes"],
        "paused" if stats["settings"]["paused"] else "",
    )


def _age(seconds: int) -> str:
    """Two digits tell enough: ``95s``, ``12m``, ``30h``, ``9d``."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _rate(stats: dict[str, Any], name: str) -> float:
    rate: float = stats.get("rates", {}).get(name, 0.0)
    return rate


def _shown_rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 or rate == 0 else f"{rate:.1f}"
