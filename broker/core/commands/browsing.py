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
from broker.protocol.batches import array_header, element_offsets


def handle_browse(machine: SlotMachine, session: Session, command: Browse) -> None:
    if command.req is None:
        raise BadField("browse needs req: without it nobody could tell whose messages come")
    queue = machine.find_queue(command.queue)
    page = Page(command)
    next_at = _fill(machine, queue, page, _wanted(machine, queue, command))
    machine.replies.append(page.reply(session.peer, command.req, queue.name, next_at))


class Piece(NamedTuple):
    """Messages of one batch that are alike; ``run`` says what holds for them."""

    batch: StoredBatch
    first: int
    length: int
    run: dict[str, Any]


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


def _fill(machine: SlotMachine, queue: Queue, page: Page, wanted: list[Wanted]) -> int | None:
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
    queue: Queue, page: Page, places: Whereabouts, batch: StoredBatch, wanted: Wanted
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


class Page:
    """What one call answers: pieces in order, at most as much as it asked for."""

    def __init__(self, command: Browse) -> None:
        self._selector: Selector | None = command.selector
        self._messages = command.max
        self._bytes = command.bytes_max
        self._pieces: list[Piece] = []

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

    def add(self, piece: Piece) -> int:
        """Takes in what fits, at least one message in all; gives how many messages."""
        count = min(piece.length, self._messages)
        size = piece.batch.bytes_between(piece.first, count) if count else 0
        if size > self._bytes:
            mean = max(size // count, 1)
            count = max(self._bytes // mean, 0 if self._pieces else 1)
            size = piece.batch.bytes_between(piece.first, count) if count else 0
        self._messages -= count
        self._bytes -= size
        if count:
            self._pieces.append(piece._replace(length=count))
        return count

    def reply(self, peer: bytes, req: int, queue: str, next_at: int | None) -> Reply:
        header = {"re": "browsed", "req": req, "queue": queue, "runs": self._runs()}
        header["next"] = next_at
        total = sum(piece.length for piece in self._pieces)
        frame = b"".join([array_header(total), *map(_elements, self._pieces)])
        columns = self._columns()
        return Reply(peer, header, (columns, frame) if columns else (frame,))

    def _runs(self) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = []
        previous: Piece | None = None
        for piece in self._pieces:
            if previous is not None and _continues(previous, piece):
                runs[-1]["count"] += piece.length
            else:
                runs.append({"first": piece.first, "count": piece.length, **piece.run})
            previous = piece
        return runs

    def _columns(self) -> bytes:
        """The columns of all pieces together, nil where a batch has not the column."""
        found = [msgpack.unpackb(p.batch.columns) if p.batch.columns else {} for p in self._pieces]
        merged: dict[str, list[Any]] = {name: [] for columns in found for name in columns}
        for piece, columns in zip(self._pieces, found, strict=True):
            low = piece.first - piece.batch.first
            for name, values in merged.items():
                there = columns.get(name)
                values.extend(there[low : low + piece.length] if there else [None] * piece.length)
        return bytes(msgpack.packb(merged)) if merged else b""


def _continues(previous: Piece, piece: Piece) -> bool:
    return piece.first == previous.first + previous.length and piece.run == previous.run


def _offsets(batch: StoredBatch) -> list[int]:
    if batch.offsets is None:
        batch.offsets = element_offsets(batch.batch, batch.count)
    return batch.offsets


def _elements(piece: Piece) -> bytes:
    offsets = _offsets(piece.batch)
    low = piece.first - piece.batch.first
    return piece.batch.batch[offsets[low] : offsets[low + piece.length]]


def _headers(batch: StoredBatch, position: int) -> dict[str, Any] | None:
    offsets = _offsets(batch)
    low = position - batch.first
    try:
        element = msgpack.unpackb(batch.batch[offsets[low] : offsets[low + 1]])
    except Exception:
        # What no client of ours packs has no headers that could match.
        return None
    if isinstance(element, list) and len(element) == 2 and isinstance(element[1], dict):
        return element[1]
    return None
