"""Handing messages to takers: which messages next, to whom, in what frames.

Law: whole batches leave as the bytes they were put in.  Only a taker with little credit, a message
that came back, and small neighbours look inside a batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgpack

from broker import limits
from broker.core.books.bodies import Bodies
from broker.core.books.lane_stream import LaneStream
from broker.core.books.lease_book import Lease
from broker.core.books.portion import Portion
from broker.core.choosing.fitting_choice import has_choice
from broker.core.choosing.picked import RUN_SPREAD_MS, SMALL_BATCH_BYTES, Picked, fitting
from broker.core.choosing.read_back import read_ready_part
from broker.core.choosing.reading import columns_of
from broker.core.choosing.scattered import Scattered, pick_scattered
from broker.core.claims import ClaimedPart
from broker.core.queue import Queue
from broker.core.session import Consumer, Getter, Taker
from broker.errors import UnreadableMessage
from broker.model.replies import Reply
from broker.model.stored_batch import StoredBatch
from broker.protocol.batches import array_header, element_offsets, header_bytes


class Delivery:
    """What one taker gets at once: the reply to send and what it holds, as (ranges, portion)."""

    __slots__ = ("held", "reply", "size", "taker")

    def __init__(self, taker: Taker, picked: list[Picked] | Scattered, queue: Queue) -> None:
        self.taker = taker
        self.held: list[tuple[list[tuple[int, int]], Portion]]
        if isinstance(picked, Scattered):
            self.held = [(picked.ranges, picked.portion())]
        else:
            self.held = [([(each.first, each.count)], each) for each in _portions(picked)]
        self.size = sum(portion.size for _, portion in self.held)
        self.reply = _reply(taker, picked, queue)
        # What it takes off the credit; only the broker knows the shares of cut batches.
        self.reply.header["bytes"] = self.size

    @property
    def count(self) -> int:
        return sum(portion.count for _, portion in self.held)


def pick_for(
    taker: Taker, queue: Queue, bodies: Bodies, messages: int, size: int
) -> list[Picked] | Scattered:
    """Takes the next messages that are for ``taker`` out of the ready set."""
    if queue.choice is not None and has_choice(queue, taker):
        return queue.choice.pick(bodies, taker.selector, messages, size)
    if queue.back and messages > 0 and size > 0:
        scattered = pick_scattered(queue, bodies, messages, size)
        if scattered is not None:
            return scattered
    return pick(queue, bodies, messages, size)


def pick(queue: Queue, bodies: Bodies, messages: int, size: int) -> list[Picked]:
    """Takes the next messages out of the ready set: at most ``messages``, and no more once ``size``
    bytes are reached.  Messages that share a frame with none come alone."""
    picked: list[Picked] = []
    while messages > 0 and size > 0:
        try:
            head = head_of(queue, bodies, queue.streams.items())
        except UnreadableMessage:
            # What was picked before it is good and leaves first.
            if picked:
                break
            raise
        if head is None:
            break
        batch, _, count = head[1]
        alone = bool(batch.columns) or batch.size > SMALL_BATCH_BYTES
        if alone and picked:
            break
        item = take_head(queue, head, min(count, messages, fitting(batch, size)))
        picked.append(item)
        messages -= item.count
        size -= batch.bytes_between(item.first, item.count)
        if alone:
            break
    return picked


#: (lane number, (batch, first, count), attempts, came back)
_Head = tuple[int, tuple[StoredBatch, int, int], int, bool]


def head_of(queue: Queue, bodies: Bodies, lanes: Iterable[tuple[int, LaneStream]]) -> _Head | None:
    """The next ready message: of the first lane that has one, the lowest position."""
    for number, stream in lanes:
        back = queue.back.get(number)
        part = stream.window[0] if stream.window else queue.peek(stream, bodies)
        if back is not None and len(back):
            first, count, portion = back.head()
            if part is None or first < part[1]:
                found = read_back(queue, bodies, portion.extent.lane, first, count)
                return number, found, portion.attempts, True
        if part is not None:
            return number, part, 0, False
    return None


def read_back(
    queue: Queue, bodies: Bodies, lane: int, first: int, count: int
) -> tuple[StoredBatch, int, int]:
    if lane >= limits.TIMED_LANES:
        part = read_ready_part(queue, bodies, lane, first)
        if part is not None:
            return part, first, min(count, part.end - first)
    found = bodies.read(queue.ledger.number, lane, first, first + count, 1, limits.READ_BYTES)
    if not found or found[0].first > first:
        raise UnreadableMessage(f"the stored batch of position {first} is missing")
    batch = found[0]
    return batch, first, min(count, batch.end - first)


def take_head(queue: Queue, head: _Head, count: int) -> Picked:
    number, (batch, first, _), attempts, came_back = head
    if came_back:
        queue.back[number].take(first, count)
    else:
        queue.streams[number].advance(count)
    return Picked(batch, first, count, attempts)


def parts_of(picked: list[Picked] | Scattered) -> list[ClaimedPart]:
    if isinstance(picked, Scattered):
        portion = picked.portion()
        return [(first, count, portion) for first, count in picked.ranges]
    portions = [Portion.of_batch(i.batch, i.first, i.count, i.attempts) for i in picked]
    return [(portion.first, portion.count, portion) for portion in portions]


def _portions(picked: list[Picked]) -> list[Portion]:
    """Neighbours that share their fate become one portion, so that a lease costs per run."""
    portions: list[Portion] = []
    for item in picked:
        last = portions[-1] if portions else None
        if (
            last is None
            or last.attempts != item.attempts
            or last.extent.lane != item.batch.lane
            or not last.try_join(item.batch, item.first, item.count)
        ):
            portion = Portion.of_batch(item.batch, item.first, item.count, item.attempts)
            portions.append(portion)
    return portions


def _reply(taker: Taker, picked: list[Picked] | Scattered, queue: Queue) -> Reply:
    header: dict[str, Any] = {"re": "messages", "queue": queue.name, "tag": queue.tag}
    if isinstance(taker, Consumer):
        header["consumer"] = taker.number
    elif isinstance(taker, Getter):
        header["req"] = taker.req
    if isinstance(picked, Scattered):
        header["runs"] = picked.runs
        frame = b"".join([array_header(picked.count), *picked.elements])
        return Reply(taker.session.peer, header, (frame,))
    header["runs"] = _runs(picked)
    if not picked:
        return Reply(taker.session.peer, header, (array_header(0),))
    return Reply(taker.session.peer, header, frames_of(picked))


def _runs(picked: list[Picked]) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = []
    previous: Picked | None = None
    for item in picked:
        if previous is not None and _continues(previous, item, runs[-1]):
            runs[-1]["count"] += item.count
        else:
            runs.append(_run(item))
        previous = item
    return runs


def _continues(previous: Picked, item: Picked, run: dict[str, Any]) -> bool:
    return (
        item.first == previous.first + previous.count
        and item.attempts == previous.attempts
        and item.batch.lane == previous.batch.lane
        and item.batch.properties == previous.batch.properties
        and item.batch.put_at - run["put_at"] <= RUN_SPREAD_MS
    )


def _run(item: Picked) -> dict[str, Any]:
    batch = item.batch
    run: dict[str, Any] = {"first": item.first, "count": item.count, "put_at": batch.put_at}
    if item.attempts:
        run["attempts"] = item.attempts
    priority = limits.PRIORITY_MAX - batch.lane % limits.DELAYED_LANES
    if priority != limits.PRIORITY_DEFAULT:
        run["priority"] = priority
    if batch.properties:
        run.update(msgpack.unpackb(batch.properties))
    return run


def frames_of(picked: list[Picked]) -> tuple[bytes, ...]:
    first = picked[0]
    if len(picked) == 1 and first.count == first.batch.count:
        batch = first.batch
        return (batch.columns, batch.batch) if batch.columns else (batch.batch,)
    total = sum(item.count for item in picked)
    frame = b"".join([array_header(total), *map(_elements, picked)])
    if first.batch.columns:
        return _joined_columns(picked), frame
    return (frame,)


def _elements(item: Picked) -> bytes:
    """The picked elements' bytes, without an array header."""
    batch = item.batch
    if item.count == batch.count:
        return batch.batch[header_bytes(batch.batch) :]
    if batch.offsets is None:
        batch.offsets = element_offsets(batch.batch, batch.count)
    low = item.first - batch.first
    return batch.batch[batch.offsets[low] : batch.offsets[low + item.count]]


def _joined_columns(picked: list[Picked]) -> bytes:
    """The columns of all that was picked; what shares a frame has columns of the same names."""
    joined: dict[str, list[Any]] = {name: [] for name in columns_of(picked[0].batch)}
    for item in picked:
        columns = columns_of(item.batch)
        low = item.first - item.batch.first
        for name, values in joined.items():
            values.extend(columns[name][low : low + item.count])
    return bytes(msgpack.packb(joined))


def grant_leases(queue: Queue, delivery: Delivery, now: int) -> int:
    """From now on the taker holds what was delivered, until the instant that it gives."""
    taker = delivery.taker
    queue.order += 1
    consumer = taker.number if isinstance(taker, Consumer) else None
    ends_at = now + (taker.lease_ms or queue.settings.lease_ms)
    for ranges, portion in delivery.held:
        lease = Lease(portion, taker.session, consumer, ends_at, queue.order)
        queue.leases.add(lease, ranges)
        if portion.attempts:
            queue.counters.redelivered += portion.count
    queue.counters.delivered += delivery.count
    return ends_at


def spend_credit(delivery: Delivery) -> None:
    taker = delivery.taker
    taker.credit -= delivery.count
    taker.credit_bytes -= delivery.size
    if isinstance(taker, Getter):
        taker.answered = True


def next_hungry(queue: Queue) -> Taker | None:
    """The taker whose turn it is; it leaves the line."""
    while queue.hungry:
        taker = queue.hungry.popleft()
        taker.queued = False
        if taker.is_hungry:
            return taker
    return None


def stand_in_line(queue: Queue, taker: Taker, *, first: bool = False) -> None:
    if taker.is_hungry and not taker.queued:
        taker.queued = True
        if first:
            queue.hungry.join_first(taker)
        else:
            queue.hungry.join(taker)


def fair_share(queue: Queue, takers: int) -> int:
    """How many messages each of so many takers in line gets at most before the next round."""
    if takers == 1:
        return limits.BATCH_COUNT_MAX
    return min(max(-(-queue.ready // takers), 1), limits.BATCH_COUNT_MAX)
