"""What each committed entry does, one function an entry, found in a table.

``fold`` changes the ledgers alone: restart and replicas use it.  ``apply_committed`` also moves the
primary's volatile side and sends the answers that waited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker import limits
from broker.cluster.slot_log import Proposed
from broker.core.books.ledger import Ledger
from broker.core.books.portion import Portion
from broker.core.channels.bound_publishing import serve_held
from broker.core.channels.carrying import note_deleted, serve_bindings, serve_carried
from broker.core.channels.committed import serve_published
from broker.core.channels.ended import drop_ended, outlives_its_channel
from broker.core.leaving.departures import tells_death
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.core.timing.due import expect_batch
from broker.core.timing.own_due_times import expect_timed
from broker.model import entries
from broker.model.replies import Reply
from broker.model.settings import QueueSettings


def fold(machine: SlotMachine, proposed: Proposed) -> list[Reply]:
    """The durable effect of one entry; gives replies of repeats that waited for it."""
    waiting = _FOLDS[type(proposed.entry)](machine, proposed.entry, proposed)
    return waiting or []


def apply_committed(machine: SlotMachine) -> None:
    """Carries out every entry that is committed and not yet applied."""
    log = machine.log
    if not machine.is_serving:
        while (proposed := log.next_committed()) is not None:
            fold(machine, proposed)
        return
    while (proposed := log.next_committed()) is not None:
        carry_out(machine, proposed, machine.copies)


def carry_out(machine: SlotMachine, proposed: Proposed, copies: int) -> None:
    """What one entry does where this broker serves; so many brokers have it on disk."""
    waiting = fold(machine, proposed)
    step = _SERVES.get(type(proposed.entry))
    if step is not None:
        step(machine, proposed.entry, proposed)
    answers = machine.answers.pop(proposed.lsn, None)
    if answers:
        waiting = answers + waiting
    for reply in waiting:
        # As many as hold it now that it is committed, not when it was proposed.
        if "copies" in reply.header:
            reply.header["copies"] = copies
    machine.replies += waiting


def _fold_epoch(machine: SlotMachine, entry: entries.EpochStart, at: Proposed) -> None:
    """The log's own table knows the reigns."""


def _fold_declared(machine: SlotMachine, entry: entries.QueueDeclared, at: Proposed) -> None:
    if entry.number not in machine.queues:
        settings = QueueSettings.from_map(entry.settings)
        machine.add_queue(Ledger(entry.number, entry.uuid, entry.name, settings))
    machine.unborn.discard(entry.number)
    machine.queues[entry.number].ledger.apply_declared(at.lsn)


def _fold_updated(machine: SlotMachine, entry: entries.QueueUpdated, at: Proposed) -> None:
    machine.queues[entry.number].ledger.apply_updated(entry, at.lsn)


def _fold_bound(machine: SlotMachine, entry: entries.Bound, at: Proposed) -> None:
    machine.bindings.bind(entry, at.now)


def _fold_unbound(machine: SlotMachine, entry: entries.Unbound, at: Proposed) -> None:
    machine.bindings.unbind(entry, at.now)


def _fold_carried(machine: SlotMachine, entry: entries.BindingsCarried, at: Proposed) -> None:
    queue = machine.queues.get(entry.number)
    if queue is not None:
        queue.ledger.apply_carried(entry)


def _fold_shared(machine: SlotMachine, entry: entries.SharedPut, at: Proposed) -> list[Reply]:
    for share in entry.shares:
        machine.outbox.add(entry.number, share)
    return _fold_put(machine, entry, at)


def _fold_deleted(machine: SlotMachine, entry: entries.QueueDeleted, at: Proposed) -> None:
    queue = machine.queues[entry.number]
    if machine.is_serving:
        machine.deleted_messages += queue.ledger.messages
        note_deleted(machine, queue, at.lsn)
    if outlives_its_channel(machine, queue):
        return
    machine.drop_queue(queue)
    machine.producers.forget_queue(entry.number)
    machine.outbox.forget_queue(entry.number)
    machine.disk_effects.append(entry)


def _fold_put(machine: SlotMachine, entry: entries.BatchPut, at: Proposed) -> list[Reply]:
    machine.queues[entry.number].ledger.apply_put(entry)
    waiting: list[Reply] = []
    for producer, sequence in entry.sources:
        waiting += machine.producers.apply((producer, entry.number), sequence, at.now)
    return waiting


def _fold_settled(machine: SlotMachine, entry: entries.Settled, at: Proposed) -> None:
    machine.queues[entry.number].ledger.apply_settled(entry)


def _fold_returned(machine: SlotMachine, entry: entries.Returned, at: Proposed) -> None:
    machine.queues[entry.number].ledger.apply_returned(entry)


def _fold_purged(machine: SlotMachine, entry: entries.Purged, at: Proposed) -> None:
    machine.queues[entry.number].ledger.apply_purged(entry)


def _fold_expiry(machine: SlotMachine, entry: entries.ExpirySwept, at: Proposed) -> None:
    machine.disk_effects.append(entry)


def _fold_trimmed(machine: SlotMachine, entry: entries.Trimmed, at: Proposed) -> None:
    for sweep in entry.sweeps:
        queue = machine.queues.get(sweep.number)
        if queue is not None:
            queue.ledger.apply_sweep(sweep)
    machine.disk_effects.append(entry)


def _fold_producers(machine: SlotMachine, entry: entries.ProducersExpired, at: Proposed) -> None:
    machine.producers.expire(entry.keys)


def _fold_instance(machine: SlotMachine, entry: entries.InstanceBegun, at: Proposed) -> None:
    machine.producers.begin_instance((entry.producer, entry.number), entry.instance, at.now)


def _fold_departed(machine: SlotMachine, entry: entries.Departed, at: Proposed) -> list[Reply]:
    for settled in entry.settled:
        _fold_settled(machine, settled, at)
    for move in entry.moves:
        machine.outbox.add(entry.number, move)
    waiting: list[Reply] = []
    for producer, sequence in entry.sources:
        waiting += machine.producers.apply((producer, entry.number), sequence, at.now)
    return waiting


def _fold_cleared(machine: SlotMachine, entry: entries.Cleared, at: Proposed) -> None:
    machine.outbox.remove(entry.target, entry.sequences)
    _fold_settled(machine, _settled_of(entry), at)
    drop_ended(machine, entry.number)


def _settled_of(entry: entries.Cleared) -> entries.Settled:
    return entries.Settled(entry.number, entries.SettleReason.MOVED, entry.ranges, entry.totals)


def _fold_repeated(machine: SlotMachine, entry: entries.PutRepeated, at: Proposed) -> list[Reply]:
    waiting: list[Reply] = []
    for producer, sequence in entry.sources:
        waiting += machine.producers.apply((producer, entry.number), sequence, at.now)
    return waiting


def _fold_ids_swept(machine: SlotMachine, entry: entries.IdsSwept, at: Proposed) -> None:
    queue = machine.queues.get(entry.number)
    if queue is not None:
        queue.ledger.apply_ids_swept(entry)
        machine.disk_effects.append(entry)


def _serve_put(machine: SlotMachine, entry: entries.BatchPut, proposed: Proposed) -> None:
    queue = machine.queues[entry.number]
    body = entry.body
    queue.proposed_messages -= body.count
    queue.proposed_bytes -= body.size
    if body.due_at:
        if isinstance(entry, entries.TimedPut):
            expect_timed(machine, queue, entry)
        else:
            expect_batch(machine, queue, body)
    else:
        share = limits.WINDOW_BYTES // len(machine.queues)
        queue.committed(body, max(share, limits.WINDOW_BYTES_MIN))
    if body.expires_at:
        machine.expiry.expect(body.expires_at)
    if entry.ids and machine.id_sweep.at is None:
        machine.id_sweep.at = machine.now + limits.ID_SWEEP_EVERY
    if queue.hungry or queue.drops or queue.is_partitioned:
        machine.wake(queue)
    if queue.channel is not None:
        serve_published(machine, queue, entry)


def _serve_shared(machine: SlotMachine, entry: entries.SharedPut, proposed: Proposed) -> None:
    _serve_put(machine, entry, proposed)
    serve_held(machine, entry, proposed)


def _serve_settled(machine: SlotMachine, entry: entries.Settled, proposed: Proposed) -> None:
    queue = machine.queues.get(entry.number)
    if queue is not None:
        _release(machine, queue, entry.ranges)
        queue.note_settled(entry.totals)
        if len(queue.claimed):
            queue.forget_claimed(entry.ranges)


def _serve_departed(machine: SlotMachine, entry: entries.Departed, proposed: Proposed) -> None:
    for settled in entry.settled:
        _serve_settled(machine, settled, proposed)
    queue = machine.queues.get(entry.number)
    if queue is not None:
        _release(machine, queue, [(move.first, move.count) for move in entry.moves])
        dead = sum(move.count for move in entry.moves if tells_death(move))
        if dead:
            machine.note_event(f"queue.dead_lettered.{queue.name}", dead, queue=queue.name)


def _serve_expiry(machine: SlotMachine, entry: entries.ExpirySwept, proposed: Proposed) -> None:
    if entry.later:
        machine.expiry.release(machine.now)
        machine.expiry.expect(min(row[0] for row in entry.later))


def _release(machine: SlotMachine, queue: Queue, ranges: list[tuple[int, int]]) -> None:
    """The end of messages is committed: their keys are free."""
    if queue.choice is not None:
        queue.choice.released(ranges)
        machine.wake(queue)


def _serve_cleared(machine: SlotMachine, entry: entries.Cleared, proposed: Proposed) -> None:
    _serve_settled(machine, _settled_of(entry), proposed)


def _serve_returned(machine: SlotMachine, entry: entries.Returned, proposed: Proposed) -> None:
    queue = machine.queues.get(entry.number)
    if queue is None:
        return
    for extent, first, count, attempts in entry.parts:
        queue.leaving -= count
        portion = Portion(extent, first, count, attempts)
        portion.returned_by = b""
        queue.give_back(portion, entry.not_before)
    if len(queue.claimed):
        queue.forget_claimed((first, count) for _, first, count, _ in entry.parts)
    if entry.not_before:
        machine.wake_at(queue, entry.not_before)
    machine.wake(queue)


def _serve_purged(machine: SlotMachine, entry: entries.Purged, proposed: Proposed) -> None:
    queue = machine.queues.get(entry.number)
    if queue is not None:
        queue.note_settled(entry.totals)
        queue.purging -= 1
        queue.forget_purged(entry.up_to, leaving_of(machine, entry.number))
        machine.wake(queue)


def leaving_of(machine: SlotMachine, number: int) -> list[tuple[int, int]]:
    """(lane, messages) that uncommitted entries take out of the queue or give back to it."""
    leaving: list[tuple[int, int]] = []
    for entry in machine.uncommitted_of(number):
        if isinstance(entry, entries.Returned):
            leaving += [(extent.lane, count) for extent, _, count, _ in entry.parts]
        elif not isinstance(entry, entries.Purged):
            totals = entries.totals_removed(entry, number)
            leaving += [(lane, messages) for lane, (messages, _) in totals.items()]
    return leaving


_FOLDS: dict[type[entries.Entry], Callable[[SlotMachine, Any, Proposed], list[Reply] | None]] = {
    entries.EpochStart: _fold_epoch,
    entries.QueueDeclared: _fold_declared,
    entries.QueueUpdated: _fold_updated,
    entries.QueueDeleted: _fold_deleted,
    entries.BatchPut: _fold_put,
    entries.TimedPut: _fold_put,
    entries.Settled: _fold_settled,
    entries.Returned: _fold_returned,
    entries.Purged: _fold_purged,
    entries.ExpirySwept: _fold_expiry,
    entries.Trimmed: _fold_trimmed,
    entries.ProducersExpired: _fold_producers,
    entries.InstanceBegun: _fold_instance,
    entries.Departed: _fold_departed,
    entries.Cleared: _fold_cleared,
    entries.PutRepeated: _fold_repeated,
    entries.IdsSwept: _fold_ids_swept,
    entries.SharedPut: _fold_shared,
    entries.Bound: _fold_bound,
    entries.Unbound: _fold_unbound,
    entries.BindingsCarried: _fold_carried,
}
_SERVES: dict[type[entries.Entry], Callable[[SlotMachine, Any, Proposed], None]] = {
    entries.BatchPut: _serve_put,
    entries.TimedPut: _serve_put,
    entries.Settled: _serve_settled,
    entries.Returned: _serve_returned,
    entries.Purged: _serve_purged,
    entries.ExpirySwept: _serve_expiry,
    entries.Departed: _serve_departed,
    entries.Cleared: _serve_cleared,
    entries.SharedPut: _serve_shared,
    entries.PutRepeated: serve_held,
    entries.QueueDeclared: serve_bindings,
    entries.QueueUpdated: serve_bindings,
    entries.BindingsCarried: serve_carried,
}
