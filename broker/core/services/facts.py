"""What is told of services: each by its name, and all of a slot as sums."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from broker.core.services.service import Service

#: Sums over the services of a slot, in the broker's stats.
SERVICE_TOTALS = ("services", "workers", "calls_in_hand", "calls_waiting")


def facts_of(service: Service, now: int) -> dict[str, Any]:
    workers = [*service.workers, *service.leaving]
    oldest = next(iter(service.waiting), None)
    return {
        "workers": len(service.workers),
        "concurrency": sum(worker.concurrency for worker in service.workers),
        "busy": sum(len(worker.held) for worker in workers),
        "waiting": _waiting(service),
        "oldest_ms": None if oldest is None else max(now - oldest.began_at, 0),
        "counters": dict(service.counters),
    }


def _waiting(service: Service) -> int:
    """In the line of all, and in those of single workers."""
    return len(service.waiting) + sum(len(worker.line) for worker in service.workers)


def totals_of(services: Iterable[Service]) -> dict[str, int]:
    totals = dict.fromkeys(SERVICE_TOTALS, 0)
    for service in services:
        totals["services"] += 1
        totals["workers"] += len(service.workers)
        totals["calls_in_hand"] += sum(
            len(worker.held) for worker in (*service.workers, *service.leaving)
        )
        totals["calls_waiting"] += _waiting(service)
    return totals
