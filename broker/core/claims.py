"""Messages named by their positions after their leases were lost with an epoch or a connection.

A new epoch begins with nothing in flight, and a connection that broke gives its messages back.  A
consumer that still holds them may settle or extend them, as long as they wait with the attempts
that it was told and nobody was given them since.
"""

from __future__ import annotations

from collections.abc import Callable

from broker import limits
from broker.core.books.bodies import Bodies
from broker.core.books.lane_stream import LaneStream
from broker.core.books.portion import Portion
from broker.core.queue import Queue, without
from broker.core.session import Session
from broker.errors import UnreadableMessage
from broker.model.commands import Range

#: (first, count, portion)
ClaimedPart = tuple[int, int, Portion]


def of_holder(session: Session, tag_epoch: int, epoch: int) -> Callable[[bytes | None], bool]:
    """What a session may claim, by who had it last in this epoch: what the session had that it
    resumes, and with a tag of an older epoch what nobody had."""

    def may_claim(returned_by: bytes | None) -> bool:
        if returned_by is None:
            return tag_epoch < epoch
        return bool(returned_by) and returned_by == session.resumes

    return may_claim


def claim(
    queue: Queue, bodies: Bodies, asked: list[Range], may_claim: Callable[[bytes | None], bool]
) -> tuple[list[ClaimedPart], list[Range]]:
    """Takes waiting messages out of the ready set: (claimed parts, what cannot be claimed).

    What cannot be read cannot be claimed: nobody knows any more what it weighs.
    """
    claimed: list[ClaimedPart] = []
    lost: list[Range] = []
    if queue.purging:
        return [], asked
    for first, count, attempts in asked:
        try:
            back = _find_returned(queue, bodies, (first, count, attempts), may_claim)
            is_ahead = attempts == 0 and may_claim(None)
            ahead = _find_ahead(queue, bodies, first, count) if is_ahead else []
        except UnreadableMessage:
            lost.append((first, count, attempts))
            continue
        for low, size, portion in back:
            queue.resting.take(low, size)
            lane = portion.extent.lane % limits.DELAYED_LANES
            if lane in queue.back:
                queue.back[lane].take(low, size)
        for low, size, portion in ahead:
            _take_ahead(queue, queue.streams[portion.extent.lane], low, size)
        parts = sorted([*back, *ahead], key=lambda part: part[0])
        claimed += parts
        taken = [(low, size) for low, size, _ in parts]
        lost += [(low, size, attempts) for low, size in without([(first, count)], taken)]
    if queue.choice is not None:
        queue.choice.claimed(bodies, claimed)
    return claimed, lost


def can_claim(
    queue: Queue, bodies: Bodies, asked: list[Range], may_claim: Callable[[bytes | None], bool]
) -> bool:
    """Whether ``claim`` would take all of it; nothing changes."""
    if queue.purging:
        return not asked
    for first, count, attempts in asked:
        try:
            parts = _find_returned(queue, bodies, (first, count, attempts), may_claim)
            if attempts == 0 and may_claim(None):
                parts += _find_ahead(queue, bodies, first, count)
        except UnreadableMessage:
            return False
        taken = sorted((low, size) for low, size, _ in parts)
        if without([(first, count)], taken):
            return False
    return True


def _find_returned(
    queue: Queue, bodies: Bodies, asked: Range, may_claim: Callable[[bytes | None], bool]
) -> list[ClaimedPart]:
    """What came back and is ready or rests."""
    first, count, attempts = asked
    parts: list[ClaimedPart] = []
    for book in [*queue.back.values(), queue.resting]:
        for low, size, portion in book.overlapping(first, count):
            if portion.attempts == attempts and may_claim(portion.returned_by):
                parts += _read_parts(queue, bodies, portion.extent.lane, (low, size), attempts)
    return parts


def _find_ahead(queue: Queue, bodies: Bodies, first: int, count: int) -> list[ClaimedPart]:
    """What was never handed out in this epoch: in the windows, and on disk behind them."""
    parts: list[ClaimedPart] = []
    end = min(first + count, queue.ledger.next_position)
    for lane, stream in queue.streams.items():
        for batch, start, length in stream.window:
            low, high = max(start, first), min(start + length, end)
            if low < high:
                parts.append((low, high - low, Portion.of_batch(batch, low, high - low, 0)))
        unread = max(first, stream.loaded_to)
        for start, length, portion in _read_parts(
            queue, bodies, lane, (unread, max(end - unread, 0)), 0
        ):
            fresh = queue.fresh_ranges(start, length)
            parts += [(low, size, portion.part(low, size, 0)) for low, size in fresh]
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
    if first >= stream.loaded_to:
        queue.claimed.add(first, count, None)
    else:
        stream.cut(first, count)
