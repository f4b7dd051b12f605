"""The stored parts at the head of what came due one by one, read many at a time.

Each message that comes due alone lies in a part of its own on the disk.  One read fetches the
parts of the messages that are ready next, bounded in bytes; the window holds them until others are
asked for.
"""

from __future__ import annotations

from broker import limits
from broker.core.books.bodies import Bodies
from broker.core.books.ready_book import ReadyBook
from broker.core.queue import Queue
from broker.errors import UnreadableMessage
from broker.model.stored_batch import StoredBatch

#: Runs of ready messages whose parts one read fetches.
_RUNS = 512
_PARTS = limits.READ_BYTES // limits.TIMED_PART_BYTES


def read_ready_part(queue: Queue, bodies: Bodies, lane: int, first: int) -> StoredBatch | None:
    """The part that holds ``first``; None when it is not among what came due one by one."""
    book = queue.back[lane % limits.DELAYED_LANES]
    timed = book.timed_at(first) if isinstance(book, ReadyBook) else None
    if timed is None:
        return None
    assert isinstance(book, ReadyBook)
    at = timed.part_of(first)
    if at not in book.window:
        found = _read_ahead(bodies, queue.ledger.number, book, first)
        book.window = {part.first: part for part in found}
    part = book.window.get(at)
    if part is None:
        raise UnreadableMessage(f"the stored batch of position {first} is missing")
    return part


def _read_ahead(bodies: Bodies, number: int, book: ReadyBook, first: int) -> list[StoredBatch]:
    wanted: dict[tuple[int, int], None] = {}
    for timed, low, count in book.timed_runs(first, _RUNS):
        lane = timed.portion.extent.lane
        for at in range(timed.part_of(max(low, first)), low + count, timed.step):
            wanted[lane, at] = None
        if len(wanted) >= _PARTS:
            break
    return bodies.read_at(number, list(wanted)[:_PARTS])
