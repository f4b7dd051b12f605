"""``put``: refuse or propose.  Puts of one turn that agree are joined into one stored batch."""

from __future__ import annotations

from typing import Any

import msgpack

from broker import limits
from broker.core.machine import SlotMachine
from broker.core.producers import Key, Verdict
from broker.core.queue import Queue
from broker.core.session import Session
from broker.errors import MsgQueueError, ProducerExpired, QueueFull, ResourceAlarm, SequenceTooOld
from broker.model.commands import Put
from broker.model.entries import BatchPut
from broker.model.replies import Reply
from broker.model.stored_batch import StoredBatch
from broker.protocol.batches import array_header, header_bytes


def handle_put(machine: SlotMachine, session: Session, command: Put) -> None:
    queue = machine.require_queue(command.queue)
    key: Key | None = None
    if command.producer is not None and command.seq is not None:
        key = (command.producer, queue.ledger.number)
        # The duplicate check comes before every other: a repeat must not be refused for a
        # limit that its own first arrival has filled.
        if not _is_new(machine, session, queue, key, command):
            return
    try:
        _require_room(machine, queue, command)
    except MsgQueueError:
        if key is not None:
            machine.producers.refuse(key)
        raise
    _propose(machine, session, queue, command)


def _is_new(machine: SlotMachine, session: Session, queue: Queue, key: Key, command: Put) -> bool:
    """False when the put is a repeat, which is then answered here or with its commit."""
    assert command.seq is not None
    verdict = machine.producers.judge(key, command.seq)
    if verdict is Verdict.NEW:
        return True
    if verdict is Verdict.TOO_OLD:
        raise SequenceTooOld(f"sequence {command.seq} is below the last {limits.SEQUENCE_WINDOW}")
    if verdict is Verdict.UNKNOWN_PRODUCER:
        raise ProducerExpired(f"sequence {command.seq} from a producer this queue does not know")
    queue.counters.duplicates += 1
    if command.req is None:
        return False
    reply = _confirm(machine, session, command, {"duplicate": True})
    if verdict is Verdict.PROPOSED:
        machine.producers.wait_too(key, command.seq, reply)
    else:
        machine.replies.append(reply)
    return False


def _require_room(machine: SlotMachine, queue: Queue, command: Put) -> None:
    if machine.alarm is not None:
        raise ResourceAlarm(machine.alarm)
    settings = queue.ledger.settings
    held = queue.ledger.messages - queue.leases.messages + queue.proposed_messages
    if settings.max_messages is not None and held + command.count > settings.max_messages:
        raise QueueFull(f"{queue.name} holds at most {settings.max_messages} messages")
    size = queue.ledger.bytes + queue.proposed_bytes + len(command.batch) + len(command.columns)
    if settings.max_bytes is not None and size > settings.max_bytes:
        raise QueueFull(f"{queue.name} holds at most {settings.max_bytes} bytes")


def _propose(machine: SlotMachine, session: Session, queue: Queue, command: Put) -> None:
    ttl_ms = command.ttl_ms if command.ttl_ms is not None else queue.ledger.settings.ttl_ms
    due_at = _due_at(machine, queue, command)
    lane = limits.PRIORITY_MAX - command.priority + (limits.DELAYED_LANES if due_at else 0)
    # A message lives from the instant that it can be had.
    expires_at = (due_at or machine.now) + ttl_ms if ttl_ms is not None else 0
    properties = _properties(command)
    entry = queue.open_put
    if entry is None or not _agrees(entry, command, lane, (due_at, expires_at), properties):
        if entry is not None:
            seal_put(entry, queue)
        body = StoredBatch(
            lane,
            queue.proposed_next,
            0,
            machine.now,
            expires_at,
            properties,
            command.columns,
            b"",
            due_at,
        )
        entry = queue.open_put = BatchPut(queue.ledger.number, body)
        entry.lsn = machine.propose(entry)
        machine.opened.append(queue)
    first = _join(machine, entry, queue, command)
    if command.producer is not None and command.seq is not None:
        entry.sources.append((command.producer, command.seq))
        machine.producers.propose((command.producer, queue.ledger.number), command.seq)
    if command.req is not None:
        fields = {"first": first, "count": command.count}
        reply = _confirm(machine, session, command, fields)
        machine.answers.setdefault(entry.lsn, []).append(reply)


def _agrees(
    entry: BatchPut, command: Put, lane: int, instants: tuple[int, int], properties: bytes
) -> bool:
    body = entry.body
    return (
        body.lane == lane
        and (body.due_at, body.expires_at) == instants
        and body.properties == properties
        and not body.columns
        and not command.columns
        and body.count + command.count <= limits.BATCH_COUNT_DEFAULT
        and body.size + len(command.batch) <= limits.JOINED_BYTES_MAX
    )


def _join(machine: SlotMachine, entry: BatchPut, queue: Queue, command: Put) -> int:
    """Adds the command's messages to the open put; gives their first position."""
    body = entry.body
    first = body.end
    entry.frames.append(command.batch)
    body.count += command.count
    body.size += len(command.batch) + len(command.columns)
    queue.proposed_next = body.end
    machine.marks.touch(queue.ledger.number, body.end)
    queue.proposed_messages += command.count
    queue.proposed_bytes += len(command.batch) + len(command.columns)
    queue.counters.put += command.count
    return first


def seal_put(entry: BatchPut, queue: Queue) -> None:
    """The turn ends: the joined frames become one batch frame."""
    body, frames = entry.body, entry.frames
    if len(frames) == 1:
        body.batch = frames[0]
    else:
        elements = [frame[header_bytes(frame) :] for frame in frames]
        body.batch = b"".join([array_header(body.count), *elements])
        # The queue's totals must be of the bytes that are stored, not of those that came.
        queue.proposed_bytes += len(body.batch) - body.size
        body.size = len(body.batch)
    entry.frames = []


def _due_at(machine: SlotMachine, queue: Queue, command: Put) -> int:
    """The instant at which the batch is due; 0 for now, which an instant in the past also is."""
    if command.at_ms is not None:
        return command.at_ms if command.at_ms > machine.now else 0
    delay_ms = command.delay_ms
    if delay_ms is None:
        delay_ms = queue.ledger.settings.delay_ms
    return machine.now + delay_ms if delay_ms else 0


def _properties(command: Put) -> bytes:
    if command.content_type is None and command.type is None:
        return b""
    values = {"content_type": command.content_type, "type": command.type}
    given = {name: value for name, value in values.items() if value is not None}
    return bytes(msgpack.packb(given))


def _confirm(machine: SlotMachine, session: Session, command: Put, fields: dict[str, Any]) -> Reply:
    header = {
        "re": "ok",
        "req": command.req,
        "slot": machine.slot,
        "epoch": machine.log.epoch,
        "copies": machine.copies,
        **fields,
    }
    return Reply(session.peer, header)
