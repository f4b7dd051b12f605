"""``transact``: settle these, put those, together or not at all.

    BatchPut ...   the new messages, into the slot's hidden queue ``$outbox``, where nobody takes
    Departed       the settles, the new messages' moves to their targets, and whose it is

The last entry decides: with its commit everything has happened, and the answer leaves.  A new reign
removes messages that stand in ``$outbox`` without one.  What is settled must all be held: it is
looked at as a whole first, so that a refused transaction has changed nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgpack

from broker import limits
from broker.core.books.portion import Portion
from broker.core.books.producers import Key, Verdict
from broker.core.books.tags import decode_tag
from broker.core.claims import ClaimedPart, can_claim, claim, of_holder
from broker.core.commands.put_handlers import properties_of, seal_put
from broker.core.commands.settle_handlers import tagged_queue, take_held
from broker.core.leaving.departures import moves_of, propose_departure, settle, settled_parts
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.core.session import Session
from broker.errors import (
    BadField,
    LeaseLost,
    MsgQueueError,
    ProducerExpired,
    ResourceAlarm,
    SequenceTooOld,
    TransactionSpansSlots,
)
from broker.model.commands import Ack, Put, Range, Transact
from broker.model.entries import BatchPut, Departed, Move, Settled, SettleReason
from broker.model.replies import Reply, failed
from broker.model.settings import QueueSettings
from broker.model.stored_batch import StoredBatch
from broker.names import OUTBOX


def handle_transact(machine: SlotMachine, session: Session, command: Transact) -> None:
    outbox = machine.names.get(OUTBOX) or machine.declare(OUTBOX, QueueSettings())
    key = (command.producer, outbox.ledger.number)
    # The duplicate check comes before every other: what a repeat settles is held by nobody.
    if not _is_new(machine, session, key, command):
        return
    try:
        _require_sound(machine, command)
        lost = [each for each in command.settles if _lost(machine, session, each)]
    except MsgQueueError:
        machine.producers.refuse(key)
        raise
    if lost:
        machine.producers.refuse(key)
        _refuse(machine, session, command, lost)
    else:
        _carry_out(machine, session, key, command)


def _is_new(machine: SlotMachine, session: Session, key: Key, command: Transact) -> bool:
    """False when the transaction is a repeat, which is then answered here or with its commit."""
    verdict = machine.producers.judge(key, command.seq)
    if verdict is Verdict.NEW:
        return True
    if verdict is Verdict.TOO_OLD:
        raise SequenceTooOld(f"sequence {command.seq} is below the last {limits.SEQUENCE_WINDOW}")
    if verdict is Verdict.UNKNOWN_PRODUCER:
        raise ProducerExpired(f"sequence {command.seq} from a producer this slot does not know")
    for reply in _confirm(machine, session, command, duplicate=True):
        if verdict is Verdict.PROPOSED:
            machine.producers.wait_too(key, command.seq, reply)
        else:
            machine.replies.append(reply)
    return False


def _require_sound(machine: SlotMachine, command: Transact) -> None:
    if machine.alarm is not None:
        raise ResourceAlarm(machine.alarm)
    named: dict[bytes, list[tuple[int, int]]] = {}
    for each in command.settles:
        tag = decode_tag(each.tag)
        queue = machine.uuids.get(tag.uuid)
        if queue is not None and queue.is_transient:
            raise BadField(f"settles: {each.queue} is transient, and no part of a transaction")
        if tag.slot != machine.slot:
            raise TransactionSpansSlots(
                f"{each.queue} is of slot {tag.slot}, {command.queue} of slot {machine.slot}"
            )
        named.setdefault(tag.uuid, []).extend((first, count) for first, count, _ in each.ranges)
    for ranges in named.values():
        ranges.sort()
        for (first, count), (following, _) in pairwise(ranges):
            if first + count > following:
                raise BadField(f"settles: position {following} is named twice")


def _lost(machine: SlotMachine, session: Session, each: Ack) -> bool:
    """True when not all of it is this session's to settle, as ``ack`` would settle it."""
    tag = decode_tag(each.tag)
    queue = tagged_queue(machine, tag, each.queue)
    if queue is None:
        return True
    rest: list[Range] = []
    for first, count, attempts in each.ranges:
        queue.leases.held(session, first, count, attempts, rest)
    may_claim = of_holder(session, tag.epoch, machine.log.epoch)
    return bool(rest) and not can_claim(queue, machine.bodies, rest, may_claim)


def _refuse(machine: SlotMachine, session: Session, command: Transact, lost: list[Ack]) -> None:
    names = ", ".join(dict.fromkeys(each.queue for each in lost))
    error = LeaseLost(f"not all of the messages of {names} are held (any more)")
    reply = failed(session.peer, command.req, error, queue=command.queue)
    if command.req is None:
        reply.header["cmd"] = "transact"
    machine.replies.append(reply)


def _carry_out(machine: SlotMachine, session: Session, key: Key, command: Transact) -> None:
    settled = [_settle(machine, session, each) for each in command.settles]
    moves = [move for put in command.puts for move in _put_away(machine, key[1], put)]
    entry = Departed(key[1], moves, settled, [(command.producer, command.seq)])
    counts = {
        "settled": sum(count for part in settled for _, count in part.ranges),
        "puts": sum(put.count for put in command.puts),
    }
    propose_departure(machine, entry, *_confirm(machine, session, command, **counts))
    machine.producers.propose(key, command.seq)


def _settle(machine: SlotMachine, session: Session, each: Ack) -> Settled:
    queue, parts, lost = take_held(machine, session, each)
    assert queue is not None
    assert not lost, "all of it was found to be held"
    queue.counters.note_removed(SettleReason.ACKED, sum(count for _, count, _ in parts))
    machine.wake(queue)
    return settled_parts(queue, parts, SettleReason.ACKED)


def _put_away(machine: SlotMachine, number: int, put: Put) -> list[Move]:
    """Stores a put's batch in the outbox, in line for its target.

    Nothing there comes due or expires: the instants are the move's, for the target.
    """
    outbox = machine.queues[number]
    if outbox.open_put is not None:
        # What was published in this turn stands before it, and grows no more.
        seal_put(outbox.open_put, outbox)
        outbox.open_put = None
    lane = limits.PRIORITY_MAX - put.priority
    body = StoredBatch(
        lane,
        outbox.proposed_next,
        put.count,
        machine.now,
        0,
        properties_of(put),
        put.columns,
        put.batch,
    )
    outbox.proposed_next = body.end
    outbox.proposed_messages += body.count
    outbox.proposed_bytes += body.size
    machine.propose(BatchPut(number, body))
    portion = Portion.of_batch(body, body.first, body.count, 0)
    part: ClaimedPart = (body.first, body.count, portion)
    note = _note(machine, put)
    # It departs from here on, so that the sweeping of what is behind it need not wait for it.
    outbox.stream_of(lane).skip_to(body.end)
    return moves_of(machine, outbox, [part], put.queue, lambda *_: note)


def _note(machine: SlotMachine, put: Put) -> bytes:
    """The fields of the put that do not stand in its stored batch; a delay counts from now."""
    at_ms = put.at_ms if put.delay_ms is None else machine.now + put.delay_ms
    fields = {"at_ms": at_ms, "ttl_ms": put.ttl_ms}
    given = {name: value for name, value in fields.items() if value is not None}
    return bytes(msgpack.packb(given)) if given else b""


def _confirm(
    machine: SlotMachine, session: Session, command: Transact, **fields: Any
) -> list[Reply]:
    """The answer, where one is asked for."""
    if command.req is None:
        return []
    header = {
        "re": "ok",
        "req": command.req,
        "slot": machine.slot,
        "epoch": machine.log.epoch,
        "copies": machine.copies,
        **fields,
    }
    return [Reply(session.peer, header)]


def settle_leftovers(machine: SlotMachine) -> None:
    """A reign begins: puts of transactions whose deciding entry was lost with an earlier one."""
    outbox = machine.names.get(OUTBOX)
    if outbox is None:
        return
    left = [(first, count, 0) for first, count in _undecided(outbox)]
    parts, unreadable = claim(outbox, machine.bodies, left, lambda _: True)
    if parts:
        settle(machine, outbox, parts, SettleReason.ACKED)
    end = min((first for first, _, _ in unreadable), default=outbox.ledger.next_position)
    for stream in outbox.streams.values():
        stream.skip_to(end)


def _undecided(outbox: Queue) -> list[tuple[int, int]]:
    return outbox.fresh_ranges(0, outbox.ledger.next_position)
