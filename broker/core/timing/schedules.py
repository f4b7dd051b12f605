"""Recurring schedules as a slot's primary keeps them: which instant was put last, and the next put.

A schedule is a producer whose sequence is the instant: put again after a restart or by another
primary it is a duplicate, and the durable window says where to go on.  A changed clock is another
producer.  Law: no calendar here; the shell says which instant is due.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, NamedTuple

import msgpack

from broker.core.books.producers import Key
from broker.core.commands.put_handlers import handle_put
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.core.session import Session
from broker.errors import QueueNotFound
from broker.limits import SESSION_TIMEOUT_MAX
from broker.model.commands import Put
from broker.model.entries import ProducersExpired, PutRepeated
from broker.model.recurring import Recurring, read_schedules
from broker.names import SCHEDULE_PRODUCER

_PRODUCER_BYTES = 16


class Scheduled(NamedTuple):
    """One schedule of a queue that is served here; ``last_at`` is the instant of its last put, or
    of its beginning."""

    slot: int
    epoch: int
    queue: str
    name: str
    recurring: Recurring
    last_at: int


def schedules_of(machine: SlotMachine) -> list[Scheduled]:
    """Every schedule of the slot; one that is new begins now."""
    found: list[Scheduled] = []
    for queue in machine.queues.values():
        # Asked often: most queues have none.
        if not queue.settings.schedules or queue.deleted:
            continue
        for name, recurring in read_schedules(queue.settings.schedules).items():
            last_at = machine.producers.highest(_key(queue, name, recurring))
            if last_at < 0:
                last_at = _begin(machine, queue, name, recurring)
            place = (machine.slot, machine.log.epoch, queue.name)
            found.append(Scheduled(*place, name, recurring, last_at))
    return found


def _key(queue: Queue, name: str, recurring: Recurring) -> Key:
    clock = f"{name}\0{recurring.cron}\0{recurring.zone}".encode()
    producer = SCHEDULE_PRODUCER + blake2b(clock, digest_size=_PRODUCER_BYTES).digest()
    return producer, queue.ledger.number


def _begin(machine: SlotMachine, queue: Queue, name: str, recurring: Recurring) -> int:
    """Notes durably since when the schedule is; what was due before is not put.

    Clocks that the queue does not have any more are forgotten.
    """
    producer, number = _key(queue, name, recurring)
    kept = {_key(queue, *each) for each in read_schedules(queue.settings.schedules).items()}
    gone = [
        key
        for key in machine.producers.windows
        if key[1] == number and key[0].startswith(SCHEDULE_PRODUCER) and key not in kept
    ]
    if gone and queue.is_transient:
        machine.producers.expire(gone)
    elif gone:
        machine.propose(ProducersExpired(gone))
    machine.propose(PutRepeated(number, [(producer, machine.now)]))
    machine.producers.propose((producer, number), machine.now)
    return machine.now


def put_scheduled(machine: SlotMachine, queue_name: str, name: str, at: int) -> None:
    """Puts the schedule's message for ``at``, as any client would; raises what refuses it."""
    queue = machine.find_queue(queue_name)
    recurring = read_schedules(queue.settings.schedules).get(name)
    if recurring is None:
        raise QueueNotFound(f"{queue_name} has no schedule {name!r} any more")
    producer, _ = _key(queue, name, recurring)
    body = recurring.body.encode() if isinstance(recurring.body, str) else recurring.body
    element: Any = [body, recurring.headers] if recurring.headers else body
    command = Put(
        queue=queue_name,
        count=1,
        producer=producer,
        seq=at,
        priority=recurring.priority,
        content_type=recurring.content_type,
        type=recurring.type,
        key=recurring.key,
        batch=msgpack.packb([element]),
    )
    session = Session(b"", b"", "schedules", SESSION_TIMEOUT_MAX, machine.now)
    handle_put(machine, session, command)


def note_schedule(machine: SlotMachine, scheduled: Scheduled, next_at: int, error: str) -> None:
    """For the stats of its queue: the next instant, 0 for none, and what went wrong last."""
    fields: dict[str, int | str] = {"next_at": next_at, "error": error}
    fields["last_at"] = scheduled.last_at
    machine.schedule_notes.setdefault(scheduled.queue, {})[scheduled.name] = fields


def schedule_stats(machine: SlotMachine, queue: Queue) -> dict[str, Any]:
    """What the stats of a queue say besides, where it has schedules."""
    if not queue.settings.schedules:
        return {}
    notes = machine.schedule_notes.get(queue.name, {})
    return {"schedules": {name: notes.get(name, {}) for name in queue.settings.schedules}}
