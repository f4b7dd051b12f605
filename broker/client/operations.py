"""What operators do to one queue, as plans: settings, looking, removing, moving, counting.

Owns the commands and what their answers mean.  It never touches what a consumer holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from broker.client.ledger import merge
from broker.client.options import instant_ms, milliseconds, require_id, settings_map
from broker.client.plans import Ask, Plan
from broker.client.put_batch import MessageId
from broker.client.readable import ReadableMessage
from broker.client.selector import Selector, wire_selector
from broker.errors import BadField

#: Ranges or ids of one command: a header has 16 KiB, an id up to 255 bytes.
RANGES_PER_COMMAND = 500
IDS_PER_COMMAND = 50

#: A position, an id, a message, or several of these.
Which = int | MessageId | ReadableMessage | Iterable[int | MessageId | ReadableMessage]


class Changed(NamedTuple):
    """How many of the named messages waited and were changed, and how many did not wait."""

    messages: int
    missing: int


def update(queue: str, settings: dict[str, Any]) -> Plan[dict[str, Any]]:
    answer = yield {"cmd": "update", "queue": queue, "settings": settings_map(settings)}
    settings_now: dict[str, Any] = answer["settings"]
    return settings_now


def stats(queue: str) -> Plan[dict[str, Any]]:
    answer = yield {"cmd": "stats", "queue": queue}
    found: dict[str, Any] = answer["stats"]
    return found


def purge(queue: str) -> Plan[int]:
    count: int = (yield {"cmd": "purge", "queue": queue})["count"]
    return count


def delete(queue: str, if_empty: bool) -> Plan[int]:
    count: int = (yield {"cmd": "delete", "queue": queue, "if_empty": if_empty})["count"]
    return count


def remove(queue: str, which: Which) -> Plan[Changed]:
    changed = yield from _each({"cmd": "remove", "queue": queue}, which)
    return changed


def reschedule(
    queue: str, which: Which, at: float | datetime | None, delay: float | None
) -> Plan[Changed]:
    if (at is None) == (delay is None):
        raise BadField("reschedule needs either at or delay")
    fields: Ask = {"cmd": "reschedule", "queue": queue}
    if delay is not None:
        fields["delay_ms"] = milliseconds(delay)
    elif at is not None:
        fields["at_ms"] = instant_ms(at)
    changed = yield from _each(fields, which)
    return changed


def redrive(
    queue: str,
    to: str | None = None,
    count_max: int | None = None,
    per_second: int | None = None,
    selector: Selector | None = None,
    stop: bool = False,
) -> Plan[dict[str, Any]]:
    """Begins or stops it; gives how far it has come."""
    given = {
        "to": to,
        "max": count_max,
        "per_second": per_second,
        "selector": wire_selector(selector),
        "stop": stop or None,
    }
    fields = {name: value for name, value in given.items() if value is not None}
    job: dict[str, Any] = yield {"cmd": "redrive", "queue": queue, **fields}
    return job


def _each(fields: Ask, which: Which) -> Plan[Changed]:
    """One command for so many positions or ids as it may have, until all were told."""
    positions, ids = sort_out(fields["queue"], which)
    count = missing = 0
    for named in (*_ranges_of(positions), *_ids_of(ids)):
        answer = yield {**fields, **named}
        count += answer["count"]
        missing += answer["missing"]
    return Changed(count, missing)


def _ranges_of(positions: list[int]) -> Iterator[Ask]:
    ranges = iter(merge([(position, 1, 0) for position in set(positions)]))
    while part := list(islice(ranges, RANGES_PER_COMMAND)):
        yield {"ranges": [[first, count] for first, count, _ in part]}


def _ids_of(ids: list[MessageId]) -> Iterator[Ask]:
    for start in range(0, len(ids), IDS_PER_COMMAND):
        yield {"ids": ids[start : start + IDS_PER_COMMAND]}


def sort_out(queue: str, which: Which) -> tuple[list[int], list[MessageId]]:
    """Positions and ids.  The id that a message has without one of its own tells its position."""
    named = [which] if isinstance(which, int | str | bytes | ReadableMessage) else which
    positions: list[int] = []
    ids: list[MessageId] = []
    for each in named:
        if isinstance(each, int):
            positions.append(each)
        elif isinstance(each, ReadableMessage):
            positions.append(each.position)
        elif isinstance(each, str) and _is_position(queue, each):
            positions.append(int(each.rpartition(":")[2]))
        else:
            require_id(each)
            ids.append(each)
    return positions, ids


def _is_position(queue: str, message_id: str) -> bool:
    name, colon, digits = message_id.rpartition(":")
    return bool(colon) and name == queue and digits.isascii() and digits.isdigit()
