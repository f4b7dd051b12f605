"""``msgqueue queue schedule``: messages that a queue is given again and again.

Owns the words.  The schedules are a setting of the queue, which changes as a whole: of two
operators who change it at the same moment, the later one wins.
"""

from __future__ import annotations

from typing import Any

import click

from broker.cli.connecting import Broker, with_broker
from broker.cli.ending import NOTHING_THERE, NamedEnds
from broker.cli.messages import as_plain, decode_json
from broker.cli.output import JSON, table, with_output, write_json, write_line, write_lines
from broker.cli.values import Header
from broker.client import content
from broker.client.sync_queue import Queue


@click.group("schedule", cls=NamedEnds)
def schedule_group() -> None:
    """Add, list and remove the recurring messages of a queue."""


@schedule_group.command("add")
@click.argument("queue")
@click.argument("name")
@click.argument("body", default="")
@click.option("--cron", required=True, metavar="EXPR", help="When, such as '0 7 * * mon-fri'.")
@click.option(
    "--zone", default="UTC", metavar="ZONE", help="Whose clock, such as Europe/Berlin. [UTC]"
)
@click.option("--json", "as_json", is_flag=True, help="The body is JSON; checked and marked so.")
@click.option("--header", "headers", type=Header(), multiple=True, metavar="NAME=VALUE")
@click.option("--priority", type=click.IntRange(0, 9), metavar="0-9", help="Higher first. [4]")
@click.option("--type", "kind", metavar="TEXT", help="What kind of message it is.")
@click.option("--key", metavar="KEY", help="Keeps the order of messages with the same key.")
@with_output
@with_broker
def add_command(
    broker: Broker, queue: str, name: str, body: str, as_json: bool, output: str, **given: Any
) -> None:
    """Put BODY into QUEUE at each instant that --cron names; NAME is the schedule's.

    A schedule of that name is replaced.

    \b
    Examples:
      msgqueue queue schedule add reports nightly 'all' --cron '30 2 * * *'
      msgqueue queue schedule add reports weekly '{"top": 10}' --json \\
          --cron '0 7 * * mon' --zone Europe/Berlin
    """
    if as_json:
        decode_json(body.encode("utf-8", "surrogateescape"))
    fields = {
        "cron": given["cron"],
        "zone": given["zone"],
        "body": body,
        "content_type": content.JSON if as_json else None,
        "headers": dict(given["headers"]) or None,
        "priority": given["priority"],
        "type": given["kind"],
        "key": given["key"],
    }
    schedule = {field: value for field, value in fields.items() if value is not None}
    with broker.client() as client:
        scheduled = client.queue(queue)
        scheduled.update(schedules={**_schedules(scheduled), name: schedule})
    if output == JSON:
        write_json({"queue": queue, "name": name, **schedule})
    else:
        write_line(f"{queue} has the schedule {name}: {given['cron']}")


@schedule_group.command("ls")
@click.argument("queue")
@with_output
@with_broker
def ls_command(broker: Broker, queue: str, output: str) -> None:
    """List the schedules of QUEUE."""
    with broker.client() as client:
        schedules = sorted(_schedules(client.queue(queue)).items())
    if output == JSON:
        for name, schedule in schedules:
            write_json({"queue": queue, "name": name, **as_plain(schedule)})
        return
    rows = [
        (name, schedule["cron"], schedule["zone"], as_plain(schedule["body"]))
        for name, schedule in schedules
    ]
    write_lines(table(("NAME", "CRON", "ZONE", "BODY"), rows))


@schedule_group.command("remove")
@click.argument("queue")
@click.argument("name")
@with_output
@with_broker
def remove_command(broker: Broker, queue: str, name: str, output: str) -> int:
    """Remove the schedule NAME of QUEUE; what it has put stays.

    The exit status is 4 when there is none of that name.
    """
    with broker.client() as client:
        scheduled = client.queue(queue)
        schedules = _schedules(scheduled)
        is_there = schedules.pop(name, None) is not None
        if is_there:
            scheduled.update(schedules=schedules)
    if output == JSON:
        write_json({"queue": queue, "name": name, "removed": int(is_there)})
    else:
        found = "does not have the schedule" if not is_there else "has no more the schedule"
        write_line(f"{queue} {found} {name}")
    return 0 if is_there else NOTHING_THERE


def _schedules(queue: Queue) -> dict[str, Any]:
    schedules: dict[str, Any] = queue.stats()["settings"]["schedules"]
    return schedules
