"""``update``: other settings for a queue that lives, by a log entry.

What comes after the answer goes by the new settings: leases that begin, messages that are put,
limits, deliveries.  What a queue is made of cannot change under it.
"""

from __future__ import annotations

from broker.core.channels.carrying import note_change
from broker.core.choosing.exclusive import appoint
from broker.core.choosing.fitting_choice import fit_choice
from broker.core.commands.settle_handlers import answer_after
from broker.core.commands.take_handlers import dismiss_getters
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.core.session import Session
from broker.errors import BadField, ExclusiveQueue, QueueNotEmpty
from broker.model.commands import Update
from broker.model.entries import QueueUpdated
from broker.model.replies import ok
from broker.model.settings import QueueSettings

#: Where a queue's messages are and how they are kept: fixed when it is made.
_FIXED = ("durable", "partitions")
#: What is recorded of a message as it is put: fixed while there is one.
_FIXED_WHILE_FILLED = ("ordering", "dedup", "index_ids")


def handle_update(machine: SlotMachine, session: Session, command: Update) -> None:
    queue = machine.find_queue(command.queue)
    settings = queue.settings.updated(command.settings)
    require_sound(queue.name, settings)
    _require_changeable(queue, settings)
    if settings != queue.settings:
        lsn = machine.propose(QueueUpdated(queue.ledger.number, settings.as_map()))
        note_change(machine, queue, settings, lsn)
        _adopt(machine, queue, settings)
    if command.req is not None:
        fields = {"uuid": queue.ledger.uuid, "settings": settings.as_map()}
        answer_after(machine, ok(session.peer, command.req, **fields))


def require_sound(name: str, settings: QueueSettings) -> None:
    """Raises BadField for settings that no queue of this name can have."""
    if settings.dead_letter == name:
        raise BadField("dead_letter: a queue is not its own dead-letter queue")
    if not settings.durable and settings.needs_disk:
        raise BadField(f"{settings.needs_disk}: not for a queue that is not durable")


def _require_changeable(queue: Queue, settings: QueueSettings) -> None:
    for name in _FIXED:
        if getattr(settings, name) != getattr(queue.settings, name):
            raise BadField(f"{name} is fixed when a queue is made")
    if not queue.ledger.messages and not queue.proposed_messages:
        return
    for name in _FIXED_WHILE_FILLED:
        if getattr(settings, name) != getattr(queue.settings, name):
            held = queue.ledger.messages + queue.proposed_messages
            raise QueueNotEmpty(f"{name} changes only while {queue.name} is empty: it holds {held}")


def _adopt(machine: SlotMachine, queue: Queue, settings: QueueSettings) -> None:
    """The entry precedes all that is done from now on."""
    was_exclusive = queue.settings.exclusive
    queue.adopt(settings)
    fit_choice(queue)
    if settings.exclusive != was_exclusive:
        if settings.exclusive:
            error = ExclusiveQueue(f"{queue.name} has one consumer at a time from now on")
            dismiss_getters(machine, queue, error)
        appoint(queue)
    machine.wake(queue)
