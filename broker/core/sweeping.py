"""When the log is trimmed and which bodies go with it.

A trim goes up to a mark (``log_marks.py``).  Below it a lane's bodies are erased in runs, but for
the batches that still have a live message; those are ``held`` and looked at again at each later
trim.
"""

from __future__ import annotations

from broker import limits
from broker.core.books.lane_stream import LaneStream
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.core.timing.own_due_times import finished_rows
from broker.errors import UnreadableMessage
from broker.model.entries import LaneSweep, Returned, Trimmed

#: [low, high) of positions
Interval = tuple[int, int]


def maybe_trim(machine: SlotMachine, checkpoint_lsn: int) -> None:
    """Proposes a trim up to the newest mark that the last checkpoint covers."""
    mark = machine.marks.take(checkpoint_lsn)
    if mark is None:
        return
    sweeps: list[LaneSweep] = []
    for number, position in sorted(mark.positions.items()):
        queue = machine.queues.get(number)
        if queue is not None and not queue.deleted and not queue.is_transient:
            sweeps += _sweeps(machine, queue, position)
    due = finished_rows(machine, mark.positions)
    machine.propose(Trimmed(mark.lsn, sweeps, list(due)))


def _sweeps(machine: SlotMachine, queue: Queue, position: int) -> list[LaneSweep]:
    live = _live_intervals(machine, queue)
    for stream in queue.streams.values():
        _skip_settled(machine, queue, stream)
    return [
        sweep
        for stream in queue.streams.values()
        if (sweep := _sweep(queue, stream, position, live.get(stream.lane, []))) is not None
    ]


def _skip_settled(machine: SlotMachine, queue: Queue, stream: LaneStream) -> None:
    """Moves a stream that nobody reads past the batches that are settled as a whole.

    So it is after a restart, where the stream begins at what was swept, far behind what was
    settled; no taker may ever come to move it.
    """
    if stream.window:
        return
    ledger = queue.ledger
    live = ledger.settled.first_live(stream.loaded_to)
    if live <= stream.loaded_to:
        return
    end = ledger.next_position
    try:
        ahead = machine.bodies.read(ledger.number, stream.lane, live, end, 1, limits.READ_BYTES)
    except UnreadableMessage:
        return
    stream.skip_to(ahead[0].first if ahead else end)


def _sweep(
    queue: Queue, stream: LaneStream, position: int, live: list[Interval]
) -> LaneSweep | None:
    """``live`` are the lane's batches with a message in flight or come back, ascending."""
    ledger = queue.ledger.lanes.get(stream.lane)
    if ledger is None:
        return None
    swept = max(min(stream.position, position), ledger.swept)
    # A batch across the limit is live or ahead as a whole: stop before it.
    for low, high in live:
        if low < swept < high:
            swept = max(low, ledger.swept)
    if swept == ledger.swept and not ledger.held:
        return None
    candidates = [*ledger.held]
    if swept > ledger.swept:
        candidates.append((ledger.swept, swept))
    runs, held = _split(candidates, live)
    if swept == ledger.swept and not runs:
        return None
    return LaneSweep(queue.ledger.number, stream.lane, swept, runs, held)


def _split(
    candidates: list[Interval], live: list[Interval]
) -> tuple[list[Interval], list[Interval]]:
    """Candidates outside and inside of ``live``; one pass over both, which are ascending."""
    outside: list[Interval] = []
    inside: list[Interval] = []
    index = 0
    for first, high in candidates:
        low = first
        while index < len(live) and live[index][1] <= low:
            index += 1
        at = index
        while at < len(live) and live[at][0] < high:
            start, end = max(live[at][0], low), min(live[at][1], high)
            if start > low:
                outside.append((low, start))
            inside.append((start, end))
            low = end
            at += 1
        if low < high:
            outside.append((low, high))
    return outside, inside


def _live_intervals(machine: SlotMachine, queue: Queue) -> dict[int, list[Interval]]:
    """Per lane the extents that are in flight, depart, came back, rest or are about to."""
    found: dict[int, list[Interval]] = {}
    portions = [lease.portion for _, _, lease in queue.leases.ranges]
    for book in [*queue.back.values(), queue.resting]:
        portions += book.values()
    extents = [portion.extent for portion in portions]
    extents += [move.extent for _, _, move in queue.departing]
    for entry in machine.log.uncommitted_of(queue.ledger.number):
        if isinstance(entry, Returned):
            extents += [part[0] for part in entry.parts]
    for lane, first, count in extents:
        found.setdefault(lane, []).append((first, first + count))
    return {lane: _merged(sorted(intervals)) for lane, intervals in found.items()}


def _merged(intervals: list[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for low, high in intervals:
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged
