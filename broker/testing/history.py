"""A history: what the clients of queues did and saw, in the order in which it happened.

An event is noted after what it tells has happened, except ``put``, which is noted before: a put
without an answer may have happened.  A message is known by the id that its producer gave.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum


class Kind(StrEnum):
    #: About to be put.
    PUT = "put"
    #: The broker said that they are on disk.
    CONFIRMED = "confirmed"
    #: The broker said that they will never appear.
    REFUSED = "refused"
    #: The broker said that it has a message with their id, and takes them never.
    KNOWN = "known"
    DELIVERED = "delivered"
    #: About to be acknowledged for the first time.
    SETTLING = "settling"
    #: The broker said that their removal is on disk.
    ACKED = "acked"
    #: The broker said that their return is on disk; ``attempts`` are those of the delivery.
    NACKED = "nacked"
    #: The broker said that they are on their way to the dead-letter queue.
    REJECTED = "rejected"
    #: Everything was taken out, and the queue is empty.
    DRAINED = "drained"
    #: The broker was killed; the broker answers again.
    KILLED = "killed"
    STARTED = "started"
    #: The broker was asked to end; it was stopped with its connections open; it goes on.
    LEFT = "left"
    STOPPED = "stopped"
    WENT_ON = "went on"


@dataclass(frozen=True, slots=True)
class Event:
    """``positions`` and ``attempts`` stand beside ``ids`` in deliveries and settles, or are empty.

    ``epoch`` is the reign of the broker that made the delivery, or the one that was
    acknowledged; every start of the broker is a new reign.  ``until`` is the last
    reign in which a settle may have been taken, if it was sent again, or 0 where that is no other.
    """

    at_ns: int
    kind: Kind
    actor: str
    ids: tuple[str, ...] = ()
    positions: tuple[int, ...] = ()
    attempts: tuple[int, ...] = ()
    epoch: int = 0
    until: int = 0

    def to_line(self) -> str:
        fields = {name: value for name, value in asdict(self).items() if value not in ((), 0)}
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> Event:
        fields = json.loads(line)
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return cls(**{**fields, **lists, "kind": Kind(fields["kind"])})


class History:
    """The events of each queue of one run; every event is later than the one before."""

    def __init__(self) -> None:
        self.queues: dict[str, list[Event]] = {}
        self._now = 0

    def record(
        self,
        queue: str,
        kind: Kind,
        actor: str,
        ids: Sequence[str] = (),
        positions: Sequence[int] = (),
        attempts: Sequence[int] = (),
        epoch: int = 0,
    ) -> None:
        self._now += 1
        event = Event(self._now, kind, actor, tuple(ids), tuple(positions), tuple(attempts), epoch)
        self.queues.setdefault(queue, []).append(event)
