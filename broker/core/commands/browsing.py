"""``browse``: what a queue holds, in the order of positions over all lanes, without taking any.

One call looks at a bounded part: as many messages and bytes as are asked for, and so many reads and
bytes of the disk, whatever matches.  ``next`` says where to go on.  Law: nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heapreplace
from typing import Any, NamedTuple

import msgpack

from broker import limits
from broker.core.commands.pages import Page, Piece, offsets_of
from broker.core.commands.waiting_handlers import spans_of
from broker.core.machine import SlotMachine
from broker.core.naming.message_ids import find_by_ids
from broker.core.naming.waiting import Span
from broker.core.naming.whereabouts import Whereabouts
from broker.core.queue import Queue
from broker.core.session import Session
from broker.errors import BadField, UnreadableMessage
from broker.model.commands import Browse
from broker.model.replies import Reply
from broker.model.selector import Selector
from broker.model.stored_batch import StoredBatch


def handle_browse(machine: SlotMachine, session: Session, command: Browse) -> None:
    if command.req is None:
        raise BadField("browse needs req: without it nobody could tell whose messages come")
    queue = machine.find_queue(command.queue)
    page = _Browsed(command)
    next_at = _fill(machine, queue, page, _wanted(machine, queue, command))
    header = {"re": "browsed", "req": command.req, "queue": queue.name, "runs": page.runs()}
    header["next"] = next_at
    machine.replies.append(Reply(session.peer, header, page.frames()))


class Wanted(NamedTuple):
    """Positions to look at, [first, end), and the lanes in which they can be."""

    first: int
    end: int
    lanes: list[int]


def _wanted(machine: SlotMachine, queue: Queue, command: Browse) -> list[Wanted]:
    """In order; all positions behind ``after`` that the command names, or all."""
    ledger = queue.ledger
    low, end = command.after + 1, ledger.next_position
    lanes = [lane for lane, totals in sorted(ledger.lanes.items()) if totals.messages]
    if command.ids is not None and command.ranges is not None:
        raise BadField("ranges and ids exclude each other")
    if command.ids is not None:
        found = find_by_ids(machine, queue, command.ids)
        places = {place.position: place.lane for _, each in found for place in each}
        return [Wanted(at, at + 1, [places[at]]) for at in sorted(places) if at >= low]
    spans: list[Span] = [(low, max(end - low, 0))]
    if command.ranges is not None:
        spans = [(max(first, low), first + count) for first, count in spans_of(command)]
        spans = [(first, min(stop, end) - first) for first, stop in spans]
    return [Wanted(first, first + count, lanes) for first, count in spans if count > 0]


class _Budget:
    """How much of the disk one call may look at."""

    def __init__(self) -> None:
        self.reads = limits.BROWSE_READS
        self.bytes = limits.BROWSE_BYTES

    @property
    def is_spent(self) -> bool:
        return self.reads <= 0 or self.bytes <= 0


class _Spent(Exception):
    """The rest is for the next call."""


def _fill(machine: SlotMachine, queue: Queue, page: _Browsed, wanted: list[Wanted]) -> int | None:
    """Fills the page; gives the position to go on after, None where all was looked at."""
    budget = _Budget()
    places = Whereabouts(machine, queue)
    done: int | None = None
    for each in wanted:
        if done is not None and budget.is_spent:
            return done
        try:
            for batch in _batches(machine, queue, each, budget):
                full_at = _add_batch(queue, page, places, batch, each)
                if full_at is not None:
                    return full_at
                done = min(batch.end, each.end) - 1
        except _Spent:
            return done
        except UnreadableMessage:
            # What was found before it is good and leaves first.
            if done is None:
                raise
            return done
        done = each.end - 1
    return None


def _batches(
    machine: SlotMachine, queue: Queue, wanted: Wanted, budget: _Budget
) -> Iterator[StoredBatch]:
    """The stored batches of all lanes that may hold wanted messages, in order.

    Raises _Spent where a lane would have to be read beyond the budget.
    """
    heads: list[tuple[int, int, StoredBatch, Iterator[StoredBatch]]] = []
    for lane in wanted.lanes:
        rows = _lane(machine, queue, lane, wanted, budget)
        batch = next(rows, None)
        if batch is not None:
            heads.append((batch.first, lane, batch, rows))
    heapify(heads)
    while heads:
        _, lane, batch, rows = heads[0]
        yield batch
        following = next(rows, None)
        if following is None:
            heappop(heads)
        else:
            heapreplace(heads, (following.first, lane, following, rows))


def _lane(
    machine: SlotMachine, queue: Queue, lane: int, wanted: Wanted, budget: _Budget
) -> Iterator[StoredBatch]:
    ledger = queue.ledger
    at, is_first = wanted.first, True
    while (at := ledger.settled.first_live(at)) < wanted.end:
        if budget.is_spent and not is_first:
            raise _Spent
        is_first = False
        batches = machine.bodies.read(
            ledger.number, lane, at, wanted.end, limits.BROWSE_RECORDS, limits.BROWSE_READ_BYTES
        )
        budget.reads -= 1
        budget.bytes -= sum(batch.size for batch in batches)
        if not batches:
            return
        yield from batches
        at = batches[-1].end


def _add_batch(
    queue: Queue, page: _Browsed, places: Whereabouts, batch: StoredBatch, wanted: Wanted
) -> int | None:
    """Adds what matches; where the page is full, the position to go on after."""
    first, end = max(batch.first, wanted.first), min(batch.end, wanted.end)
    properties = msgpack.unpackb(batch.properties) if batch.properties else {}
    priority = limits.PRIORITY_MAX - batch.lane % limits.DELAYED_LANES
    if not page.may_match(properties, priority):
        return None
    for place in places.of(batch, first, end - first):
        run = {"put_at": batch.put_at, "state": place.state}
        if place.due_at:
            run["due_at"] = place.due_at
        if place.attempts:
            run["attempts"] = place.attempts
        if priority != limits.PRIORITY_DEFAULT:
            run["priority"] = priority
        run.update(properties)
        for low, size in page.matching(batch, place.first, place.length):
            taken = page.add(Piece(batch, low, size, run))
            if taken < size:
                return low + taken - 1
    return None


class _Browsed(Page):
    """A page of those messages that the call's selector matches."""

    def __init__(self, command: Browse) -> None:
        super().__init__(command.max, command.bytes_max)
        self._selector: Selector | None = command.selector

    def may_match(self, properties: dict[str, Any], priority: int) -> bool:
        """False where no message of a batch with these properties is asked for."""
        if self._selector is None:
            return True
        values: dict[str, Any] = {
            name: properties[name] for name in ("type", "content_type") if name in properties
        }
        values["priority"] = priority
        if "death" in properties:
            values["reason"] = properties["death"]["reason"]
        return self._selector.matches_properties(values)

    def matching(self, batch: StoredBatch, first: int, count: int) -> list[Span]:
        if self._selector is None or not self._selector.asks_headers:
            return [(first, count)]
        spans: list[Span] = []
        for position in range(first, first + count):
            if not self._selector.matches_headers(_headers(batch, position)):
                continue
            if spans and sum(spans[-1]) == position:
                spans[-1] = (spans[-1][0], spans[-1][1] + 1)
            else:
                spans.append((position, 1))
        return spans


def _headers(batch: StoredBatch, position: int) -> dict[str, Any] | None:
    offsets = offsets_of(batch)
    low = position - batch.first
    try:
        element = msgpack.unpackb(batch.batch[offsets[low] : offsets[low + 1]])
    except Exception:
        # What no client of ours packs has no headers that could match.
        return None
    if isinstance(element, list) and len(element) == 2 and isinstance(element[1], dict):
        return element[1]
    return None
