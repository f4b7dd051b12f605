"""Time to live: what waits too long is removed, wherever in its queue it stands.

The slot's expiry index has a row a batch.  Due rows are looked at in order; the removal and the
end of the rows are entries.  A message in flight does not expire under its consumer: its row comes
again later.
"""

from __future__ import annotations

from broker import limits
from broker.core.books.bodies import IndexRow
from broker.core.claims import claim
from broker.core.leaving.departures import leave
from broker.core.machine import SlotMachine
from broker.core.naming.waiting import waiting_ranges
from broker.model.entries import ExpirySwept, SettleReason


def expire(machine: SlotMachine) -> None:
    """Removes what is due, a bounded number of rows a turn."""
    due = machine.expiry.take(machine.now)
    if not due:
        return
    later = [again for row in due if (again := expire_row(machine, row)) is not None]
    machine.propose(ExpirySwept(due[-1], list(later)))
    if later:
        # Behind rows that are taken meanwhile nobody would find them.
        machine.expiry.hold()


def expire_row(machine: SlotMachine, row: IndexRow) -> IndexRow | None:
    """Settles the row's waiting messages; a row to look at again when some are in flight, on
    their way to the disk, or cannot be read."""
    queue = machine.queues.get(row.number)
    if queue is None or queue.deleted:
        return None
    waiting = waiting_ranges(queue, row.first, row.length)
    parts, elsewhere = claim(queue, machine.bodies, waiting, lambda _: True)
    if parts:
        leave(machine, queue, parts, SettleReason.EXPIRED)
    if elsewhere:
        is_committed = row.first < queue.ledger.next_position
        wait_ms = limits.LEASE_DEFAULT if is_committed else limits.SECOND
        return row._replace(at=machine.now + wait_ms)
    return None
