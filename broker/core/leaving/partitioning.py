"""A queue that is spread over others keeps nothing for itself: what it gets goes on to them.

Clients that know the partitions put there themselves.  What others put to the queue, dead letters
and what transactions put among it, is confirmed and kept here like any message, and leaves for its
partition as a dead letter leaves for its queue: once, in the order of the line, and again after a
failure (see departures.py).  Laws: a key's messages, and without keys those of an id, go to one
partition; the others batch by batch to each in turn; nobody takes from the queue itself.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import msgpack

from broker import limits
from broker.core.books.portion import Portion
from broker.core.choosing.picked import Picked
from broker.core.choosing.reading import columns_of, keys_of, packed_properties
from broker.core.choosing.serving import parts_of, pick
from broker.core.claims import ClaimedPart
from broker.core.leaving.departures import leave, moves_of, propose_departure
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.errors import Partitioned, UnreadableMessage
from broker.model.entries import Departed, Move, SettleReason
from broker.model.partitions import partition_name, partition_of, partition_settings
from broker.model.settings import Dedup, QueueSettings

#: Batches on their way to partitions; more would only wait in memory.
_DEPARTING_MAX = 1_024
_DEFAULTS = QueueSettings().as_map()


def refusal(queue: Queue) -> Partitioned:
    """Tells a client where the messages are, and what to declare the partitions with."""
    settings = queue.settings
    return Partitioned(
        f"{queue.name} is spread over {settings.partitions} partitions: name those",
        partitions=settings.partitions,
        settings=_settings_of_partition(queue),
    )


def require_whole(queue: Queue) -> None:
    """Raises Partitioned for a queue that nobody can take from."""
    if queue.is_partitioned:
        raise refusal(queue)


def require_known(queue: Queue, partitions: int | None) -> None:
    """Raises Partitioned for a sender that would spread its messages itself, if it knew."""
    if partitions is not None and partitions != queue.settings.partitions:
        raise refusal(queue)


def send_on(machine: SlotMachine, queue: Queue) -> None:
    """What is ready leaves for its partitions, as much as a turn may hand on."""
    served = 0
    moves: list[Move] = []
    while served < limits.SERVED_BYTES_PER_TURN and len(queue.departing) < _DEPARTING_MAX:
        try:
            picked = pick(queue, machine.bodies, limits.BATCH_COUNT_MAX, limits.DELIVERY_BYTES)
        except UnreadableMessage:
            # Nothing is skipped: the queue stands still, and a look at it tells why.
            break
        if not picked:
            break
        for item in picked:
            served += item.batch.bytes_between(item.first, item.count)
            if 0 < item.batch.expires_at <= machine.now:
                leave(machine, queue, parts_of([item]), SettleReason.EXPIRED)
            else:
                moves += _moves_of(machine, queue, item)
    else:
        machine.wake_at(queue, machine.now + limits.TRANSFER_RETRY)
    if moves:
        propose_departure(machine, Departed(queue.ledger.number, moves))


def _moves_of(machine: SlotMachine, queue: Queue, item: Picked) -> list[Move]:
    note = _note(machine, queue, item)
    moves: list[Move] = []
    for index, part in _by_partition(queue, item):
        target = partition_name(queue.name, index)
        moves += moves_of(machine, queue, [part], target, lambda *_: note)
    return moves


def _by_partition(queue: Queue, item: Picked) -> list[tuple[int, ClaimedPart]]:
    """(partition, its part), in the order of the positions."""
    partitions = queue.settings.partitions
    names = _names(queue, item)
    if names is None:
        queue.counters.spread += 1
        return [(queue.counters.spread % partitions, _part(item, item.first, item.count))]
    parts: list[tuple[int, ClaimedPart]] = []
    first = item.first
    for index, group in groupby(partition_of(name, partitions) for name in names):
        count = len(list(group))
        parts.append((index, _part(item, first, count)))
        first += count
    return parts


def _names(queue: Queue, item: Picked) -> list[str | bytes] | None:
    """What decides over each message's partition; None where nothing does."""
    batch = item.batch
    names: list[Any] | None = keys_of(batch)
    if names is None and queue.settings.dedup != Dedup.OFF and batch.columns:
        names = columns_of(batch).get("ids")
    if names is None:
        return None
    low = item.first - batch.first
    # A message without a key among others with one goes where an empty one would.
    return ["" if name is None else name for name in names[low : low + item.count]]


def _part(item: Picked, first: int, count: int) -> ClaimedPart:
    return first, count, Portion.of_batch(item.batch, first, count, item.attempts)


def _note(machine: SlotMachine, queue: Queue, item: Picked) -> bytes:
    """What the put to a partition has besides: it stays what it was, and has waited already."""
    note: dict[str, Any] = {"delay_ms": 0, "settings": _settings_of_partition(queue)}
    death = packed_properties(item.batch).get("death")
    if death is not None:
        note["death"] = death
    if item.batch.expires_at:
        note["ttl_ms"] = item.batch.expires_at - machine.now
    return bytes(msgpack.packb(note))


def _settings_of_partition(queue: Queue) -> dict[str, Any]:
    """Only those that are no defaults: each batch that is sent on carries them."""
    settings = partition_settings(queue.settings.as_map())
    return {name: value for name, value in settings.items() if value != _DEFAULTS[name]}
