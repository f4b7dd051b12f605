"""Waiting messages taken by their positions, whatever they wait for: ready, delayed, resting.

What is in flight, departs or is about to leave is nobody's to take here.  Who takes messages
proposes at once what becomes of them.
"""

from __future__ import annotations

from broker import limits
from broker.core.books.bodies import IndexRow
from broker.core.books.portion import Portion
from broker.core.claims import ClaimedPart, claim
from broker.core.machine import SlotMachine
from broker.core.queue import Queue, without
from broker.errors import UnreadableMessage
from broker.model.commands import Range
from broker.model.stored_batch import StoredBatch

#: (first, count), ascending and disjoint where several are together
Span = tuple[int, int]


def take_waiting(
    machine: SlotMachine, queue: Queue, spans: list[Span]
) -> tuple[list[ClaimedPart], list[Span]]:
    """Takes the messages out of where they wait: (parts, spans that do not wait)."""
    if queue.purging:
        return [], spans
    end = queue.ledger.next_position
    parts: list[ClaimedPart] = []
    for first, count in spans:
        asked = waiting_ranges(queue, first, min(first + count, end) - first)
        claimed, left = claim(queue, machine.bodies, asked, lambda _: True)
        parts += claimed
        if queue.undue:
            for low, size, attempts in left:
                if attempts == 0:
                    parts += _take_undue(machine, queue, low, size)
    parts.sort(key=lambda part: part[0])
    return parts, without(spans, [(first, count) for first, count, _ in parts])


def waiting_ranges(queue: Queue, first: int, count: int) -> list[Range]:
    """The live messages of a range that stay, each with the attempts that it has."""
    ranges: list[Range] = []
    live = queue.ledger.settled.live_ranges(first, count)
    for start, size in [part for some in live for part in queue.staying_ranges(*some)]:
        low = start
        for tried, length, value in queue.ledger.attempted.overlapping(start, size):
            if tried > low:
                ranges.append((low, tried - low, 0))
            ranges.append((tried, length, value.attempts))
            low = tried + length
        if low < start + size:
            ranges.append((low, start + size - low, 0))
    return ranges


def _take_undue(machine: SlotMachine, queue: Queue, first: int, count: int) -> list[ClaimedPart]:
    """Delayed messages whose instant has not come: they are on disk and in no book."""
    parts: list[ClaimedPart] = []
    for lane, totals in queue.ledger.lanes.items():
        if lane >= limits.DELAYED_LANES and totals.messages:
            parts += _take_undue_of_lane(machine, queue, lane, (first, first + count))
    return parts


def _take_undue_of_lane(
    machine: SlotMachine, queue: Queue, lane: int, wanted: tuple[int, int]
) -> list[ClaimedPart]:
    parts: list[ClaimedPart] = []
    low, end = wanted
    number = queue.ledger.number
    while low < end:
        try:
            batches = machine.bodies.read(
                number, lane, low, end, limits.WINDOW_RECORDS, limits.READ_BYTES
            )
        except UnreadableMessage:
            # Nobody knows any more what it weighs.
            break
        if not batches:
            break
        for batch in batches:
            start, stop = max(batch.first, low), min(batch.end, end)
            for first, count in _undue_spans(queue, batch, (start, stop - start), machine.now):
                queue.claimed.add(first, count, None)
                queue.undue -= count
                parts.append((first, count, Portion.of_batch(batch, first, count, 0)))
                if batch.due_times is None and not queue.is_transient:
                    # Once all of it is settled it goes, however far its instant is.
                    row = IndexRow(batch.due_at, number, lane, batch.first, batch.count)
                    machine.due_rows.setdefault(row, None)
        low = batches[-1].end
    return parts


def due_spans(batch: StoredBatch, first: int, count: int) -> list[Range]:
    """(first, count, instant that they were put for), 0 for none, of a part of the batch."""
    times = batch.due_times
    if times is None:
        return [(first, count, batch.due_at)]
    spans: list[Range] = []
    for position in range(first, first + count):
        due_at = times[position - batch.first]
        if spans and spans[-1][2] == due_at:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1, due_at)
        else:
            spans.append((position, 1, due_at))
    return spans


def _undue_spans(queue: Queue, batch: StoredBatch, wanted: Span, now: int) -> list[Span]:
    """The messages of a delayed batch that wait for their instant."""
    return [
        span
        for first, count, due_at in due_spans(batch, *wanted)
        if due_at > now
        for span in queue.fresh_ranges(first, count)
    ]
