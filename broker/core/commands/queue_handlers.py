"""``declare``, ``stats``, ``purge``, ``delete``: queues as things."""

from __future__ import annotations

from broker.core.commands.queue_stats import stats_of
from broker.core.commands.settle_handlers import answer_after
from broker.core.commands.take_handlers import dismiss_takers
from broker.core.commands.updating import require_sound
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.core.session import Session
from broker.errors import QueueNotEmpty, SettingsMismatch
from broker.model.commands import Declare, Delete, Purge, Stats
from broker.model.entries import LaneTotals, Purged, QueueDeleted, totals_removed
from broker.model.replies import ok
from broker.model.settings import QueueSettings


def handle_declare(machine: SlotMachine, session: Session, command: Declare) -> None:
    settings = QueueSettings.from_map(command.settings)
    queue = machine.names.get(command.queue)
    created = queue is None or queue.deleted
    if queue is None or queue.deleted:
        require_sound(command.queue, settings)
        queue = machine.declare(command.queue, settings)
    elif command.settings and not queue.settings.is_same_definition(settings):
        raise SettingsMismatch(f"{command.queue} exists with {queue.settings.as_map()}")
    if command.req is not None:
        fields = {"uuid": queue.ledger.uuid, "created": created}
        answer_after(machine, ok(session.peer, command.req, **fields))


def handle_stats(machine: SlotMachine, session: Session, command: Stats) -> None:
    assert command.queue is not None
    queue = machine.find_queue(command.queue)
    if command.req is not None:
        machine.replies.append(ok(session.peer, command.req, stats=stats_of(machine, queue)))


def handle_purge(machine: SlotMachine, session: Session, command: Purge) -> None:
    """Removes what waits, at this moment of the log; what is in flight stays its holder's."""
    queue = machine.find_queue(command.queue)
    number = queue.ledger.number
    away = [*queue.leases.ranges, *queue.departing]
    kept = sorted((first, count) for first, count, _ in away)
    totals, removed = _totals_to_purge(machine, queue)
    up_to = queue.ledger.next_position
    machine.propose(Purged(number, up_to, kept, totals))
    queue.note_settling(totals)
    queue.counters.purged += removed
    queue.purging += 1
    if command.req is not None:
        answer_after(machine, ok(session.peer, command.req, count=removed), queue)


def _totals_to_purge(machine: SlotMachine, queue: Queue) -> tuple[LaneTotals, int]:
    """What the lanes hold, less what is in flight, departs or is already on its way out."""
    number = queue.ledger.number
    totals = {n: (lane.messages, lane.bytes) for n, lane in queue.ledger.lanes.items()}
    for first, count, lease in queue.leases.ranges:
        portion = lease.portion
        _subtract(totals, portion.extent.lane, count, portion.bytes_between(first, count))
    for _, _, move in queue.departing:
        _subtract(totals, move.extent.lane, move.count, move.size)
    for entry in machine.uncommitted_of(number):
        for lane, (messages, size) in totals_removed(entry, number).items():
            _subtract(totals, lane, messages, size)
    return totals, sum(messages for messages, _ in totals.values())


def _subtract(totals: LaneTotals, lane: int, messages: int, size: int) -> None:
    had = totals[lane]
    totals[lane] = (had[0] - messages, had[1] - size)


def handle_delete(machine: SlotMachine, session: Session, command: Delete) -> None:
    queue = machine.find_queue(command.queue)
    if command.if_empty and (queue.ledger.messages or queue.proposed_messages):
        raise QueueNotEmpty(f"{queue.name} holds {queue.ledger.messages} messages")
    queue.deleted = True
    dismiss_takers(machine, queue)
    machine.propose(QueueDeleted(queue.ledger.number))
    if command.req is not None:
        answer_after(machine, ok(session.peer, command.req, count=queue.ledger.messages))
