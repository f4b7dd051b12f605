"""``services``: those of all slots by their names, a page at a time.

Each broker tells those of the slots that it serves; the pages of several are put together here.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest
from typing import Any

from broker.core.machine import SlotMachine
from broker.core.services.facts import facts_of
from broker.model.patterns import matches
from broker.model.service_commands import Services

#: What other brokers are asked for, besides the envelope.
ASKED = ("pattern", "after", "max")


def list_services(machines: Iterable[SlotMachine], command: Services, now: int) -> dict[str, Any]:
    """The page of the slots that are served here."""
    found = nsmallest(
        command.max + 1,
        (
            (name, service)
            for machine in machines
            for name, service in machine.services.items()
            if name > command.after and matches(command.pattern, name)
        ),
        key=lambda each: each[0],
    )
    listed = [[name, facts_of(service, now)] for name, service in found[: command.max]]
    return {"services": listed, "more": len(found) > command.max}


def merge_services(parts: list[dict[str, Any]], command: Services) -> dict[str, Any]:
    """One page of several; a broker of an older release tells none."""
    by_name = {name: facts for part in parts for name, facts in part.get("services", [])}
    names = sorted(by_name)
    more = len(names) > command.max or any(part.get("more", False) for part in parts)
    listed = [[name, by_name[name]] for name in names[: command.max]]
    return {"services": listed, "more": more}
