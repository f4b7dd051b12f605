"""A turn's work for transient queues: what is proposed is carried out at once, in memory.

The same steps as for what is committed, but that nothing waits for a disk or for another broker,
and nothing is left of it there.  Law: bodies go with the settle of their last message.
"""

from __future__ import annotations

from broker.cluster.slot_log import Proposed
from broker.core.applying import carry_out
from broker.core.commands.put_handlers import seal_put
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.core.timing.due import open_batch
from broker.core.timing.expiry import expire_row
from broker.core.timing.own_due_times import open_chunk
from broker.model.entries import BatchPut, Purged, Settled

#: No broker has it on disk.
_COPIES = 0


def apply_transient(machine: SlotMachine) -> None:
    """Carries out what is proposed, but for queues whose declaration is not committed."""
    log = machine.transient
    if not log.pending:
        return
    _seal(machine)
    pending, log.pending = log.pending, []
    for proposed in pending:
        number = getattr(proposed.entry, "number", 0)
        queue = machine.queues.get(number)
        if queue is None:
            # It was deleted, and what was done before that is gone with it.
            machine.replies += machine.answers.pop(proposed.lsn, ())
        elif number in machine.unborn:
            log.pending.append(proposed)
        else:
            _apply(machine, queue, proposed)


def _seal(machine: SlotMachine) -> None:
    """Closes the open puts of transient queues; those of others stay open until the turn's end."""
    for queue in machine.opened:
        if queue.is_transient and queue.open_put is not None:
            seal_put(queue.open_put, queue)
            queue.open_put = None


def _apply(machine: SlotMachine, queue: Queue, proposed: Proposed) -> None:
    ledger, memory, entry = queue.ledger, machine.transient.memory, proposed.entry
    is_declared_anew = ledger.dirty
    if isinstance(entry, BatchPut):
        memory.add(entry)
    carry_out(machine, proposed, _COPIES)
    if isinstance(entry, Settled):
        memory.erase(ledger.number, ledger.settled, entry.ranges)
    elif isinstance(entry, Purged):
        first = machine.transient_start
        memory.erase(ledger.number, ledger.settled, [(first, entry.up_to - first)])
    # No checkpoint is to write what has changed; only the declaration is kept.
    ledger.dirty = is_declared_anew
    ledger.dirty_attempted.clear()
    ledger.settled.dirty.clear()


def tick_transient(machine: SlotMachine) -> None:
    """Opens what is due and removes what has lived too long, a bounded number of rows a turn."""
    memory = machine.transient.memory
    for row, chunk in memory.due.take(machine.now):
        if chunk is None:
            open_batch(machine, row)
        else:
            open_chunk(machine, row, chunk)
        # There is no row on the disk that would have to go.
        machine.due_rows.pop(row, None)
    for row, _ in memory.expiry.take(machine.now):
        again = expire_row(machine, row)
        if again is not None:
            memory.expiry.add(again)
