"""A queue and its partitions as one, for what operators ask: where to ask, and sums of the answers.

Owns how stats of several queues add up.  A queue without partitions is a whole of one.
"""

from __future__ import annotations

from typing import Any

from broker.client.plans import Plan
from broker.errors import QueueNotFound
from broker.model.partitions import partition_name

Stats = dict[str, Any]

_SUMMED = (
    "ready",
    "in_flight",
    "delayed",
    "departing",
    "messages",
    "bytes",
    "consumers",
    "waiting_gets",
    "held_by_key",
)
_SUMMED_BY_NAME = (
    "by_priority",
    "ready_by_priority",
    "rates",
    "counters",
    "departed_to",
)


def places_of(queue: str) -> Plan[list[str]]:
    """The queues that hold its messages: its partitions, and itself, which hands on to them."""
    try:
        stats = yield from own_stats(queue)
    except QueueNotFound:
        return [queue]
    return [*_partitions(queue, stats), queue]


def whole_stats(queue: str) -> Plan[Stats]:
    """Those of the queue, to which those of its partitions are added."""
    stats = yield from own_stats(queue)
    for name in _partitions(queue, stats):
        try:
            add(stats, (yield from own_stats(name)))
        except QueueNotFound:
            continue  # Nothing was put there yet.
    return stats


def own_stats(queue: str) -> Plan[Stats]:
    stats: Stats = (yield {"cmd": "stats", "queue": queue})["stats"]
    return stats


def _partitions(queue: str, stats: Stats) -> list[str]:
    count: int = stats.get("settings", {}).get("partitions", 1)
    return [partition_name(queue, index) for index in range(count)] if count > 1 else []


def add(stats: Stats, others: Stats) -> None:
    """``others`` are of a partition."""
    for name in _SUMMED:
        if name in others:
            stats[name] = stats.get(name, 0) + others[name]
    for name in _SUMMED_BY_NAME:
        if name in others:
            stats[name] = sums(stats.get(name) or {}, others[name] or {})
    if others.get("redrive"):
        stats["redrive"] = sum_jobs([stats.get("redrive") or {}, others["redrive"]])
    ages = [age for each in (stats, others) if (age := each.get("oldest_ms")) is not None]
    if ages:
        stats["oldest_ms"] = max(ages)
    if "consumer_list" in others:
        stats["consumer_list"] = [*stats.get("consumer_list", []), *others["consumer_list"]]


def sums(some: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    return {name: some.get(name, 0) + others.get(name, 0) for name in {**some, **others}}


def sum_jobs(jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """One redrive of all partitions: it runs while any does."""
    return {
        "moved": sum(job.get("moved", 0) for job in jobs),
        "left": sum(job.get("left", 0) for job in jobs),
        "running": any(job.get("running", False) for job in jobs),
    }
