"""Which queues this client knows to be spread over partitions.

Owns what ``partitioned`` told of them, and the declaring of each partition before it is first
used.  It never puts and never consumes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from broker.client.outcome import Outcome
from broker.errors import Partitioned
from broker.model.partitions import partition_name

#: A get that waits for several partitions asks each in turn, for so long.
TURN_S = 0.05

#: Asks one command: its fields, and the time.
AskNow = Callable[[dict[str, Any], int], Outcome]


@dataclass(slots=True, frozen=True)
class Partitions:
    """Of one queue; ``settings`` are those of each partition, as far as they are no defaults."""

    queue: str
    count: int
    settings: dict[str, Any]

    @property
    def names(self) -> list[str]:
        return [partition_name(self.queue, index) for index in range(self.count)]


class KnownPartitions:
    def __init__(self, ask: AskNow) -> None:
        self._ask = ask
        self._known: dict[str, Partitions] = {}
        #: Partition -> the answer to its declaring.
        self._declared: dict[str, Outcome] = {}

    def find(self, queue: str) -> Partitions | None:
        return self._known.get(queue)

    def learn(self, queue: str, error: Partitioned, now: int) -> Partitions:
        """Takes what the broker told; the partitions are declared on their own lines, so
        what is sent to them next finds them there."""
        details = error.details
        told = Partitions(queue, details["partitions"], details.get("settings", {}))
        if self._known.get(queue) != told:
            self._known[queue] = told
            for name in told.names:
                fields = {"cmd": "declare", "queue": name, "settings": told.settings}
                self._declared[name] = self._ask(fields, now)
        return told

    def forget(self, queue: str) -> None:
        self._known.pop(queue, None)

    def is_being_declared(self, queue: str) -> bool:
        declared = self._declared.get(queue)
        return declared is not None and not declared.done


def rounds(
    partitions: Partitions,
    fields: dict[str, Any],
    timeout: float | None,
    clock: Callable[[], float],
) -> Iterator[tuple[dict[str, Any], float]]:
    """The gets that one get stands for, and how long each waits, until the time is over.

    The first round looks only at what is there; every round begins with another partition.
    """
    ends_at = None if timeout is None else clock() + timeout
    names = partitions.names
    for number in count():
        for index in range(len(names)):
            rest = TURN_S if ends_at is None else max(ends_at - clock(), 0.0)
            waits_s = min(rest, TURN_S) if number else 0.0
            yield {**fields, "queue": names[(number + index) % len(names)]}, waits_s
            if number and not rest:
                return
        if ends_at is not None and clock() >= ends_at:
            return
