"""What a queue tells about itself: messages by state, ages, rates, who takes.

Looks and changes nothing but the samples of the rates.  Totals over many queues are sums that are
kept anyway; only the stats of one queue look at its leases and read a body or two.
"""

from __future__ import annotations

from typing import Any

from broker import limits
from broker.core.applying import leaving_of
from broker.core.books.bodies import Bodies
from broker.core.books.lane_stream import LaneStream
from broker.core.books.ledger import Ledger
from broker.core.channels.carrying import binding_stats
from broker.core.choosing.serving import read_back
from broker.core.leaving.departures import departing_stats
from broker.core.leaving.redrive import redrive_stats
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.core.timing.schedules import schedule_stats
from broker.errors import UnreadableMessage

#: Stored batches that are looked at for the oldest message of a lane.
_BATCHES_LOOKED_AT = 16
#: What the totals over all queues have, besides their number.
TOTALS = (
    "ready",
    "in_flight",
    "delayed",
    "departing",
    "messages",
    "bytes",
    "consumers",
    "waiting_gets",
    "paused",
)


def totals_of(queue: Queue) -> dict[str, Any]:
    """Messages by state; ``bytes`` are of all states together."""
    return {
        "ready": queue.ready,
        "in_flight": queue.leases.messages,
        "delayed": queue.resting.positions + queue.undue,
        "departing": queue.departing.positions,
        "messages": queue.ledger.messages,
        "bytes": queue.ledger.bytes,
        "consumers": len(queue.consumers),
        "waiting_gets": len(queue.getters),
        "paused": queue.ledger.settings.paused,
    }


def stats_of(machine: SlotMachine, queue: Queue) -> dict[str, Any]:
    ledger = queue.ledger
    counters = queue.counters.as_map()
    return {
        "queue": queue.name,
        "uuid": ledger.uuid,
        "slot": machine.slot,
        "epoch": machine.log.epoch,
        **totals_of(queue),
        **departing_stats(machine, queue),
        "redrive": redrive_stats(machine, queue),
        "held_by_key": queue.choice.held_by_key if queue.choice is not None else 0,
        "next_position": ledger.next_position,
        "oldest_ms": _oldest_ms(machine, queue),
        "by_priority": _by_priority(ledger),
        "ready_by_priority": _ready_by_priority(machine, queue),
        "consumer_list": _consumer_list(queue),
        "rates": queue.rates.per_second(machine.now, counters),
        **schedule_stats(machine, queue),
        **binding_stats(machine, queue),
        "settings": ledger.settings.as_map(),
        "counters": counters,
    }


def _by_priority(ledger: Ledger) -> dict[str, int]:
    messages: dict[str, int] = {}
    for number, lane in sorted(ledger.lanes.items()):
        if lane.messages:
            _add(messages, number, lane.messages)
    return messages


def _ready_by_priority(machine: SlotMachine, queue: Queue) -> dict[str, int]:
    """Of lanes whose messages wait for no instant all that is not away; of others what came due."""
    ready: dict[str, int] = {}
    if not queue.ready:
        return ready
    away = dict.fromkeys(queue.ledger.lanes, 0)
    gone = [(lease.portion.extent.lane, count) for _, count, lease in queue.leases.ranges]
    gone += [(portion.extent.lane, count) for _, count, portion in queue.resting]
    gone += [(move.extent.lane, count) for _, count, move in queue.departing]
    for number, count in gone + leaving_of(machine, queue.ledger.number):
        away[number] += count
    for number, lane in queue.ledger.lanes.items():
        if number < limits.DELAYED_LANES:
            _add(ready, number, lane.messages - away[number])
    for book in queue.back.values():
        for _, count, portion in book:
            if portion.extent.lane >= limits.DELAYED_LANES:
                _add(ready, portion.extent.lane, count)
    return {priority: count for priority, count in sorted(ready.items()) if count}


def _add(messages: dict[str, int], lane: int, count: int) -> None:
    priority = str(limits.PRIORITY_MAX - lane % limits.DELAYED_LANES)
    messages[priority] = messages.get(priority, 0) + count


def _oldest_ms(machine: SlotMachine, queue: Queue) -> int | None:
    """The time since the put of the oldest ready message; None where none is ready, or none can
    be read."""
    if not queue.ready:
        return None
    put_at: list[int] = []
    for number, stream in queue.streams.items():
        try:
            put_at += _oldest_of_lane(machine.bodies, queue, number, stream)
        except UnreadableMessage:
            continue
    return max(machine.now - min(put_at), 0) if put_at else None


def _oldest_of_lane(bodies: Bodies, queue: Queue, lane: int, stream: LaneStream) -> list[int]:
    """When the heads of what came back and of what is ahead were put."""
    put_at: list[int] = []
    back = queue.back.get(lane)
    if back is not None and len(back):
        first, count, portion = back.head()
        batch, _, _ = read_back(queue, bodies, portion.extent.lane, first, count)
        put_at.append(batch.put_at)
    if stream.window:
        put_at.append(stream.window[0][0].put_at)
        return put_at
    # The window stays as it is: many queues are asked that nobody takes from.
    ledger, position = queue.ledger, stream.loaded_to
    for _ in range(0 if stream.complete else _BATCHES_LOOKED_AT):
        position = ledger.settled.first_live(position)
        end = ledger.next_position
        found = bodies.read(ledger.number, lane, position, end, 1, limits.READ_BYTES)
        if not found:
            break
        if queue.fresh_ranges(found[0].first, found[0].count):
            put_at.append(found[0].put_at)
            break
        position = found[0].end
    return put_at


def _consumer_list(queue: Queue) -> list[dict[str, Any]]:
    """The consumers in the order of their coming, CONSUMERS_LISTED_MAX at most."""
    held: dict[tuple[bytes, int | None], int] = {}
    for _, count, lease in queue.leases.ranges:
        key = (lease.session.id, lease.consumer)
        held[key] = held.get(key, 0) + count
    return [
        {
            "client": consumer.session.client,
            "consumer": consumer.number,
            "in_flight": held.get((consumer.session.id, consumer.number), 0),
            "credit": consumer.credit,
            "credit_bytes": consumer.credit_bytes,
            "priority": consumer.priority,
            "active": not consumer.stands_by,
        }
        for consumer in list(queue.consumers.values())[: limits.CONSUMERS_LISTED_MAX]
    ]
