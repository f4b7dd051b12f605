"""Messages of one put that each have a due time of their own: the column ``at_ms``.

They keep the positions of their put.  Their batch lies in a lane of its own kind, in parts
(``timed_parts.py``), with a due row for each span of instants (``timetable.py``); what is due
waits in bitmaps (``ready_book.py``).  A put whose messages are all due now, or all at one instant,
is a put like any other.
"""

from __future__ import annotations

from array import array

from broker import limits
from broker.core.books.bodies import IndexRow
from broker.core.books.ready_book import ReadyBook
from broker.core.books.settled import SettledSet
from broker.core.choosing.sheet import runs_of
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.core.timing.timed_parts import split_batch, step_of
from broker.model.commands import Put
from broker.model.due_chunks import DueChunk, chunks_of
from broker.model.entries import TimedPut
from broker.model.stored_batch import StoredBatch
from broker.protocol.due_column import without_due_column

#: Messages that come due in one turn of a slot; the rest follows in the next.
_MESSAGES_PER_TURN = 10_000
#: Due rows that one trim looks at.
_ROWS_PER_TRIM = 5_000


def settle_instants(command: Put, now: int) -> bool:
    """True where the messages of the put differ in their instants; otherwise the one that they
    share, or none, is the put's own from now on."""
    times = command.due_times
    assert times is not None
    command.columns = without_due_column(command.columns)
    command.due_times = [max(at or 0, now) for at in times]
    first = command.due_times[0]
    if any(at != first for at in command.due_times):
        return True
    command.at_ms, command.due_times = first, None
    return False


def timed_put(machine: SlotMachine, queue: Queue, command: Put, properties: bytes) -> TimedPut:
    """The entry of a put with own due times, at the queue's next position."""
    assert command.due_times is not None
    times = array("Q", [at or 0 for at in command.due_times])
    ttl_ms = command.ttl_ms if command.ttl_ms is not None else queue.settings.ttl_ms
    due_at = min(times)
    body = StoredBatch(
        limits.PRIORITY_MAX - command.priority + limits.TIMED_LANES,
        queue.proposed_next,
        command.count,
        machine.now,
        due_at + ttl_ms if ttl_ms is not None else 0,
        properties,
        command.columns,
        command.batch,
        due_at,
    )
    body.due_times = times
    step = step_of(body)
    parts = split_batch(body, step)
    # The totals must be of the bytes that are stored, not of those that came.
    body.size = sum(part.size for part in parts)
    queue.proposed_next = body.end
    queue.proposed_messages += body.count
    queue.proposed_bytes += body.size
    queue.counters.put += body.count
    return TimedPut(
        queue.ledger.number, body, step=step, parts=parts, chunks=chunks_of(times, step)
    )


def rows_of(entry: TimedPut) -> list[tuple[IndexRow, DueChunk]]:
    """The due rows of a put."""
    body = entry.body
    assert body.due_times is not None
    chunks = entry.chunks or chunks_of(body.due_times, entry.step)
    place = (entry.number, body.lane, body.first, body.count)
    return [(IndexRow(chunk.at, *place), chunk) for chunk in chunks]


def expect_timed(machine: SlotMachine, queue: Queue, entry: TimedPut) -> None:
    """A put is committed: from now on its messages wait for their instants."""
    queue.undue += entry.body.count
    seen = machine.due.seen
    for row, chunk in rows_of(entry):
        if queue.is_transient:
            machine.transient.memory.due.add(row, chunk)
        elif seen is not None and row <= seen:
            # Its first instant passed while it was on its way to the disk.
            open_chunk(machine, row, chunk)
        else:
            machine.due.expect(row.at)
    give_timed(machine)


def open_row(machine: SlotMachine, row: IndexRow) -> None:
    """A row of the disk's index is due; it is known to be committed."""
    chunk = machine.bodies.due_chunk(row)
    if chunk is not None:
        open_chunk(machine, row, chunk)


def open_chunk(machine: SlotMachine, row: IndexRow, chunk: DueChunk) -> None:
    """The first message of a chunk is due."""
    machine.due_rows[row] = chunk.mask
    machine.timetable.add(row, chunk)


def give_timed(machine: SlotMachine) -> None:
    """Makes ready what is due in the open chunks, a bounded number of messages a turn."""
    for opened, due in machine.timetable.take(machine.now, _MESSAGES_PER_TURN):
        row = opened.row
        queue = machine.queues.get(row.number)
        if queue is None or queue.deleted:
            continue
        bits = due & _waiting(queue, row)
        if not bits:
            continue
        queue.undue -= bits.bit_count()
        book = queue.back.get(row.lane % limits.DELAYED_LANES)
        if not isinstance(book, ReadyBook):
            book = _begin_book(queue, row.lane % limits.DELAYED_LANES)
        book.open(row.first, bits, opened.portion, opened.chunk.step)
        if queue.choice is not None:
            for first, count in runs_of(bits, row.first):
                queue.choice.returned(row.lane, first, count)
        machine.wake(queue)


def _begin_book(queue: Queue, lane: int) -> ReadyBook:
    """In the place of the lane's book, with what that has."""
    queue.stream_of(lane)
    ready = ReadyBook()
    for first, count, portion in queue.back.get(lane, ()):
        ready.add(first, count, portion)
    queue.back[lane] = ready
    return ready


def _waiting(queue: Queue, row: IndexRow) -> int:
    """The batch's messages that an instant may still make ready, as a bitmap."""
    bits = live_bits(queue.ledger.settled, row.first, row.length)
    for book in (queue.ledger.attempted, queue.claimed, queue.departing):
        if len(book):
            for first, count, _ in book.overlapping(row.first, row.length):
                bits &= ~(((1 << count) - 1) << (first - row.first))
    return bits


def live_bits(settled: SettledSet, first: int, count: int) -> int:
    """The unsettled of ``count`` positions from ``first`` on; bit 0 stands for ``first``."""
    bits = (1 << count) - 1
    if settled.floor > first:
        bits &= -1 << (settled.floor - first)
    number = first // limits.CHUNK
    while number * limits.CHUNK < first + count:
        gone = settled.chunks.get(number)
        if gone:
            shift = number * limits.CHUNK - first
            bits &= ~(gone << shift if shift >= 0 else gone >> -shift)
        number += 1
    return bits


def finished_rows(machine: SlotMachine, positions: dict[int, int]) -> list[IndexRow]:
    """Due rows that have done their work, up to the positions that a trim covers.

    A row of a timed batch goes when its own messages are settled; it has the length 0 while other
    messages of its batch are not, and the batch stays.  A trim looks at so many rows; those that
    stay are looked at again when all others were.
    """
    finished: list[IndexRow] = []
    due_rows = machine.due_rows
    for row in list(due_rows)[:_ROWS_PER_TRIM]:
        mask = due_rows.pop(row)
        queue = machine.queues.get(row.number)
        if queue is None:
            finished.append(row)
        elif row.first + row.length > positions.get(row.number, 0):
            due_rows[row] = mask
        else:
            live = live_bits(queue.ledger.settled, row.first, row.length)
            if not live:
                finished.append(row)
            elif mask and not live & mask:
                finished.append(row._replace(length=0))
            else:
                due_rows[row] = mask
    return finished
