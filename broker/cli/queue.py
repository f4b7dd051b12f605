"""``msgqueue queue``: queues as things: list, look, declare, change, empty, delete."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from broker.cli.connecting import Broker, with_broker
from broker.cli.ending import NamedEnds
from broker.cli.output import JSON, table, with_output, write_json, write_line, write_lines
from broker.cli.queue_bindings import bind_command, bindings_command, unbind_command
from broker.cli.queue_facts import fact_lines, plain_stats
from broker.cli.queue_messages import redrive_command, remove_command, reschedule_command
from broker.cli.queue_schedules import schedule_group
from broker.cli.queue_settings import ELSEWHERE, flag_of, given_settings, shown, with_settings
from broker.client.sync_client import Client
from broker.errors import OperationRefused, QueueNotFound, SettingsMismatch
from broker.model.settings import QueueSettings

_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group("queue", cls=NamedEnds)
def queue_group() -> None:
    """List, look at, declare, change, empty and delete queues."""


for _command in (
    *(redrive_command, remove_command, reschedule_command, schedule_group),
    *(bind_command, unbind_command, bindings_command),
):
    queue_group.add_command(_command)


@queue_group.command("ls")
@click.argument("prefix", required=False, default="")
@with_output
@with_broker
def ls_command(broker: Broker, prefix: str, output: str) -> None:
    """List the queues.

    All, or those whose name begins with PREFIX.  With -o json a line is one queue with all that
    the broker counts of it.
    """
    with broker.client() as client:
        found = [plain_stats(stats) for stats in _each_stats(client, prefix)]
    if output == JSON:
        for stats in found:
            write_json(stats)
        return
    rows = [
        (
            stats["queue"],
            stats["ready"],
            stats["in_flight"],
            stats["delayed"],
            stats["bytes"],
            stats["consumers"],
            "paused" if stats["settings"]["paused"] else "",
        )
        for stats in found
    ]
    header = ("QUEUE", "READY", "IN FLIGHT", "DELAYED", "BYTES", "CONSUMERS", "")
    write_lines(table(header, rows))


@queue_group.command("info")
@click.argument("queue")
@with_output
@with_broker
def info_command(broker: Broker, queue: str, output: str) -> None:
    """Tell what a queue holds, its settings, its counters."""
    with broker.client() as client:
        stats = plain_stats(client.queue(queue).stats())
    if output == JSON:
        write_json(stats)
    else:
        write_lines(fact_lines(stats))


@queue_group.command("declare")
@click.argument("queue")
@with_settings
@with_output
@with_broker
def declare_command(broker: Broker, queue: str, output: str, **options: Any) -> None:
    """Make a queue.

    One that is there with the same settings is left as it is.  One that is there with other
    settings is an error, settings_mismatch: `queue update` changes it. What is not given has the
    default that stands in brackets.

    \b
    Examples:
      msgqueue queue declare orders
      msgqueue queue declare orders --lease 5m --max-attempts 3 --dead-letter orders.dead
      msgqueue queue declare jobs --max-messages 100000 --overflow drop_oldest
    """
    settings = given_settings(options)
    with broker.client() as client:
        try:
            # The client declares when it is given a setting; this one is the default.
            client.queue(queue, **(settings or {"durable": True}))
        except SettingsMismatch:
            standing = client.queue(queue).stats()["settings"]
            raise SettingsMismatch(_mismatch(queue, standing, settings)) from None
        now = client.queue(queue).stats()["settings"]
    _tell_settings(queue, now, output, f"{queue} is declared")


@queue_group.command("update")
@click.argument("queue")
@with_settings
@with_output
@with_broker
def update_command(broker: Broker, queue: str, output: str, **options: Any) -> None:
    """Change settings while it runs.

    Those that are not given stay.

    \b
    Examples:
      msgqueue queue update orders --lease 10m --max-attempts 5
      msgqueue queue update orders --ttl none
    """
    settings = given_settings(options)
    if not settings:
        raise click.UsageError("nothing to change: name a setting, such as --lease 5m")
    with broker.client() as client:
        now = client.queue(queue).update(**settings)
    changed = ", ".join(f"{flag_of(name)} {shown(name, now[name])}" for name in settings)
    _tell_settings(queue, now, output, f"{queue} has now {changed}")


@queue_group.command("pause")
@click.argument("queue")
@with_output
@with_broker
def pause_command(broker: Broker, queue: str, output: str) -> None:
    """Deliver nothing until `resume`.

    Puts and acknowledgements go on.
    """
    with broker.client() as client:
        client.queue(queue).pause()
    _tell(output, f"{queue} is paused", queue=queue, paused=True)


@queue_group.command("resume")
@click.argument("queue")
@with_output
@with_broker
def resume_command(broker: Broker, queue: str, output: str) -> None:
    """Deliver again what was paused."""
    with broker.client() as client:
        client.queue(queue).resume()
    _tell(output, f"{queue} delivers", queue=queue, paused=False)


@queue_group.command("purge")
@click.argument("queue")
@_yes
@with_output
@with_broker
def purge_command(broker: Broker, queue: str, yes: bool, output: str) -> None:
    """Remove all messages that wait.

    Those that a consumer has stay.
    """
    with broker.client() as client:
        holding = client.queue(queue).stats()["messages"]
        require_yes(yes, f"remove what waits of {queue}, which holds {holding} messages")
        count = client.queue(queue).purge()
    _tell(output, f"removed {count} messages of {queue}", queue=queue, removed=count)


@queue_group.command("delete")
@click.argument("queue")
@click.option("--force", is_flag=True, help="Although it holds messages.")
@_yes
@with_output
@with_broker
def delete_command(broker: Broker, queue: str, force: bool, yes: bool, output: str) -> None:
    """Delete a queue that is empty.

    With --force it is deleted with its messages, also those that consumers have.
    """
    with broker.client() as client:
        holding = client.queue(queue).stats()["messages"]
        require_yes(yes, f"delete {queue}, which holds {holding} messages")
        count = client.queue(queue).delete(if_empty=not force)
    _tell(output, f"{queue} is deleted, with {count} messages", queue=queue, removed=count)


def _mismatch(queue: str, standing: dict[str, Any], given: dict[str, Any]) -> str:
    wanted = QueueSettings.from_map(given).as_map()
    other = [
        f"{flag_of(name)[2:]} {shown(name, standing[name])}, not {shown(name, value)}"
        for name, value in wanted.items()
        if standing.get(name) != value and name not in {"paused", *ELSEWHERE}
    ]
    return f"{queue} has {'; '.join(other)} ('msgqueue queue update' changes it)"


def require_yes(yes: bool, what: str) -> None:
    """Asks on a terminal; a script was written with what it wants to happen."""
    if yes or not sys.stdin.isatty():
        return
    if not click.confirm(f"{what[0].upper()}{what[1:]}?", err=True):
        raise OperationRefused("nothing was changed")


def _tell(output: str, text: str, **fields: Any) -> None:
    if output == JSON:
        write_json(fields)
    else:
        write_line(text)


def _tell_settings(queue: str, settings: dict[str, Any], output: str, text: str) -> None:
    _tell(output, text, queue=queue, settings=settings)


def _each_stats(client: Client, prefix: str) -> Iterator[dict[str, Any]]:
    for name in client.queues():
        if name.startswith(prefix):
            try:
                yield client.queue(name).stats()
            except QueueNotFound:
                continue  # It was deleted meanwhile.
