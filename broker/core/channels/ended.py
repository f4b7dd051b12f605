"""A history whose channel is deleted while queues still wait for messages that lie in it.

Its batches stay, under a name of the broker's own, until the last of those queues has them; then it
goes as any deleted queue goes.  Nobody reads it any more, and its channel may begin anew meanwhile.
"""

from __future__ import annotations

from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.model.entries import QueueDeleted
from broker.model.settings import QueueSettings
from broker.names import CHANNEL_PREFIX, ENDED_PREFIX


def outlives_its_channel(machine: SlotMachine, queue: Queue) -> bool:
    """True for a history that is deleted and whose batches stay for now, which this sees to."""
    ledger = queue.ledger
    if ledger.settings.channel is None or not machine.outbox.holds(ledger.number):
        return False
    if machine.names.get(queue.name) is queue:
        del machine.names[queue.name]
    if queue.channel is not None:
        machine.channels.drop_kept(queue.channel)
        queue.channel = None
    machine.producers.forget_queue(ledger.number)
    ledger.name = f"{ENDED_PREFIX}{ledger.number}/{ledger.name.removeprefix(CHANNEL_PREFIX)}"
    ledger.settings = QueueSettings()
    ledger.dirty = True
    machine.names[ledger.name] = queue
    queue.adopt(ledger.settings)
    queue.deleted = False
    return True


def channel_of(name: str) -> str | None:
    """The channel of which a queue holds the history, or held it."""
    if name.startswith(CHANNEL_PREFIX):
        return name[len(CHANNEL_PREFIX) :]
    if name.startswith(ENDED_PREFIX):
        return name[len(ENDED_PREFIX) :].partition("/")[2]
    return None


def drop_ended(machine: SlotMachine, number: int) -> None:
    """Something that lay in the queue is with who waited for it."""
    queue = machine.queues[number]
    if queue.name.startswith(ENDED_PREFIX) and not machine.outbox.holds(number):
        machine.drop_queue(queue)
        machine.disk_effects.append(QueueDeleted(number))
