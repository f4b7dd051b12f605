"""``publish``: messages for all subscribers of a channel, in its order.

    light   numbered and on its way in the same turn; nothing is written, nothing is waited for
    kept    put into the hidden queue that holds the history; on its way once that is committed

A publish that queues are bound to get is ``bound_publishing.py``'s.  Law: a message of a kept
channel leaves for subscribers only when it is in the history for good.
"""

from __future__ import annotations

from typing import Any

import msgpack

from broker import limits
from broker.core.books.producers import Key, Verdict
from broker.core.channels.bindings import BindingCopy
from broker.core.channels.channel import Channel
from broker.core.channels.heard import judge_heard, note_heard
from broker.core.channels.sharing import open_shares
from broker.core.commands.put_handlers import agrees, join_put, open_put
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.core.session import Session
from broker.errors import ProducerExpired, ResourceAlarm, SequenceTooOld
from broker.model.commands import Publish
from broker.model.entries import BatchPut, SharedPut
from broker.model.published import Published
from broker.model.replies import Reply

#: Histories have one order.
LANE = limits.PRIORITY_MAX - limits.PRIORITY_DEFAULT


def handle_publish(machine: SlotMachine, session: Session, command: Publish) -> None:
    book = machine.channels
    channel = book.names.get(command.channel) or book.add_light(command.channel, machine.now)
    if channel.history is None:
        _publish_light(machine, session, channel, command)
    else:
        queue = machine.queues[channel.history.number]
        if is_new(machine, session, queue, command):
            _publish_kept(machine, session, queue, command)


def _publish_light(
    machine: SlotMachine, session: Session, channel: Channel, command: Publish
) -> None:
    producer, seq = command.producer, command.seq
    if producer is not None and seq is not None:
        verdict = judge_heard(channel.heard, producer, seq)
        if verdict is not Verdict.NEW:
            answer_repeat(machine, session, command, verdict)
            return
        channel.heard = note_heard(channel.heard, producer, seq)
    first = send_light(machine, channel, command)
    if command.req is not None:
        reply = confirm(machine, session, command, copies=0, first=first, count=command.count)
        machine.replies.append(reply)


def send_light(machine: SlotMachine, channel: Channel, command: Publish) -> int:
    """Numbers the messages, from now on they are on their way; gives the first sequence."""
    first = channel.next
    channel.next = first + command.count
    channel.at = machine.now
    machine.published.append(
        Published(
            command.channel,
            machine.log.epoch,
            first,
            command.count,
            machine.now,
            command.batch,
            command.columns,
            command.content_type,
            command.type,
            command.key,
            channel.start,
        )
    )
    return first


def is_new(machine: SlotMachine, session: Session, queue: Queue, command: Publish) -> bool:
    """False when the publish is a repeat, which is then answered here or with its commit."""
    if command.producer is None or command.seq is None:
        return True
    key = (command.producer, queue.ledger.number)
    verdict = machine.producers.judge(key, command.seq)
    if verdict is Verdict.NEW:
        return True
    queue.counters.duplicates += 1
    if verdict is Verdict.PROPOSED:
        if command.req is not None:
            reply = confirm(machine, session, command, copies=0, duplicate=True)
            machine.producers.wait_too(key, command.seq, reply)
        return False
    copies = 0 if queue.is_transient else machine.copies
    answer_repeat(machine, session, command, verdict, copies)
    return False


def answer_repeat(
    machine: SlotMachine, session: Session, command: Publish, verdict: Verdict, copies: int = 0
) -> None:
    if verdict is Verdict.TOO_OLD:
        raise SequenceTooOld(f"sequence {command.seq} is below the last {limits.SEQUENCE_WINDOW}")
    if verdict is Verdict.UNKNOWN_PRODUCER:
        raise ProducerExpired(f"sequence {command.seq} from a producer this channel does not know")
    if command.req is not None:
        reply = confirm(machine, session, command, copies=copies, duplicate=True)
        machine.replies.append(reply)


def _publish_kept(machine: SlotMachine, session: Session, queue: Queue, command: Publish) -> None:
    require_no_alarm(machine, queue, command)
    copies: list[BindingCopy] = []
    if machine.bindings.copies and not queue.is_transient:
        copies = machine.bindings.match(command.channel)
    entry, first = put_into_history(machine, queue, command, copies)
    note_publish(machine, session, queue, command, entry, first)


def put_into_history(
    machine: SlotMachine, queue: Queue, command: Publish, copies: list[BindingCopy]
) -> tuple[BatchPut, int]:
    """Proposes the messages, with a share for each queue that the bindings name; gives the entry
    and their first position."""
    properties = labels_of(command)
    entry = queue.open_put
    if (
        entry is None
        or isinstance(entry, SharedPut) != bool(copies)
        or not agrees(entry, command, LANE, (0, 0), properties)
    ):
        place = (LANE, (0, 0), properties, command.columns)
        if copies:
            entry = shared = open_put(machine, queue, *place, SharedPut)
            open_shares(machine, queue, shared, copies)
        else:
            entry = open_put(machine, queue, *place, BatchPut)
    return entry, join_put(machine, entry, queue, command)


def require_no_alarm(machine: SlotMachine, queue: Queue, command: Publish) -> None:
    """Raises ResourceAlarm while nothing more may be kept; the producer stays known."""
    if machine.alarm is not None:
        if command.producer is not None:
            machine.producers.refuse((command.producer, queue.ledger.number))
        raise ResourceAlarm(machine.alarm)


def note_publish(
    machine: SlotMachine,
    session: Session,
    queue: Queue,
    command: Publish,
    entry: BatchPut,
    first: int,
) -> None:
    """Whose publish it is, and the answer that leaves with its commit."""
    if command.producer is not None and command.seq is not None:
        key: Key = (command.producer, queue.ledger.number)
        entry.sources.append((command.producer, command.seq))
        machine.producers.propose(key, command.seq)
    if command.req is not None:
        reply = confirm(machine, session, command, copies=0, first=first, count=command.count)
        machine.answers.setdefault(entry.lsn, []).append(reply)


def labels_of(command: Publish) -> bytes:
    """As the properties of a stored batch."""
    if command.content_type is None and command.type is None and command.key is None:
        return b""
    labels = {
        "content_type": command.content_type,
        "type": command.type,
        "key": command.key,
    }
    return bytes(
        msgpack.packb({name: value for name, value in labels.items() if value is not None})
    )


def confirm(machine: SlotMachine, session: Session, command: Publish, **fields: Any) -> Reply:
    """``copies`` is how many brokers have it on disk, as the commit will say where one follows."""
    header = {
        "re": "ok",
        "req": command.req,
        "slot": machine.slot,
        "epoch": machine.log.epoch,
        "subscriptions": machine.count_subscribers(command.channel),
        **fields,
    }
    return Reply(session.peer, header)
