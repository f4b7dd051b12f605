"""A queue's bindings between the entry that changes them and the one that says that all slots know.

Laws: what is to be carried follows from the ledger alone, so a new reign goes on with it; an answer
leaves when the change that it stands for, or a later one of that binding, is with all.
"""

from __future__ import annotations

from typing import Any

from broker.cluster.slot_log import Proposed
from broker.core.channels.binding_work import GoneQueue
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.errors import MsgQueueError, QueueNotFound
from broker.model.bindings import Bindings, changed
from broker.model.entries import BindingsCarried, QueueDeclared, QueueUpdated
from broker.model.replies import Reply, failed
from broker.model.settings import QueueSettings


def note_change(machine: SlotMachine, queue: Queue, settings: QueueSettings, lsn: int) -> None:
    """An entry is proposed that gives the queue these settings; it has others so far."""
    for pattern in changed(queue.settings.bindings, settings.bindings):
        machine.binding_work.changed_at[queue.ledger.number, pattern] = lsn


def propose_bindings(machine: SlotMachine, queue: Queue, bindings: Bindings) -> None:
    settings = queue.settings.updated({"bindings": bindings})
    lsn = machine.propose(QueueUpdated(queue.ledger.number, settings.as_map()))
    note_change(machine, queue, settings, lsn)
    queue.adopt(settings)


def last_change(machine: SlotMachine, queue: Queue, pattern: str) -> int:
    """The lsn of the binding's newest change that is not with all slots; 0 where it is."""
    number = queue.ledger.number
    # What a queue is declared with is carried once that is committed.
    born_at = 1 if number in machine.unborn and pattern in queue.settings.bindings else 0
    at = machine.binding_work.changed_at.get((number, pattern), 0)
    return max(at, queue.ledger.uncarried.get(pattern, 0), born_at)


# As entries are committed


def serve_bindings(machine: SlotMachine, entry: QueueDeclared | QueueUpdated, at: Proposed) -> None:
    queue = machine.queues.get(entry.number)
    if queue is not None and queue.ledger.uncarried:
        machine.binding_work.queues[entry.number] = None


def serve_carried(machine: SlotMachine, entry: BindingsCarried, at: Proposed) -> None:
    work = machine.binding_work
    for pattern, lsn in entry.carried:
        key = (entry.number, pattern)
        if work.changed_at.get(key, 0) <= lsn:
            work.changed_at.pop(key, None)
        waiting = work.waiting.pop(key, [])
        machine.replies += [reply for since, reply in waiting if since <= lsn]
        if later := [each for each in waiting if each[0] > lsn]:
            work.waiting[key] = later
    queue = machine.queues.get(entry.number)
    if queue is None or not queue.ledger.uncarried:
        work.queues.pop(entry.number, None)


def note_deleted(machine: SlotMachine, queue: Queue, lsn: int) -> None:
    """The queue is gone: nothing waits for it, and its bindings are taken back where they stand.

    That much is a kindness: what it misses is found by the first message that is to go there.
    """
    patterns = list({**queue.ledger.settings.bindings, **queue.ledger.uncarried})
    if patterns:
        gone = GoneQueue(queue.ledger.uuid, queue.name, patterns, lsn)
        machine.binding_work.gone.append(gone)
    waiting = machine.binding_work.forget_queue(queue.ledger.number)
    _fail(machine, waiting, QueueNotFound(f"{queue.name} was deleted"))


def _fail(machine: SlotMachine, replies: list[Reply], error: MsgQueueError) -> None:
    for reply in replies:
        machine.replies.append(failed(reply.peer, reply.header["req"], error))


# As bindings are carried


def note_carried(machine: SlotMachine, queue: Queue, carried: list[tuple[str, int]]) -> None:
    """All slots that are concerned have said that they have these changes."""
    if any(pattern in queue.ledger.settings.bindings for pattern, _ in carried):
        machine.binding_work.errors.pop(queue.ledger.number, None)
    machine.propose(BindingsCarried(queue.ledger.number, carried))


def give_up(
    machine: SlotMachine, queue: Queue, pattern: str, lsn: int, error: MsgQueueError
) -> None:
    """A slot takes no more bindings: this one is taken back from the others."""
    key = (queue.ledger.number, pattern)
    work = machine.binding_work
    bindings = queue.settings.bindings
    if work.changed_at.get(key, lsn) == lsn and pattern in bindings:
        waiting = [reply for _, reply in work.waiting.pop(key, [])]
        propose_bindings(
            machine, queue, {name: each for name, each in bindings.items() if name != pattern}
        )
        work.errors[queue.ledger.number] = f"{pattern}: {error.name}: {error.text}"
        _fail(machine, waiting, error)


def binding_stats(machine: SlotMachine, queue: Queue) -> dict[str, Any]:
    """What the stats of a queue say besides, where bindings of it are on their way, or one came
    to nothing."""
    told: dict[str, Any] = {}
    if queue.ledger.uncarried:
        told["bindings_under_way"] = list(queue.ledger.uncarried)
    error = machine.binding_work.errors.get(queue.ledger.number)
    return {**told, "last_binding_error": error} if error else told
