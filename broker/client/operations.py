"""What operators do to one queue, as plans: settings, looking, removing, moving, counting.

Owns the commands and what their answers mean.  What is asked of a partitioned queue is asked of
each partition.  It never touches what a consumer holds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from broker.client.naming import Named, Which, commands_for, sort_out
from broker.client.options import instant_ms, milliseconds, settings_map
from broker.client.plans import Ask, Plan
from broker.client.put_batch import MessageId
from broker.client.selector import Selector, wire_selector
from broker.client.whole import places_of, sum_jobs, whole_stats
from broker.errors import BadField, QueueNotEmpty, QueueNotFound
from broker.model.partitions import partition_settings
from broker.model.patterns import require_pattern


class Changed(NamedTuple):
    """How many of the named messages waited and were changed, and which did not wait."""

    messages: int
    #: Positions or ids.  Of a partition's position its id, ``queue#2:17``.
    missing: list[int | MessageId]


def update(queue: str, settings: dict[str, Any]) -> Plan[dict[str, Any]]:
    """The partitions first: what is sent on to one that is not there brings the new settings."""
    changes = settings_map(settings)
    for name in (yield from places_of(queue))[:-1]:
        try:
            yield {"cmd": "update", "queue": name, "settings": partition_settings(changes)}
        except QueueNotFound:
            continue
    answer = yield {"cmd": "update", "queue": queue, "settings": changes}
    settings_now: dict[str, Any] = answer["settings"]
    return settings_now


def stats(queue: str) -> Plan[dict[str, Any]]:
    found = yield from whole_stats(queue)
    return found


def bind(queue: str, pattern: str, selector: Selector | None) -> Plan[None]:
    fields: Ask = {"cmd": "bind", "queue": queue, "pattern": require_pattern(pattern)}
    conditions = wire_selector(selector)
    if conditions is not None:
        fields["selector"] = conditions
    yield fields


def unbind(queue: str, pattern: str) -> Plan[None]:
    yield {"cmd": "unbind", "queue": queue, "pattern": require_pattern(pattern)}


def bindings(queue: str) -> Plan[dict[str, dict[str, Any]]]:
    answer = yield {"cmd": "stats", "queue": queue}
    found: dict[str, dict[str, Any]] = answer["stats"]["settings"].get("bindings") or {}
    return found


def purge(queue: str) -> Plan[int]:
    count = 0
    for answer in (yield from _ask_each(queue, {"cmd": "purge"})):
        count += answer["count"]
    return count


def delete(queue: str, if_empty: bool) -> Plan[int]:
    names = yield from places_of(queue)
    if if_empty and len(names) > 1:
        held: int = (yield from whole_stats(queue))["messages"]
        if held:
            raise QueueNotEmpty(f"{queue} holds {held} messages in all its partitions")
    count = 0
    for name in names:
        try:
            answer = yield {"cmd": "delete", "queue": name, "if_empty": if_empty}
        except QueueNotFound:
            if name == queue:
                raise
        else:
            count += answer["count"]
    return count


def remove(queue: str, which: Which) -> Plan[Changed]:
    changed = yield from _change(queue, which, {"cmd": "remove"})
    return changed


def reschedule(
    queue: str, which: Which, at: float | datetime | None, delay: float | None
) -> Plan[Changed]:
    if (at is None) == (delay is None):
        raise BadField("reschedule needs either at or delay")
    fields: Ask = {"cmd": "reschedule"}
    if delay is not None:
        fields["delay_ms"] = milliseconds(delay)
    elif at is not None:
        fields["at_ms"] = instant_ms(at)
    changed = yield from _change(queue, which, fields)
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
    names = yield from places_of(queue)
    before = yield from whole_stats(queue)
    if len(names) > 1 and (count_max is not None or per_second is not None):
        raise BadField("a redrive of a partitioned queue has no bounds: redrive its partitions")
    jobs: list[dict[str, Any]] = []
    for name in names[:-1] or names:
        try:
            jobs.append((yield {"cmd": "redrive", "queue": name, **fields}))
        except QueueNotFound:
            if name == queue:
                raise
    return {**sum_jobs(jobs), "base": _redriven(before)}


def redriving(queue: str) -> Plan[dict[str, Any]]:
    """The one that runs, as it stands; one that has ended where none does."""
    found = yield from whole_stats(queue)
    job = found.get("redrive") or {}
    return {**job, "base": _redriven(found) - job.get("moved", 0)}


def _redriven(stats: dict[str, Any]) -> int:
    count: int = stats["counters"].get("redriven", 0)
    return count


def _ask_each(queue: str, fields: Ask) -> Plan[list[Any]]:
    """The answers of all partitions that are there, and of the queue itself."""
    answers: list[Any] = []
    for name in (yield from places_of(queue)):
        try:
            answers.append((yield {**fields, "queue": name}))
        except QueueNotFound:
            if name == queue:
                raise
    return answers


def _change(queue: str, which: Which, fields: Ask) -> Plan[Changed]:
    """As many commands as it takes to name all, in each queue that holds some."""
    places = yield from places_of(queue)
    named = sort_out(queue, places, which)
    count = 0
    missing: list[int | MessageId] = []
    for name, positions in named.positions.items():
        for part in commands_for(positions, []):
            answer = yield {**fields, "queue": name, **part}
            count += answer["count"]
            missing += _positions(queue, name, answer["missing"])
    found, absent = yield from _change_ids(places, named, fields)
    return Changed(count + found, [*missing, *absent])


def _change_ids(places: list[str], named: Named, fields: Ask) -> Plan[tuple[int, list[MessageId]]]:
    """An id is missing when no partition has it."""
    count = 0
    rest = named.ids
    for name in places:
        absent: list[MessageId] = []
        for part in commands_for([], rest):
            try:
                answer = yield {**fields, "queue": name, **part}
            except QueueNotFound:
                if len(places) == 1:
                    raise
                absent += part["ids"]
            else:
                count += answer["count"]
                absent += answer["missing"]
        rest = absent
    return count, rest


def _positions(queue: str, place: str, ranges: list[list[int]]) -> list[int | MessageId]:
    positions = [p for first, count, *_ in ranges for p in range(first, first + count)]
    return [p if place == queue else f"{place}:{p}" for p in positions]
