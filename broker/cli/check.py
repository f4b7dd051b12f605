"""``msgqueue check``: is the broker well?  An exit status for health checks, a line for people."""

from __future__ import annotations

import time
from typing import Any

import click

from broker.cli.connecting import Broker, with_broker
from broker.cli.output import JSON, with_output, write_json, write_line
from broker.errors import MsgQueueError

WELL, IMPAIRED, DOWN = 0, 1, 2
_WORDS = ("ok", "warning", "critical")


@click.command("check")
@with_output
@with_broker
def check_command(broker: Broker, output: str) -> int:
    """Tell whether the broker is well.

    The exit status tells it, too:

    \b
      0  it answers, and all is well
      1  it answers, and something is amiss: an alarm refuses puts, or slots of the cluster are
         served by nobody
      2  it cannot be reached, or does not answer in time

    \b
    Examples:
      msgqueue check --timeout 2s
      docker run --health-cmd 'msgqueue check --timeout 2s || exit 1' ...
    """
    found: dict[str, Any] = {"broker": broker.address}
    try:
        status, facts = _look(broker)
        found |= facts
    except MsgQueueError as error:
        status, found["problems"] = DOWN, [f"{error.name}: {error.text}"]
    found = {"status": _WORDS[status], **found}
    if output == JSON:
        write_json(found)
    else:
        write_line(_line(found))
    return status


def _look(broker: Broker) -> tuple[int, dict[str, Any]]:
    with broker.client() as client:
        asked_at = time.monotonic()
        stats = client.stats()
        round_trip_ms = round((time.monotonic() - asked_at) * 1000, 3)
    problems = []
    if stats["alarm"]:
        problems.append(f"alarm: {stats['alarm']}")
    if missing := stats.get("slots_missing"):
        problems.append(f"{len(missing)} slots are served by nobody")
    names = ("queues", "ready", "in_flight", "delayed", "sessions")
    facts = {"round_trip_ms": round_trip_ms, **{name: stats[name] for name in names}}
    facts |= {"slots_missing": stats.get("slots_missing", []), "problems": problems}
    return (IMPAIRED if problems else WELL), facts


def _line(found: dict[str, Any]) -> str:
    if found["problems"]:
        return f"{found['status']}: {found['broker']}: {'; '.join(found['problems'])}"
    return (
        f"ok: {found['broker']} answers in {found['round_trip_ms']} ms:"
        f" {found['queues']} queues, {found['ready']} messages ready,"
        f" {found['in_flight']} in flight, {found['delayed']} delayed"
    )
