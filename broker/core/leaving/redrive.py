"""``redrive``: a queue's waiting messages go where they came from, or to a named queue.

A job of the primary: it goes through the queue once, lane by lane, a bounded step a turn, and waits
while many of its messages are still on their way.  It looks at what was put before it began.  The
job itself is volatile: another reign knows nothing of it, and what it has moved stays moved.
"""

from __future__ import annotations

from typing import Any

import msgpack

from broker import limits
from broker.core.choosing.reading import headers_of, properties_of
from broker.core.commands.settle_handlers import answer_after
from broker.core.leaving.departures import depart
from broker.core.leaving.redrive_job import RedriveJob
from broker.core.machine import SlotMachine
from broker.core.naming.waiting import Span, take_waiting
from broker.core.queue import Queue
from broker.core.session import Session
from broker.errors import BadField, LimitReached, UnreadableMessage
from broker.model.commands import Redrive
from broker.model.replies import ok
from broker.model.stored_batch import StoredBatch

_NOTE = bytes(msgpack.packb({"delay_ms": 0}))


def handle_redrive(machine: SlotMachine, session: Session, command: Redrive) -> None:
    queue = machine.find_queue(command.queue)
    if command.to == command.queue:
        raise BadField("to: the messages are in that queue")
    if queue.is_transient:
        raise BadField(f"{queue.name} is transient: nothing leaves it for another queue")
    number = queue.ledger.number
    job = machine.redrives.get(number)
    if command.stop:
        machine.redrives.pop(number, None)
        job = job or RedriveJob(command, queue, machine.now)
    elif job is not None:
        raise LimitReached(f"a redrive of {queue.name} is running; stop it first")
    else:
        job = machine.redrives[number] = RedriveJob(command, queue, machine.now)
    if command.req is not None:
        fields = job.as_map(queue, running=not command.stop)
        answer_after(machine, ok(session.peer, command.req, **fields))


def redrive_stats(machine: SlotMachine, queue: Queue) -> dict[str, Any] | None:
    job = machine.redrives.get(queue.ledger.number)
    return None if job is None else job.as_map(queue, running=True)


def redrive(machine: SlotMachine) -> None:
    """One step of each job that is due."""
    for number, job in list(machine.redrives.items()):
        queue = machine.queues.get(number)
        if queue is None or queue.deleted:
            del machine.redrives[number]
        elif not job.lanes:
            # There was nothing to look at from the start.
            del machine.redrives[number]
        elif job.next_at <= machine.now:
            _step(machine, queue, job)
            if not job.lanes or job.left_max == 0:
                del machine.redrives[number]


def _step(machine: SlotMachine, queue: Queue, job: RedriveJob) -> None:
    allowance = job.allowance(machine.now)
    if queue.purging or len(queue.departing) >= limits.REDRIVE_MOVES_MAX or not allowance:
        job.next_at = machine.now + limits.REDRIVE_STEP
        return
    number, lane = queue.ledger.number, job.lanes[0]
    job.at = queue.ledger.settled.first_live(job.at)
    try:
        batches = machine.bodies.read(
            number, lane, job.at, job.end, limits.BROWSE_RECORDS, limits.BROWSE_READ_BYTES
        )
    except UnreadableMessage:
        # What cannot be read stays where it is, and nothing overtakes it.
        job.lanes.clear()
        return
    for batch in batches:
        allowance -= _move(machine, queue, job, batch, allowance)
        if not allowance:
            break
    if not batches or job.at >= job.end:
        del job.lanes[0]
        job.at = 0


def _move(
    machine: SlotMachine, queue: Queue, job: RedriveJob, batch: StoredBatch, count_max: int
) -> int:
    """Moves what of a batch waits and is meant, and how many messages that are; the job goes on
    behind what was looked at."""
    moved = 0
    target = job.target_of(batch, queue.name)
    end = min(batch.end, job.end)
    for first, count in _meant(job, batch, end) if target is not None else []:
        assert target is not None
        size = min(count, count_max - moved)
        parts, _ = take_waiting(machine, queue, [(first, size)])
        if parts:
            messages = sum(part[1] for part in parts)
            depart(machine, queue, parts, target, _NOTE)
            queue.counters.redriven += messages
            job.note_moved(messages)
            moved += messages
        job.at = first + size
        if moved == count_max:
            return moved
    job.at = end
    return moved


def _meant(job: RedriveJob, batch: StoredBatch, end: int) -> list[Span]:
    first = max(batch.first, job.at)
    selector = job.selector
    if selector is None:
        return [(first, end - first)] if first < end else []
    if not selector.matches_properties(properties_of(batch)):
        return []
    headers = headers_of(batch) if selector.asks_headers else [None] * batch.count
    positions = range(first, end)
    return [(p, 1) for p in positions if selector.matches_headers(headers[p - batch.first])]
