"""``put``: refuse or propose.  Puts of one turn that agree are joined into one stored batch."""

from __future__ import annotations

from typing import Any, TypeVar

import msgpack

from broker import limits
from broker.core.books.producers import Key, Verdict
from broker.core.commands.settle_handlers import answer_after
from broker.core.leaving.overflow import require_room
from broker.core.leaving.partitioning import require_known
from broker.core.machine import SlotMachine
from broker.core.naming.message_ids import remember_ids, without_duplicates
from broker.core.queue import Queue
from broker.core.session import Session
from broker.core.timing.own_due_times import settle_instants, timed_put
from broker.errors import (
    MsgQueueError,
    ProducerExpired,
    QueueDeleted,
    QueueNotFound,
    ResourceAlarm,
    SequenceTooOld,
)
from broker.model.commands import Publish, Put
from broker.model.entries import BatchPut, PutRepeated
from broker.model.replies import Reply
from broker.model.stored_batch import StoredBatch
from broker.protocol.batches import array_header, header_bytes

PutKind = TypeVar("PutKind", bound=BatchPut)


def handle_put(machine: SlotMachine, session: Session, command: Put) -> None:
    if command.uuid is None:
        queue = machine.require_queue(command.queue, command.settings)
    else:
        queue = _require_bound(machine, command.uuid)
    key: Key | None = None
    if command.producer is not None and command.seq is not None:
        key = (command.producer, queue.ledger.number)
        if machine.producers.instances or command.instance is not None:
            machine.producers.require_instance(key, command.instance)
        # The duplicate check comes before every other: a repeat must not be refused for a
        # limit that its own first arrival has filled.
        if not _is_new(machine, session, queue, key, command):
            return
    duplicates: list[int] = []
    try:
        if command.partitions is not None:
            require_known(queue, command.partitions)
        if command.columns and queue.settings.knows_ids:
            command, duplicates = without_duplicates(machine, queue, command)
            if not command.count:
                _take_nothing(machine, session, queue, command, duplicates)
                return
        _require_room(machine, queue, command)
    except MsgQueueError:
        if key is not None:
            machine.producers.refuse(key)
        raise
    _propose(machine, session, queue, command, duplicates)


def _require_bound(machine: SlotMachine, uuid: bytes) -> Queue:
    """The queue that was bound to a channel; no other of its name, nor a new one, takes its place.

    While its deletion is not committed it may stay: then nobody is told that it is gone.
    """
    queue = machine.uuids.get(uuid)
    if queue is None:
        raise QueueNotFound("the queue that was bound to the channel is no more")
    if queue.deleted:
        raise QueueDeleted("the queue's deletion is under way")
    return queue


def _take_nothing(
    machine: SlotMachine, session: Session, queue: Queue, command: Put, duplicates: list[int]
) -> None:
    """Every message is there already; the answer leaves when what holds them is committed."""
    if command.producer is not None and command.seq is not None:
        number = queue.ledger.number
        machine.propose(PutRepeated(number, [(command.producer, command.seq)]))
        machine.producers.propose((command.producer, number), command.seq)
    if command.req is not None:
        fields = {"count": 0, "duplicates": duplicates}
        answer_after(machine, _confirm(machine, session, command, fields))


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
    fields: dict[str, Any] = {"duplicate": True}
    if queue.is_transient:
        fields["copies"] = 0
    reply = _confirm(machine, session, command, fields)
    if verdict is Verdict.PROPOSED:
        machine.producers.wait_too(key, command.seq, reply)
    else:
        machine.replies.append(reply)
    return False


def _require_room(machine: SlotMachine, queue: Queue, command: Put) -> None:
    if machine.alarm is not None:
        raise ResourceAlarm(machine.alarm)
    if queue.is_bounded:
        size = len(command.batch) + len(command.columns)
        instants = [at or 0 for at in command.due_times or (_due_at(machine, queue, command),)]
        is_delayed = max(instants) > machine.now
        require_room(machine, queue, command.count, size, is_delayed=is_delayed)


def _propose(
    machine: SlotMachine, session: Session, queue: Queue, command: Put, duplicates: list[int]
) -> None:
    if command.due_times is not None and settle_instants(command, machine.now):
        _propose_timed(machine, session, queue, command, duplicates)
        return
    ttl_ms = command.ttl_ms if command.ttl_ms is not None else queue.settings.ttl_ms
    due_at = _due_at(machine, queue, command)
    lane = limits.PRIORITY_MAX - command.priority + (limits.DELAYED_LANES if due_at else 0)
    # A message lives from the instant that it can be had; a dead letter lives on.
    is_dead = command.death is not None
    expires_at = (due_at or machine.now) + ttl_ms if ttl_ms is not None and not is_dead else 0
    properties = properties_of(command)
    instants = (due_at, expires_at)
    entry = queue.open_put
    if entry is None or not agrees(entry, command, lane, instants, properties):
        entry = open_put(machine, queue, lane, instants, properties, command.columns, BatchPut)
        if command.columns and queue.settings.knows_ids:
            remember_ids(queue, entry)
    first = join_put(machine, entry, queue, command)
    _note_put(machine, session, queue, command, entry, first, duplicates)


def open_put(
    machine: SlotMachine,
    queue: Queue,
    lane: int,
    instants: tuple[int, int],
    properties: bytes,
    columns: bytes,
    make: type[PutKind],
) -> PutKind:
    """Proposes a put that the turn's next ones may join; ``instants`` are (due_at, expires_at)."""
    if queue.open_put is not None:
        seal_put(queue.open_put, queue)
    due_at, expires_at = instants
    first, now = queue.proposed_next, machine.now
    body = StoredBatch(lane, first, 0, now, expires_at, properties, columns, b"", due_at)
    # Counted when its puts join it, columns too.
    body.size = 0
    entry = queue.open_put = make(queue.ledger.number, body)
    entry.lsn = machine.propose(entry)
    machine.opened.append(queue)
    return entry


def _propose_timed(
    machine: SlotMachine, session: Session, queue: Queue, command: Put, duplicates: list[int]
) -> None:
    """Its messages come due one by one, so nothing is joined to it."""
    if queue.open_put is not None:
        seal_put(queue.open_put, queue)
        queue.open_put = None
    entry = timed_put(machine, queue, command, properties_of(command))
    entry.lsn = machine.propose(entry)
    if command.columns and queue.settings.knows_ids:
        remember_ids(queue, entry)
    _note_put(machine, session, queue, command, entry, entry.body.first, duplicates)


def _note_put(
    machine: SlotMachine,
    session: Session,
    queue: Queue,
    command: Put,
    entry: BatchPut,
    first: int,
    duplicates: list[int],
) -> None:
    """Whose put it is, and the answer that leaves with its commit."""
    if command.producer is not None and command.seq is not None:
        entry.sources.append((command.producer, command.seq))
        machine.producers.propose((command.producer, queue.ledger.number), command.seq)
    if command.req is not None:
        fields: dict[str, Any] = {"first": first, "count": command.count}
        if duplicates:
            fields["duplicates"] = duplicates
        reply = _confirm(machine, session, command, fields)
        machine.answers.setdefault(entry.lsn, []).append(reply)


def agrees(
    entry: BatchPut, command: Put | Publish, lane: int, instants: tuple[int, int], properties: bytes
) -> bool:
    """True when the command's messages may join the open put."""
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


def join_put(machine: SlotMachine, entry: BatchPut, queue: Queue, command: Put | Publish) -> int:
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
        delay_ms = queue.settings.delay_ms
    return machine.now + delay_ms if delay_ms else 0


def properties_of(command: Put) -> bytes:
    labels = (command.content_type, command.type, command.key, command.death, command.channel)
    if labels == (None, None, None, None, None):
        return b""
    values = {
        "content_type": command.content_type,
        "type": command.type,
        "key": command.key,
        "death": command.death,
        "channel": command.channel,
    }
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
