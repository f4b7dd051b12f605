"""The start of a reign: the volatile side of every queue, built from what is committed.

A restart of a broker that is alone and the promotion of a replica are the same thing: the ledgers
are folded as far as the log is committed, and from here on messages are handed out.
"""

from __future__ import annotations

from broker.core.books.tags import encode_tag
from broker.core.channels.sharing import note_share
from broker.core.choosing.rates import Rates
from broker.core.commands.transactions import settle_leftovers
from broker.core.machine import SlotMachine
from broker.core.timing.due import come_due
from broker.model.entries import Share


def begin_reign(machine: SlotMachine) -> None:
    """To be called when all that earlier reigns left is applied; what was in flight is ready."""
    machine.is_serving = True
    machine.serving_since = machine.now
    epoch = machine.log.epoch
    machine.outbox.begin_reign(epoch)
    for number, move in machine.outbox.moves():
        if isinstance(move, Share):
            note_share(machine.outbox, machine.queues[number], move)
        else:
            machine.queues[number].departing.add(move.first, move.count, move)
    machine.channels.begin_reign(machine.transient_start)
    for queue in machine.queues.values():
        queue.tag = encode_tag(machine.slot, epoch, queue.ledger.uuid)
        if queue.is_transient:
            machine.empty(queue)
        queue.begin_epoch()
        queue.rates = Rates(machine.now)
        if queue.channel is not None:
            machine.channels.begin_kept(queue.ledger, machine.now)
        # What was settled and not yet swept is looked at by the first trim of this epoch.
        machine.marks.touch(queue.ledger.number, queue.ledger.next_position)
        if queue.is_partitioned or queue.drops:
            # What was in flight is ready again, and may be above the limits.
            machine.wake(queue)
        if queue.resting_until:
            machine.wake_at(queue, queue.resting_until[0][0])
        if queue.ledger.uncarried:
            machine.binding_work.queues[queue.ledger.number] = None
    machine.due.expect(0)
    while machine.due.at is not None and machine.due.at <= machine.now:
        # What was due before may be named by who held it, before any turn.
        come_due(machine)
    while machine.timetable.is_due(machine.now):
        come_due(machine)
    machine.expiry.expect(0)
    settle_leftovers(machine)
    if any(queue.ledger.ids for queue in machine.queues.values()):
        machine.id_sweep.at = machine.now
