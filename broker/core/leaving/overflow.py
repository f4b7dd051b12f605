"""Full queues: what a put may add, and what gives way to it.

``max_messages`` and ``max_bytes`` count what is ready, what waits for an instant, and what is
proposed.  A full queue with ``reject`` refuses the put.  With another policy it takes the put,
hands on what it can, and drops by an entry what is ready above its limits: the lowest priority
first, inside it the lowest position.

Never dropped are messages in flight, which are somebody's; those that wait for an instant, which
was promised; and those on their way to a dead-letter queue.  The last make room for others, up to
the limits once more: a target that takes nothing does not let its source grow without end.
"""

from __future__ import annotations

from broker.core.choosing.picked import Picked
from broker.core.choosing.serving import head_of, parts_of, take_head
from broker.core.leaving.departures import leave, settle
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.errors import QueueFull, UnreadableMessage
from broker.model.entries import SettleReason
from broker.model.settings import Overflow


def require_room(
    machine: SlotMachine, queue: Queue, messages: int, size: int, *, is_delayed: bool
) -> None:
    """Raises QueueFull for a put that the queue's limits do not let in."""
    settings = queue.settings
    if queue.drops:
        messages_held, bytes_held = _undroppable(queue, is_delayed)
        machine.wake(queue)
    else:
        messages_held, bytes_held = held(queue)
    if settings.max_messages is not None and messages_held + messages > settings.max_messages:
        raise QueueFull(f"{queue.name} holds at most {settings.max_messages} messages")
    if settings.max_bytes is not None and bytes_held + size > settings.max_bytes:
        raise QueueFull(f"{queue.name} holds at most {settings.max_bytes} bytes")


def held(queue: Queue) -> tuple[int, int]:
    """(messages, bytes) that count against the queue's limits."""
    ledger, leases = queue.ledger, queue.leases
    messages = ledger.messages - leases.messages - queue.settling_messages
    size = ledger.bytes - leases.bytes - queue.settling_bytes
    return messages + queue.proposed_messages, size + queue.proposed_bytes


def _undroppable(queue: Queue, is_delayed: bool) -> tuple[int, int]:
    """What of a queue stays however many puts come; of bytes what the last drop found to stay."""
    messages = queue.undue + queue.resting.positions
    if is_delayed:
        # Some of what is proposed may be delayed too.
        messages += queue.proposed_messages
    messages_departing, bytes_departing = _departing(queue)
    size = held(queue)[1] if queue.is_stuck else 0
    return max(messages, messages_departing), max(size, bytes_departing)


def _departing(queue: Queue) -> tuple[int, int]:
    if not queue.departing.positions:
        return 0, 0
    return queue.departing.positions, sum(move.size for _, _, move in queue.departing)


def relieve(machine: SlotMachine, queue: Queue) -> None:
    """Drops what is above the limits of a queue that drops."""
    messages, size = _excess(queue)
    if messages <= 0 and size <= 0:
        queue.is_stuck = False
        return
    picked = _pick_oldest(machine, queue, messages, size)
    dropped = sum(item.count for item in picked)
    size -= sum(item.batch.bytes_between(item.first, item.count) for item in picked)
    # What is proposed can be dropped once it is committed.
    queue.is_stuck = size > queue.proposed_bytes
    if not dropped:
        return
    parts = parts_of(picked)
    if queue.choice is not None:
        queue.choice.claimed(machine.bodies, parts)
    if queue.settings.overflow == Overflow.DEAD_LETTER_OLDEST:
        leave(machine, queue, parts, SettleReason.OVERFLOWED)
    else:
        queue.counters.dropped += dropped
        settle(machine, queue, parts, SettleReason.OVERFLOWED)


def _excess(queue: Queue) -> tuple[int, int]:
    """(messages, bytes) above the limits, less what departs; 0 or less where there is room."""
    settings = queue.settings
    messages, size = held(queue)
    messages_departing, bytes_departing = _departing(queue)
    messages -= messages_departing
    size -= bytes_departing
    return (
        messages - settings.max_messages if settings.max_messages is not None else 0,
        size - settings.max_bytes if settings.max_bytes is not None else 0,
    )


def _pick_oldest(machine: SlotMachine, queue: Queue, messages: int, size: int) -> list[Picked]:
    """Takes ready messages out of the ready set until both amounts are reached."""
    picked: list[Picked] = []
    while messages > 0 or size > 0:
        try:
            head = head_of(queue, machine.bodies, reversed(queue.streams.items()))
        except UnreadableMessage:
            # It stays where it is, for somebody to look at.
            break
        if head is None:
            break
        batch, _, count = head[1]
        by_size = -(-size * batch.count // batch.size) if size > 0 else 0
        item = take_head(queue, head, min(count, max(messages, by_size)))
        picked.append(item)
        messages -= item.count
        size -= batch.bytes_between(item.first, item.count)
    return picked
