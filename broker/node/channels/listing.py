"""``channels``: the channels of all slots by their names, a page at a time.

Each broker tells those of the slots that it serves; the pages of several are put together here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any

from broker.core.channels.facts import facts_of, names_matching
from broker.core.machine import SlotMachine
from broker.model.commands import Channels

#: What other brokers are asked for, besides the envelope.
FIELDS = ("pattern", "after", "max")


def list_channels(machines: Iterable[SlotMachine], command: Channels) -> dict[str, Any]:
    """The page of the slots that are served here."""
    # Of many names, those of one page are looked at and no more.
    merged = merge(*(_named(machine, command) for machine in machines), key=itemgetter(0))
    found = list(islice(merged, command.max + 1))
    listed = [
        [name, facts_of(machine, machine.channels.names[name])]
        for name, machine in found[: command.max]
    ]
    return {"channels": listed, "more": len(found) > command.max}


def _named(machine: SlotMachine, command: Channels) -> Iterator[tuple[str, SlotMachine]]:
    for name in names_matching(machine, command.pattern, command.after):
        yield name, machine


def merge_channels(parts: list[dict[str, Any]], command: Channels) -> dict[str, Any]:
    """One page of several; a broker of an older release tells none."""
    by_name: dict[str, Any] = {}
    for part in parts:
        for name, facts in part.get("channels", []):
            known = by_name.get(name)
            if known is None or facts["epoch"] > known["epoch"]:
                by_name[name] = facts
    names = sorted(by_name)
    more = len(names) > command.max or any(part.get("more", False) for part in parts)
    listed = [[name, by_name[name]] for name in names[: command.max]]
    return {"channels": listed, "more": more}
