"""Messages that came due one by one, picked many at a time.

They lie scattered over many stored parts, one or two in each.  Picked one by one each would cost a
read, a portion and a lease; together they cost one read, and share one portion and one lease.
Law: what is picked here is what would be picked one by one, in the same order.
"""

from __future__ import annotations

from typing import Any

import msgpack

from broker import limits
from broker.core.books.bodies import Bodies
from broker.core.books.portion import Portion
from broker.core.books.ready_book import DuePart, ReadyBook
from broker.core.choosing.picked import RUN_SPREAD_MS
from broker.core.choosing.sheet import lowest, runs_of
from broker.core.queue import Queue
from broker.errors import UnreadableMessage
from broker.model.stored_batch import Extent, StoredBatch
from broker.protocol.batches import cut_elements

#: Stored parts that one delivery reads.
_PARTS = limits.READ_BYTES // limits.TIMED_PART_BYTES


class Scattered:
    """What was picked: ``elements`` are the messages' bytes, in the order of the ranges."""

    __slots__ = ("_batches", "_groups", "_lane", "count", "elements", "size")

    def __init__(self, lane: int) -> None:
        self.count = 0
        self.size = 0
        self.elements: list[bytes] = []
        self._lane = lane
        self._batches: list[tuple[int, int, int]] = []
        #: (the part that it begins with, ranges whose messages share all that a run tells)
        self._groups: list[tuple[StoredBatch, list[tuple[int, int]]]] = []

    def take(self, part: StoredBatch, bits: int) -> None:
        """Takes messages of a part; bit 0 stands for its first."""
        if not self._groups or not _alike(self._groups[-1][0], part):
            self._groups.append((part, []))
        ranges = self._groups[-1][1]
        self._batches.append((part.first, part.count, part.size))
        # Most parts have one: this runs once a message.
        for low, count in runs_of(bits, 0) if bits & (bits - 1) else ((bits.bit_length() - 1, 1),):
            first = part.first + low
            self.count += count
            self.size += part.bytes_between(first, count)
            self.elements.append(cut_elements(part.batch, low, count, part.count))
            if ranges and ranges[-1][0] + ranges[-1][1] == first:
                ranges[-1] = (ranges[-1][0], ranges[-1][1] + count)
            else:
                ranges.append((first, count))

    @property
    def ranges(self) -> list[tuple[int, int]]:
        return [each for _, ranges in self._groups for each in ranges]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """As a delivery tells them."""
        runs: list[dict[str, Any]] = []
        for part, ranges in self._groups:
            shared = properties_of(part)
            runs += [{"first": first, "count": count, **shared} for first, count in ranges]
        return runs

    def portion(self) -> Portion:
        """One for all; its extent spans batches of other messages, too, which in a lane of
        batches with own due times keeps nothing from being erased."""
        first = self._batches[0][0]
        low, count, _ = self._batches[-1]
        extent = Extent(self._lane, first, low + count - first)
        return Portion(extent, first, self.count, 0, self.size, 0, self._batches)


def _alike(first: StoredBatch, part: StoredBatch) -> bool:
    return part.properties == first.properties and part.put_at - first.put_at <= RUN_SPREAD_MS


def properties_of(batch: StoredBatch) -> dict[str, Any]:
    """What a run tells of its messages besides their positions and attempts."""
    told: dict[str, Any] = {"put_at": batch.put_at}
    priority = limits.PRIORITY_MAX - batch.lane % limits.DELAYED_LANES
    if priority != limits.PRIORITY_DEFAULT:
        told["priority"] = priority
    if batch.properties:
        told.update(msgpack.unpackb(batch.properties))
    return told


def pick_scattered(queue: Queue, bodies: Bodies, messages: int, size: int) -> Scattered | None:
    """Takes what is next out of the ready set; None where that lies in one part or did not
    come due one by one, and where each must be looked at: messages with columns, with a time to
    live, or unreadable."""
    found = _find_book(queue, bodies)
    if found is None:
        return None
    book, end = found
    ledger = queue.ledger
    # As many as fit, if they have the mean size.
    messages = min(messages, size * ledger.messages // max(ledger.bytes, 1) + 1)
    due = book.due_parts(end, messages, _PARTS)
    if len(due) < 2:
        # One part is picked like any batch, with its neighbours.
        return None
    lane = due[0][0].portion.extent.lane
    try:
        parts = bodies.read_at(ledger.number, [(lane, first) for _, first, _ in due])
    except UnreadableMessage:
        return None
    return _take(book, due, parts, messages, size) if len(parts) == len(due) else None


def _find_book(queue: Queue, bodies: Bodies) -> tuple[ReadyBook, int] | None:
    """(the book that holds the next message, the first position that something else holds)"""
    for number, stream in queue.streams.items():
        part = stream.window[0] if stream.window else queue.peek(stream, bodies)
        back = queue.back.get(number)
        if isinstance(back, ReadyBook) and back.has_timed:
            end = back.first_returned(queue.ledger.next_position)
            return back, end if part is None else min(end, part[1])
        if part is not None or (back is not None and len(back)):
            return None
    return None


def _take(
    book: ReadyBook, due: list[DuePart], parts: list[StoredBatch], messages: int, size: int
) -> Scattered | None:
    scattered = Scattered(parts[0].lane)
    for each, part in zip(due, parts, strict=True):
        timed, _, bits = each
        if part.columns or part.expires_at:
            timed.is_plain = False
            break
        if bits & (bits - 1):
            bits = lowest(bits, messages - scattered.count)
        scattered.take(part, bits)
        book.give(each, bits)
        if scattered.count >= messages or scattered.size >= size:
            break
    return scattered if scattered.count else None
