"""When the rows of ids go: a bounded step now and then, over one queue after the other.

A batch's rows go when all of its messages are settled and, where ids count for a time, that time is
over.  Which batches they are is an entry, so that every copy erases the same.  Positions that no
settle came near are not looked at: a long backlog costs nothing.
"""

from __future__ import annotations

from broker import limits
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.model.entries import IdsSwept
from broker.model.settings import Dedup


def sweep_ids(machine: SlotMachine) -> None:
    """Looks at the next rows, if it is time."""
    sweep = machine.id_sweep
    if sweep.at is None or sweep.at > machine.now:
        return
    sweep.at = machine.now + limits.ID_SWEEP_STEP
    if machine.log.applied_lsn < sweep.lsn or machine.disk_effects:
        # What the last step named may still be there, and is not to be named twice.
        return
    numbers = [n for n, queue in machine.queues.items() if queue.ledger.ids and n >= sweep.number]
    rows_left = limits.ID_SWEEP_ROWS
    for number in sorted(numbers)[: limits.ID_SWEEP_QUEUES]:
        first = sweep.first if number == sweep.number else 0
        sweep.number = number
        rows_left, go_on_at = _sweep_queue(machine, machine.queues[number], first, rows_left)
        if go_on_at is not None:
            sweep.first = go_on_at
            return
        sweep.number, sweep.first = number + 1, 0
    if len(numbers) <= limits.ID_SWEEP_QUEUES:
        sweep.number = sweep.first = 0
        is_needed = any(queue.ledger.ids for queue in machine.queues.values())
        sweep.at = machine.now + limits.ID_SWEEP_EVERY if is_needed else None


def _sweep_queue(
    machine: SlotMachine, queue: Queue, first: int, rows_left: int
) -> tuple[int, int | None]:
    """(how many rows may be looked at yet, where to go on; None at the queue's end)"""
    ledger = queue.ledger
    finished: list[tuple[int, int]] = []
    messages = 0
    at = ledger.settled.next_touched(first)
    while at is not None and rows_left > 0 and messages < limits.ID_SWEEP_MESSAGES:
        rows = machine.bodies.id_batches(ledger.number, at, rows_left)
        rows_left -= max(len(rows), 1)
        at = None
        for row in rows:
            if row.first >= ledger.next_position or _counts_by_time(machine, queue, row.put_at):
                at = None
                break
            if not ledger.settled.live_ranges(row.first, row.length):
                finished.append((row.first, row.length))
                messages += row.length
            at = ledger.settled.next_touched(row.first + row.length)
            if messages >= limits.ID_SWEEP_MESSAGES:
                break
    if finished:
        machine.id_sweep.lsn = machine.propose(IdsSwept(ledger.number, finished))
    return rows_left, at


def _counts_by_time(machine: SlotMachine, queue: Queue, put_at: int) -> bool:
    """True while ids of that time keep others out; those of later batches do so then, too."""
    settings = queue.settings
    return settings.dedup == Dedup.WINDOW and put_at + settings.dedup_window_ms > machine.now
