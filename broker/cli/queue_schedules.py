"""``msgqueue queue schedule``: messages that a queue is given again and again.

Owns the words.  The schedules are a setting of the queue, which changes as a whole: of two
operators who change it at the same moment, the later one wins.
"""

from __future__ import annotations

import time
from typing import Any

import click

from broker.cli.connecting import Broker, with_broker
from broker.cli.ending import NOTHING_THERE, NamedEnds
from broker.cli.messages import as_plain, decode_json, timestamp
from broker.cli.output import JSON, table, with_output, write_json, write_line, write_lines
from broker.cli.values import Header
from broker.client import content
from broker.client.sync_queue import Queue
from broker.errors import BadField
from broker.model.recurring import ZONE_DEFAULT

#: The broker looks at its schedules a few times a second.
_NOTED_S = 2.0
_AGAIN_S = 0.05


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

    A schedule of that name is replaced.  It tells the next instant, or ends with status 1 where
    the broker cannot follow the schedule, which stays nevertheless.  CRON has five fields, or six
    with seconds first.  The broker needs the package cronsim: pip install 'msgqueue[schedules]'.

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
        noted = _add(scheduled, name, schedule)
    told = _told(noted)
    if told["error"]:
        raise BadField(f"{queue} has the schedule {name}, but nothing comes of it: {told['error']}")
    if output == JSON:
        write_json({"queue": queue, "name": name, **schedule, **told})
    else:
        write_line(f"{queue} has the schedule {name}, next at {told['next_at'] or 'no instant'}")


@schedule_group.command("ls")
@click.argument("queue")
@with_output
@with_broker
def ls_command(broker: Broker, queue: str, output: str) -> None:
    """List the schedules of QUEUE, when each is next, and what is wrong with it."""
    with broker.client() as client:
        stats = client.queue(queue).stats()
    notes = stats.get("schedules", {})
    schedules = [
        (name, {"zone": ZONE_DEFAULT, **schedule}, _told(notes.get(name, {})))
        for name, schedule in sorted(stats["settings"]["schedules"].items())
    ]
    if output == JSON:
        for name, schedule, told in schedules:
            write_json({"queue": queue, "name": name, **as_plain(schedule), **told})
        return
    rows = [
        (name, each["cron"], each["zone"], told["next_at"], as_plain(each["body"]), told["error"])
        for name, each, told in schedules
    ]
    write_lines(table(("NAME", "CRON", "ZONE", "NEXT", "BODY", "ERROR"), rows))


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
        found = "does not have the schedule" if not is_there else "no longer has the schedule"
        write_line(f"{queue} {found} {name}")
    return 0 if is_there else NOTHING_THERE


def _add(queue: Queue, name: str, schedule: dict[str, Any]) -> dict[str, Any]:
    """What the broker notes of the new schedule; empty when it says nothing in time."""
    stats = queue.stats()
    schedules = stats["settings"]["schedules"]
    before = stats.get("schedules", {}).get(name, {})
    queue.update(schedules={**schedules, name: schedule})
    former = schedules.get(name, {})
    if [former.get(word) for word in ("cron", "zone")] == [schedule["cron"], schedule["zone"]]:
        return dict(before)
    deadline = time.monotonic() + _NOTED_S
    while time.monotonic() < deadline:
        noted = queue.stats().get("schedules", {}).get(name, {})
        if noted and noted != before:
            return dict(noted)
        time.sleep(_AGAIN_S)
    return {}


def _told(noted: dict[str, Any]) -> dict[str, Any]:
    next_at = noted.get("next_at") or None
    return {
        "next_at": timestamp(next_at / 1000) if next_at else None,
        "error": noted.get("error") or None,
    }


def _schedules(queue: Queue) -> dict[str, Any]:
    schedules: dict[str, Any] = queue.stats()["settings"]["schedules"]
    return schedules
