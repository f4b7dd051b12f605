"""Messages named by their positions after a restart took their leases away.

A new epoch begins with nothing in flight.  A consumer that still holds messages of the old one
may settle or extend them, as long as they wait with the attempts that it was told and nobody
was given them since.
"""

from __future__ import annotations

from broker import limits
from broker.core.bodies import Bodies
from broker.core.lane_stream import LaneStream
from broker.core.portion import Portion
from broker.core.queue import Queue, without
from broker.model.commands import Range

#: (first, count, portion)
ClaimedPart = tuple[int, int, Portion]


def claim(
    queue: Queue, bodies: Bodies, asked: list[Range]
) -> tuple[list[ClaimedPart], list[Range]]:
    """Takes waiting messages out of the ready set: (claimed parts, what cannot be claimed)."""
    claimed: list[ClaimedPart] = []
    lost: list[Range] = []
    if queue.purging:
        return [], asked
    for first, count, attempts in asked:
        parts = _claim_returned(queue, bodies, first, count, attempts)
        if attempts == 0:
            parts += _claim_ahead(queue, bodies, first, count)
        parts.sort(key=lambda part: part[0])
        claimed += parts
        taken = [(low, size) for low, size, _ in parts]
        lost += [(low, size, attempts) for low, size in without([(first, count)], taken)]
    return claimed, lost


def _claim_returned(
    queue: Queue, bodies: Bodies, first: int, count: int, attempts: int
) -> list[ClaimedPart]:
    parts: list[ClaimedPart] = []
    for book in [*queue.back.values(), queue.resting]:
        for low, size, portion in book.overlapping(first, count):
            if portion.attempts == attempts:
                book.take(low, size)
                parts += _read_parts(queue, bodies, portion.extent.lane, (low, size), attempts)
    return parts


def _read_parts(
    queue: Queue, bodies: Bodies, lane: int, wanted: tuple[int, int], attempts: int
) -> list[ClaimedPart]:
    """One part for each stored batch that holds positions of ``wanted``."""
    low, end = wanted[0], wanted[0] + wanted[1]
    parts: list[ClaimedPart] = []
    while low < end:
        batches = bodies.read(
            queue.ledger.number, lane, low, end, limits.WINDOW_RECORDS, limits.READ_BYTES
        )
        if not batches:
            break
        for batch in batches:
            start, stop = max(batch.first, low), min(batch.end, end)
            portion = Portion.of_batch(batch, start, stop - start, attempts)
            parts.append((start, stop - start, portion))
        low = batches[-1].end
    return parts


def _take_ahead(queue: Queue, stream: LaneStream, first: int, count: int) -> None:
    """Out of the window, and out of what will be read into it."""
    low = max(first, stream.loaded_to)
    if low < first + count:
        queue.claimed.add(low, first + count - low, None)
    stream.cut(first, count)


def _claim_ahead(queue: Queue, bodies: Bodies, first: int, count: int) -> list[ClaimedPart]:
    parts: list[ClaimedPart] = []
    end = min(first + count, queue.ledger.next_position)
    for lane, stream in queue.streams.items():
        low = max(first, stream.handed_to)
        for start, size, _ in _read_parts(queue, bodies, lane, (low, max(end - low, 0)), 0):
            for a, fresh in queue.fresh_ranges(start, size):
                parts += _read_parts(queue, bodies, lane, (a, fresh), 0)
                _take_ahead(queue, stream, a, fresh)
    return parts
