"""``msgqueue export`` and ``import``: the definitions of all queues as one JSON file.

Law: importing the same file again changes nothing, and what would change is told first.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import click

from broker.cli.connecting import Broker, with_broker
from broker.cli.messages import as_plain, decode_json, from_plain
from broker.cli.output import JSON, with_output, write_json, write_line
from broker.cli.queue_settings import flag_of, shown
from broker.client.definitions import Definitions
from broker.errors import BadInput, MsgQueueError, OperationRefused
from broker.model.settings import QueueSettings
from broker.names import require_name

#: The setting, what stands, what the file wants.
Difference = tuple[str, Any, Any]


@click.command("export")
@click.argument("file", type=click.File("wb", lazy=True, atomic=True), default="-")
@with_broker
def export_command(broker: Broker, file: BinaryIO) -> None:
    """Write the definitions of all queues.

    As JSON to FILE, or to standard output.  Names and settings, none of the messages; `msgqueue
    import` makes them anew.

    \b
    Examples:
      msgqueue export queues.json
      msgqueue export | msgqueue import - --connect tcp://127.0.0.1:5580
    """
    with broker.client() as client:
        exported = client.export()
    text = json.dumps(as_plain(exported), indent=2, ensure_ascii=False)
    file.write(text.encode() + b"\n")
    file.flush()


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--update", is_flag=True, help="Change queues whose settings differ.")
@click.option("--dry-run", is_flag=True, help="Tell what would happen, and change nothing.")
@with_output
@with_broker
def import_command(
    broker: Broker, file: BinaryIO, update: bool, dry_run: bool, output: str
) -> None:
    """Make the queues of an exported file.

    FILE may be '-', standard input.  Queues that are there with the same settings are left; those
    with others are told, and changed only with --update.  Queues that the file does not name are
    left alone.  Without --update, a difference makes the exit status 79.

    \b
    Examples:
      msgqueue import queues.json --dry-run
      msgqueue import queues.json --update
    """
    wanted = _read(file)
    with broker.client() as client:
        standing = client.export()["queues"]
        differences = {
            name: _differences(standing[name], settings)
            for name, settings in wanted["queues"].items()
            if name in standing
        }
        if not dry_run:
            client.import_(wanted, update=update)
    told = [_told(name, differences.get(name), update) for name in wanted["queues"]]
    for queue in told:
        if output == JSON:
            write_json(queue)
        else:
            write_line(_line(queue, dry_run))
    left = [queue["queue"] for queue in told if queue["action"] == "differs"]
    if left:
        raise OperationRefused(f"left as they are, --update changes them: {', '.join(left)}")


def _read(file: BinaryIO) -> Definitions:
    """The definitions, each of them sound; raises BadInput."""
    try:
        value: Any = from_plain(decode_json(file.read()))
    except ValueError as error:
        raise BadInput(f"{file.name}: {error}") from None
    queues = value.get("queues") if isinstance(value, dict) else None
    if not isinstance(queues, dict):
        raise BadInput(f"{file.name}: no definitions as `msgqueue export` writes them")
    for name, settings in queues.items():
        try:
            require_name(name)
            QueueSettings.from_map(settings)
        except (MsgQueueError, TypeError, AttributeError) as error:
            raise BadInput(f"{file.name}: {name}: {error}") from None
    return dict(value)


def _differences(standing: dict[str, Any], wanted: dict[str, Any]) -> list[Difference]:
    return [
        (name, standing.get(name), value)
        for name, value in wanted.items()
        if standing.get(name) != value
    ]


def _told(name: str, differences: list[Difference] | None, update: bool) -> dict[str, Any]:
    if differences is None:
        return {"queue": name, "action": "create"}
    if not differences:
        return {"queue": name, "action": "same"}
    changes = {setting: {"is": now, "file": value} for setting, now, value in differences}
    return {"queue": name, "action": "update" if update else "differs", "settings": changes}


def _line(told: dict[str, Any], dry_run: bool) -> str:
    done = {"create": "is made", "update": "is changed", "same": "is there", "differs": "differs"}
    planned = {**done, "create": "would be made", "update": "would be changed"}
    text = f"{told['queue']} {(planned if dry_run else done)[told['action']]}"
    changes = [
        f"{flag_of(setting)[2:]} {shown(setting, each['is'])} -> {shown(setting, each['file'])}"
        for setting, each in told.get("settings", {}).items()
    ]
    return f"{text}: {', '.join(changes)}" if changes else text
