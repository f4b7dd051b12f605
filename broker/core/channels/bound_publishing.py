"""``publish`` in a slot that has bindings of queues: in each of them once, then at subscribers.

    history on disk   the put into the history has a share for each queue: one entry
    any other         one entry in ``$outbox`` has the batch and the shares; once it is committed
                      the channel has the messages, as it would have had them at once

A channel without a history on disk remembers publishers only as long as this reign lasts; of what
queues are bound to get the slot remembers them on disk, so that it appears once whatever happens.
Law: subscribers get messages in one order, those that wait for a commit before those behind them.
"""

from __future__ import annotations

from hashlib import blake2b

import msgpack

from broker.cluster.slot_log import Proposed
from broker.core.books.producers import Key, Verdict
from broker.core.channels.bindings import BindingCopy
from broker.core.channels.channel import Channel
from broker.core.channels.heard import judge_heard, note_heard
from broker.core.channels.publishes import HeldPublish
from broker.core.channels.publishing import (
    LANE,
    answer_repeat,
    confirm,
    handle_publish,
    labels_of,
    put_into_history,
    send_light,
)
from broker.core.channels.sharing import open_shares
from broker.core.commands.put_handlers import agrees, join_put, open_put
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.core.session import Session
from broker.errors import ResourceAlarm
from broker.model.commands import Publish
from broker.model.entries import BatchPut, PutRepeated, SharedPut
from broker.model.settings import QueueSettings
from broker.names import OUTBOX

#: One byte more than any client's id can have.
_KEY_BYTES = 64
_KEY_MARK = b"$"


def handle_publish_anywhere(machine: SlotMachine, session: Session, command: Publish) -> None:
    """Costs one look where the slot has no bindings."""
    if not machine.bindings.copies and not machine.publishes.pending:
        handle_publish(machine, session, command)
        return
    copies = machine.bindings.match(command.channel)
    if copies or command.channel in machine.publishes.pending:
        book = machine.channels
        channel = book.names.get(command.channel) or book.add_light(command.channel, machine.now)
        history = channel.history
        if history is None or machine.queues[history.number].is_transient:
            _publish_bound(machine, session, channel, command, copies)
            return
    handle_publish(machine, session, command)


def _publish_bound(
    machine: SlotMachine,
    session: Session,
    channel: Channel,
    command: Publish,
    copies: list[BindingCopy],
) -> None:
    outbox = machine.names.get(OUTBOX) or machine.declare(OUTBOX, QueueSettings())
    key = _key(outbox, command)
    if key is not None and not _is_new(machine, session, channel, key, command):
        return
    if machine.alarm is not None:
        raise ResourceAlarm(machine.alarm)
    lsn, sources = _propose(machine, outbox, channel.name, command, copies)
    if key is not None and command.seq is not None:
        sources.append((key[0], command.seq))
        machine.producers.propose(key, command.seq)
        if channel.history is None and command.producer is not None:
            channel.heard = note_heard(channel.heard, command.producer, command.seq)
    # It is in use until its messages have left.
    channel.at = machine.now
    reply = None
    if command.req is not None:
        reply = confirm(machine, session, command, copies=0, count=command.count)
        machine.answers.setdefault(lsn, []).append(reply)
    machine.publishes.held.setdefault(lsn, []).append(HeldPublish(command, reply))
    machine.publishes.pending[channel.name] = lsn


def _key(outbox: Queue, command: Publish) -> Key | None:
    """The producer on this channel, as the outbox knows it."""
    if command.producer is None or command.seq is None:
        return None
    return _key_of(outbox, command.channel, command.producer)


def _key_of(outbox: Queue, channel: str, producer: bytes) -> Key:
    said = channel.encode() + b"\0" + producer
    return _KEY_MARK + blake2b(said, digest_size=_KEY_BYTES).digest(), outbox.ledger.number


def has_taken(machine: SlotMachine, channel: str, producer: bytes, sequence: int) -> bool:
    """True for a publish that queues are bound to get, and that is committed or proposed."""
    outbox = machine.names.get(OUTBOX)
    if outbox is None:
        return False
    return machine.producers.has_taken(_key_of(outbox, channel, producer), sequence)


def _is_new(
    machine: SlotMachine, session: Session, channel: Channel, key: Key, command: Publish
) -> bool:
    """False when the publish is a repeat, which is then answered here or with its commit.

    One that nobody remembers is taken, as on any channel without a history.
    """
    assert command.producer is not None
    assert command.seq is not None
    verdict = machine.producers.judge(key, command.seq)
    if verdict is Verdict.PROPOSED:
        if command.req is not None:
            reply = confirm(machine, session, command, copies=0, duplicate=True)
            machine.producers.wait_too(key, command.seq, reply)
        return False
    if verdict in (Verdict.APPLIED, Verdict.TOO_OLD):
        answer_repeat(machine, session, command, verdict, machine.copies)
        return False
    heard = judge_heard(channel.heard, command.producer, command.seq)
    if heard is not Verdict.NEW:
        answer_repeat(machine, session, command, heard)
        return False
    return True


def _propose(
    machine: SlotMachine,
    outbox: Queue,
    channel: str,
    command: Publish,
    copies: list[BindingCopy],
) -> tuple[int, list[tuple[bytes, int]]]:
    """(lsn of the entry, its sources)"""
    if not copies:
        # Nobody is bound any more, and those before it still wait for their commit.
        follower = PutRepeated(outbox.ledger.number, [])
        return machine.propose(follower), follower.sources
    properties = _properties(channel, command)
    entry: BatchPut | None = outbox.open_put
    if entry is None or not agrees(entry, command, LANE, (0, 0), properties):
        columns = command.columns
        entry = open_put(machine, outbox, LANE, (0, 0), properties, columns, SharedPut)
        assert isinstance(entry, SharedPut)
        open_shares(machine, outbox, entry, copies)
    join_put(machine, entry, outbox, command)
    return entry.lsn, entry.sources


def _properties(channel: str, command: Publish) -> bytes:
    """As of a stored batch, with the channel, which its queue does not tell."""
    labels = labels_of(command)
    values = msgpack.unpackb(labels) if labels else {}
    return bytes(msgpack.packb({**values, "channel": channel}))


def serve_held(machine: SlotMachine, entry: SharedPut | PutRepeated, at: Proposed) -> None:
    """The entry is committed: what waited for it goes on to the channel."""
    publishes = machine.publishes
    for command, reply in publishes.held.pop(at.lsn, ()):
        if publishes.pending.get(command.channel) == at.lsn:
            del publishes.pending[command.channel]
        channel = machine.channels.names.get(command.channel)
        if channel is None:
            # It was deleted meanwhile, with all who listened.
            continue
        if channel.history is None:
            first = send_light(machine, channel, command)
        else:
            queue = machine.queues[channel.history.number]
            put, first = put_into_history(machine, queue, command, [])
            if command.producer is not None and command.seq is not None:
                put.sources.append((command.producer, command.seq))
        if reply is not None:
            reply.header["first"] = first
