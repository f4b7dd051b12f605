"""Time to live: what waits too long is removed, wherever in its queue it stands.

The slot's expiry index has a row a batch.  Due rows are looked at in order; the removal and the
end of the rows are entries.  A message in flight does not expire under its consumer: its row comes
again later.
"""

from __future__ import annotations

from broker import limits
from broker.core.bodies import IndexRow
from broker.core.claims import claim
from broker.core.departures import leave
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.model.commands import Range
from broker.model.entries import ExpirySwept, SettleReason


def expire(machine: SlotMachine) -> None:
    """Removes what is due, a bounded number of rows a turn."""
    due = machine.expiry.take(machine.now)
    if not due:
        return
    later = [again for row in due if (again := _expire_row(machine, row)) is not None]
    machine.propose(ExpirySwept(due[-1], list(later)))
    for row in later:
        machine.expiry.expect(row.at)


def _expire_row(machine: SlotMachine, row: IndexRow) -> IndexRow | None:
    """Settles the row's waiting messages; a row to look at again when some are in flight, on
    their way to the disk, or cannot be read."""
    queue = machine.queues.get(row.number)
    if queue is None or queue.deleted:
        return None
    waiting = _waiting_ranges(queue, row)
    parts, elsewhere = claim(queue, machine.bodies, waiting, lambda _: True)
    if parts:
        leave(machine, queue, parts, SettleReason.EXPIRED)
    if elsewhere:
        return row._replace(at=machine.now + limits.LEASE_DEFAULT)
    return None


def _waiting_ranges(queue: Queue, row: IndexRow) -> list[Range]:
    """The row's live messages that stay, each with the attempts that it has."""
    ranges: list[Range] = []
    live = queue.ledger.settled.live_ranges(row.first, row.length)
    for first, count in [part for some in live for part in queue.staying_ranges(*some)]:
        low = first
        for start, size, value in queue.ledger.attempted.overlapping(first, count):
            if start > low:
                ranges.append((low, start - low, 0))
            ranges.append((start, size, value.attempts))
            low = start + size
        if low < first + count:
            ranges.append((low, first + count - low, 0))
    return ranges
