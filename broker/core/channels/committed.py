"""What a commit brings to a kept channel: its messages leave for subscribers, and its history may
have grown over its bounds.

Law: what is trimmed is older than every message that a bound asks to keep, and one entry trims many
messages.
"""

from __future__ import annotations

from itertools import islice

import msgpack

from broker import limits
from broker.core.channels.channel import Channel, History, Stretch
from broker.core.channels.forgetting import forget_idle
from broker.core.channels.publishing import LANE
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.errors import UnreadableMessage
from broker.model.entries import BatchPut, Settled, SettleReason
from broker.model.published import Published


def serve_published(machine: SlotMachine, queue: Queue, entry: BatchPut) -> None:
    """An entry of a hidden queue is applied where this broker serves its channel."""
    channel, body = queue.channel, entry.body
    assert channel is not None
    assert channel.history is not None
    if queue.deleted:
        # Another channel of the name may be there by now, and is ahead.
        return
    channel.next = body.end
    channel.at = body.put_at
    labels = msgpack.unpackb(body.properties) if body.properties else {}
    machine.published.append(
        Published(
            channel.name,
            machine.log.epoch,
            body.first,
            body.count,
            body.put_at,
            body.batch,
            body.columns,
            start=channel.start,
            **labels,
        )
    )
    history = channel.history
    history.add(body.end, body.count, body.size, body.put_at)
    if not history.is_within(machine.now):
        machine.channels.looked_at[history.number] = channel


def tick_channels(machine: SlotMachine) -> None:
    """Looks at histories that may be over their bounds, a bounded number of them a turn, and for
    light channels that nobody uses."""
    forget_idle(machine)
    waiting = machine.channels.looked_at
    for number in list(islice(waiting, limits.TRIMS_PER_TURN)):
        channel = waiting.pop(number)
        queue = machine.queues.get(number)
        if queue is not None and not queue.deleted:
            trim_history(machine, queue, channel)


def trim_history(machine: SlotMachine, queue: Queue, channel: Channel) -> None:
    """Proposes to remove what no bound keeps, and sets when to look again."""
    history, now = channel.history, machine.now
    assert history is not None
    messages = size = 0
    first, end = history.trimmed_to, history.trimmed_to
    for _ in range(limits.TRIM_STEPS):
        oldest = _oldest(machine, queue, history)
        if oldest is None or not history.may_go(oldest, now):
            break
        _take_oldest(history)
        messages += oldest.messages
        size += oldest.bytes
        end = oldest.end
    else:
        # What is left waits for the next turn.
        machine.channels.looked_at[history.number] = channel
    if messages:
        totals = {LANE: (messages, size)}
        queue.note_settling(totals)
        reason = SettleReason.OVERFLOWED
        machine.propose(Settled(queue.ledger.number, reason, [(first, end - first)], totals))
    age_ms = history.settings.history_ms
    if oldest is not None and age_ms is not None:
        machine.wake_at(queue, oldest.at + age_ms + limits.TRIM_STEP_MS)


def _oldest(machine: SlotMachine, queue: Queue, history: History) -> Stretch | None:
    if history.head is None and history.unread_from < history.unread_to:
        history.head = _read_head(machine, queue, history)
    if history.head is not None:
        return history.head
    return history.stretches[0] if history.stretches else None


def _read_head(machine: SlotMachine, queue: Queue, history: History) -> Stretch | None:
    """The oldest of what earlier reigns left.  What cannot be read stays for somebody to look at,
    and counts no more."""
    first, end = history.unread_from, history.unread_to
    number, size = queue.ledger.number, history.step_bytes
    try:
        batches = machine.bodies.read(number, LANE, first, end, limits.WINDOW_RECORDS, size)
    except UnreadableMessage:
        batches = []
    if not batches:
        history.forget_unread()
        return None
    head = Stretch(batches[0].put_at)
    for batch in batches:
        head.add(batch.end, batch.count, batch.size, batch.put_at)
        if head.messages >= history.step_messages:
            break
    history.unread_from = head.end
    return head


def _take_oldest(history: History) -> None:
    oldest = history.head or history.stretches.popleft()
    history.head = None
    history.messages -= oldest.messages
    history.bytes -= oldest.bytes
    history.trimmed_to = oldest.end
