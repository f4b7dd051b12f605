"""Where the messages of a stored batch are: ready, delayed, in flight, resting or departing.

What a proposed entry settles or gives back is on its way and is nowhere, until that is committed.
"""

from __future__ import annotations

from typing import NamedTuple

from broker.core.machine import SlotMachine
from broker.core.naming.waiting import Span, due_spans
from broker.core.queue import Queue, without
from broker.model import entries
from broker.model.stored_batch import StoredBatch


class Place(NamedTuple):
    """Messages that are alike; ``due_at`` is 0 for what waits for no instant."""

    first: int
    length: int
    state: str
    attempts: int = 0
    due_at: int = 0


class Whereabouts:
    """Of one queue at one moment."""

    def __init__(self, machine: SlotMachine, queue: Queue) -> None:
        self._queue = queue
        self._now = machine.now
        self._leaving = _leaving(machine, queue)

    def of(self, batch: StoredBatch, first: int, count: int) -> list[Place]:
        """The unsettled messages of a part of the batch, in order."""
        queue = self._queue
        left = queue.ledger.settled.live_ranges(first, count)
        places: list[Place] = []
        for low, size, move in queue.departing.overlapping(first, count):
            places.append(Place(low, size, "departing", move.attempts))
        for low, size, lease in queue.leases.ranges.overlapping(first, count):
            places.append(Place(low, size, "in_flight", lease.portion.attempts))
        left = without(left, sorted((place.first, place.length) for place in places))
        left = without(left, self._leaving)
        for low, size in left:
            places += self._waiting(batch, low, size)
        return sorted(places)

    def _waiting(self, batch: StoredBatch, first: int, count: int) -> list[Place]:
        places: list[Place] = []
        tried = self._queue.ledger.attempted.overlapping(first, count)
        for low, size, value in tried:
            rests = value.not_before > self._now
            places.append(
                Place(low, size, "resting", value.attempts, value.not_before)
                if rests
                else Place(low, size, "ready", value.attempts)
            )
        for low, size in without([(first, count)], [(low, size) for low, size, _ in tried]):
            places += self._fresh(batch, low, size)
        return places

    def _fresh(self, batch: StoredBatch, first: int, count: int) -> list[Place]:
        """Never handed out: ready, or delayed until the put's own instant."""
        places: list[Place] = []
        for low, size, due_at in due_spans(batch, first, count):
            if due_at > self._now:
                places.append(Place(low, size, "delayed", 0, due_at))
            else:
                places.append(Place(low, size, "ready"))
        return places


def _leaving(machine: SlotMachine, queue: Queue) -> list[Span]:
    """What uncommitted entries name, in order."""
    number = queue.ledger.number
    spans: list[Span] = []
    for entry in machine.uncommitted_of(number):
        spans += _named_by(entry, number)
    return sorted(spans)


def _named_by(entry: entries.Entry, number: int) -> list[Span]:
    if isinstance(entry, entries.Returned):
        return [(first, count) for _, first, count, _ in entry.parts]
    if isinstance(entry, entries.Purged):
        return without([(0, entry.up_to)], sorted(entry.kept))
    if isinstance(entry, entries.Departed):
        return [span for part in entry.settled if part.number == number for span in part.ranges]
    if isinstance(entry, entries.Settled | entries.Cleared):
        return list(entry.ranges)
    return []
