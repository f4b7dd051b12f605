"""All queues and channels of a broker as a value: exported, and declared again somewhere else.

Owns the form of the export.  Settings stand in it as the broker tells them, in milliseconds.

    {"version": 1, "queues": {"orders": {"lease_ms": 30000, "dead_letter": "failed", ...}},
     "channels": {"prices": {"history_messages": 100, ...}}}

``channels`` is left out where none was declared.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from broker.client.channels import plans as channel_plans
from broker.client.plans import Ask, Plan
from broker.errors import BadField, QueueNotFound
from broker.names import require_name

VERSION = 1

Definitions = dict[str, Any]


class ImportedChannels(NamedTuple):
    """What became of each channel of the definitions, as with queues."""

    created: list[str]
    same: list[str]
    updated: list[str]
    different: list[str]


class Imported(NamedTuple):
    """What became of each queue of the definitions, by its name."""

    created: list[str]
    #: Was there with these settings.
    same: list[str]
    #: Was there with others, which were changed.
    updated: list[str]
    #: Was there with others, and left alone.
    different: list[str]
    channels: ImportedChannels


def list_queues() -> Plan[list[str]]:
    """The names of all queues, in order, however many pages that takes."""
    names: list[str] = []
    more = True
    while more:
        after = {"after": names[-1]} if names else {}
        page = yield {"cmd": "queues", **after}
        names += page["queues"]
        more = page["more"] and bool(page["queues"])
    return names


def all_stats() -> Plan[dict[str, Any]]:
    """In a cluster with ``slots_missing``: what these hold is not counted."""
    answer = yield {"cmd": "stats"}
    stats: dict[str, Any] = answer["stats"]
    if "slots_missing" in answer:
        stats["slots_missing"] = answer["slots_missing"]
    return stats


def export() -> Plan[Definitions]:
    """A queue that is deleted meanwhile is not in it."""
    names = yield from list_queues()
    queues: dict[str, Any] = {}
    for name in names:
        settings = yield from _settings_of(name)
        if settings is not None and not _is_partition(name, queues):
            queues[name] = settings
    channels = yield from channel_plans.settings_of_all()
    return {"version": VERSION, "queues": queues, **({"channels": channels} if channels else {})}


def import_(definitions: Definitions, update: bool) -> Plan[Imported]:
    queues = _require_definitions(definitions, "queues")
    channels = _require_definitions(definitions, "channels")
    imported = Imported([], [], [], [], ImportedChannels([], [], [], []))
    for name, wanted in queues.items():
        known = yield from _settings_of(name)
        if known is None:
            yield {"cmd": "declare", "queue": name, "settings": wanted}
            imported.created.append(name)
        elif all(known.get(setting) == value for setting, value in wanted.items()):
            imported.same.append(name)
        elif update:
            yield {"cmd": "update", "queue": name, "settings": _changes(known, wanted)}
            imported.updated.append(name)
        else:
            imported.different.append(name)
    if channels:
        yield from _import_channels(channels, imported.channels, update)
    return imported


def _import_channels(
    channels: dict[str, Ask], imported: ImportedChannels, update: bool
) -> Plan[None]:
    present = yield from channel_plans.settings_of_all()
    for name, wanted in channels.items():
        known = present.get(name)
        if known is None:
            yield from channel_plans.declare(name, wanted)
            imported.created.append(name)
        elif all(known.get(setting) == value for setting, value in wanted.items()):
            imported.same.append(name)
        elif update:
            yield from channel_plans.update(name, _changes(known, wanted))
            imported.updated.append(name)
        else:
            imported.different.append(name)


def _settings_of(name: str) -> Plan[dict[str, Any] | None]:
    try:
        answer = yield {"cmd": "stats", "queue": name}
    except QueueNotFound:
        return None
    settings: dict[str, Any] = answer["stats"]["settings"]
    return settings


def _is_partition(name: str, queues: dict[str, Any]) -> bool:
    """A partition comes with the queue that it is part of, which sorts before it."""
    parent, _, number = name.rpartition("#")
    count = queues.get(parent, {}).get("partitions", 1)
    return bool(number.isdigit() and int(number) < count)


def _changes(known: Ask, wanted: Ask) -> Ask:
    return {name: value for name, value in wanted.items() if known.get(name) != value}


def _require_definitions(definitions: Definitions, kind: str) -> dict[str, dict[str, Any]]:
    version = definitions.get("version")
    if version != VERSION:
        raise BadField(f"definitions of version {VERSION} are understood, not {version!r}")
    found: dict[str, dict[str, Any]] = definitions.get(kind, {})
    for name in found:
        require_name(name)
    return found
