"""Delay: messages that are put now and ready later, at their own place in the queue.

A delayed batch lies in a lane of its own, so that the gaps which long delays leave are in nobody's
way; the slot's due index has a row for it.  Being due is only a gate: no entry is written when it
opens, and the row stays until the batch is erased, so that a restart finds it again.
"""

from __future__ import annotations

from broker import limits
from broker.core.books.bodies import IndexRow
from broker.core.books.portion import Portion
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.core.timing.own_due_times import give_timed, open_row
from broker.model.stored_batch import Extent, StoredBatch


def come_due(machine: SlotMachine) -> None:
    """Makes ready what is due, a bounded number of batches a turn."""
    for row in machine.due.take(machine.now):
        open_batch(machine, row)
    if machine.timetable:
        give_timed(machine)


def expect_batch(machine: SlotMachine, queue: Queue, batch: StoredBatch) -> None:
    """A delayed put is committed: from now on it waits for its instant."""
    row = IndexRow(batch.due_at, queue.ledger.number, batch.lane, batch.first, batch.count)
    queue.undue += batch.count
    if queue.is_transient:
        machine.transient.memory.due.add(row)
    elif machine.due.seen is not None and row <= machine.due.seen:
        # Its instant passed while it was on its way to the disk.
        open_batch(machine, row)
    else:
        machine.due.expect(batch.due_at)


def open_batch(machine: SlotMachine, row: IndexRow) -> None:
    """The instant of a delayed batch has come."""
    machine.due_rows[row] = None
    queue = machine.queues.get(row.number)
    if queue is None or queue.deleted:
        return
    if row.first >= queue.ledger.next_position:
        # Not committed yet; its commit opens it.
        del machine.due_rows[row]
        return
    if row.lane >= limits.TIMED_LANES:
        open_row(machine, row)
        return
    extent = Extent(row.lane, row.first, row.length)
    for first, count in queue.fresh_ranges(row.first, row.length):
        queue.undue -= count
        queue.give_back(Portion(extent, first, count, 0), 0)
    machine.wake(queue)
