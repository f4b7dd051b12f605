"""Consecutive messages of a queue with the same properties, as the broker told them.

Owns what can be known of them without asking anybody.  It never decodes a body, and knows
nothing of leases: a ``Run`` is a stretch that somebody holds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from broker.limits import PRIORITY_DEFAULT


class Death(NamedTuple):
    """Why and where a dead letter died: the batch keeps it when it moves."""

    #: rejected, attempts, expired or overflow
    reason: str
    queue: str
    position: int | None
    attempts: int
    #: In seconds since the Unix epoch.
    at: float

    def headers(self) -> dict[str, Any]:
        return {
            "x-death-reason": self.reason,
            "x-death-queue": self.queue,
            "x-death-attempts": self.attempts,
            "x-death-time": self.at,
        }


class Stretch:
    """``elements[offset]`` is the first message; the columns are as long as ``elements``."""

    __slots__ = (
        "attempts",
        "columns",
        "content_type",
        "count",
        "death",
        "elements",
        "first",
        "key",
        "offset",
        "priority",
        "put_at",
        "queue",
        "type",
    )

    def __init__(
        self,
        queue: str,
        fields: dict[str, Any],
        elements: list[Any],
        offset: int,
        columns: dict[str, list[Any]],
    ) -> None:
        self.queue = queue
        self.elements = elements
        self.offset = offset
        self.columns = columns
        self.first: int = fields["first"]
        self.count: int = fields["count"]
        self.attempts: int = fields.get("attempts", 0)
        self.priority: int = fields.get("priority", PRIORITY_DEFAULT)
        self.put_at: int | None = fields.get("put_at")
        self.content_type: str | None = fields.get("content_type")
        self.type: str | None = fields.get("type")
        #: The key of all of them; where they have several, they are a column.
        self.key: str | bytes | None = fields.get("key")
        told = fields.get("death")
        self.death: Death | None = None if told is None else read_death(told)

    def column(self, name: str, index: int) -> Any:
        values = self.columns.get(name)
        return None if values is None else values[self.offset + index]


def read_death(told: dict[str, Any]) -> Death:
    return Death(
        told["reason"],
        told.get("queue", ""),
        told.get("position"),
        told.get("attempts", 0),
        told.get("at", 0) / 1000,
    )
