"""How messages leave a queue: settled, or on their way to another queue.

What leaves for good without an acknowledgement goes to the queue's dead-letter queue, where it has
one, and is settled where it has none.  On its way a message is neither ready nor anybody's, and
stays unsettled until its target has taken it; so it is lost by nothing and counts as before.

A dead letter tells what happened to it: ``death`` is {reason, queue, attempts, at, position}, where
position is that of its put's first message.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import msgpack

from broker.core.books.portion import Portion
from broker.core.channels.sharing import end_share
from broker.core.claims import ClaimedPart
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.model.entries import (
    Cleared,
    Departed,
    LaneTotals,
    Move,
    Settled,
    SettleReason,
    Share,
)
from broker.model.replies import Reply
from broker.model.stored_batch import Extent

#: Why a message died, as its ``death`` says it.
DEATHS = {
    SettleReason.REJECTED: "rejected",
    SettleReason.EXPIRED: "expired",
    SettleReason.EXHAUSTED: "attempts",
    SettleReason.OVERFLOWED: "overflow",
}
#: How the note of a dead letter begins, behind the header of its map.
_DEATH: bytes = msgpack.packb("death")
#: (first position, attempts) -> the note of a move
Note = Callable[[int, int], bytes]


def settle(
    machine: SlotMachine, queue: Queue, parts: list[ClaimedPart], reason: SettleReason
) -> None:
    """Proposes the removal of parts that nobody else holds, and counts it."""
    entry = settled_parts(queue, parts, reason)
    queue.counters.note_removed(reason, sum(count for _, count in entry.ranges))
    machine.propose(entry)


def settled_parts(queue: Queue, parts: list[ClaimedPart], reason: SettleReason) -> Settled:
    """An entry that removes the parts; from now on they count as leaving."""
    by_portion: dict[Portion, list[tuple[int, int]]] = {}
    ranges: list[tuple[int, int]] = []
    for first, count, portion in parts:
        by_portion.setdefault(portion, []).append((first, count))
        _append(ranges, first, count)
    totals: LaneTotals = {}
    for portion, shares in by_portion.items():
        lane = portion.extent.lane
        messages, size = totals.get(lane, (0, 0))
        totals[lane] = (
            messages + sum(count for _, count in shares),
            size + portion.bytes_of(shares),
        )
    queue.note_settling(totals)
    return Settled(queue.ledger.number, reason, ranges, totals)


def leave(
    machine: SlotMachine, queue: Queue, parts: list[ClaimedPart], reason: SettleReason
) -> None:
    """Messages leave for good and nobody acknowledged them."""
    counters = queue.counters
    number = sum(count for _, count, _ in parts)
    target = queue.settings.dead_letter
    if target is None:
        counters.dropped += number
        settle(machine, queue, parts, reason)
        return
    counters.dead_lettered += number
    counters.note_removed(reason, number)
    charge = reason is SettleReason.EXHAUSTED

    def note(first: int, attempts: int) -> bytes:
        death = {
            "reason": DEATHS[reason],
            "queue": queue.name,
            "attempts": attempts + charge,
            "at": machine.now,
            "position": first,
        }
        return bytes(msgpack.packb({"death": death, "delay_ms": 0}))

    _propose(machine, queue, moves_of(machine, queue, parts, target, note))


def tells_death(move: Move) -> bool:
    """True for a dead letter; its note is not read for that."""
    return move.note[1 : 1 + len(_DEATH)] == _DEATH


def depart(
    machine: SlotMachine, queue: Queue, parts: list[ClaimedPart], target: str, note: bytes
) -> None:
    """Messages go to a named queue; ``note`` is what their puts there have besides."""
    _propose(machine, queue, moves_of(machine, queue, parts, target, lambda *_: note))


def _propose(machine: SlotMachine, queue: Queue, moves: list[Move]) -> None:
    propose_departure(machine, Departed(queue.ledger.number, moves))


def propose_departure(machine: SlotMachine, entry: Departed, *answers: Reply) -> None:
    """Proposes moves that were made by ``moves_of``, with what else the entry settles."""
    for settled in entry.settled:
        queue = machine.queues[settled.number]
        machine.marks.touch(settled.number, queue.proposed_next)
    machine.propose(entry, *answers)


def moves_of(
    machine: SlotMachine, queue: Queue, parts: list[ClaimedPart], target: str, note: Note
) -> list[Move]:
    """Puts the parts in line for ``target``, one move for each stored batch; from now on they
    depart.  The caller proposes the moves in this turn, in their order."""
    moves: list[Move] = []
    for part in parts:
        for extent, first, count in _by_batch(part):
            portion = part[2]
            move = Move(
                target,
                machine.outbox.take_sequence(target),
                extent,
                first,
                count,
                portion.attempts,
                portion.bytes_between(first, count),
                note(first, portion.attempts),
            )
            queue.departing.add(first, count, move)
            moves.append(move)
    return moves


def _by_batch(part: ClaimedPart) -> list[tuple[Extent, int, int]]:
    """(stored batch, first, count) for each batch that the part lies in."""
    first, count, portion = part
    end = first + count
    batches = portion.batches
    assert batches, "a portion is read before it is handed out or claimed"
    found: list[tuple[Extent, int, int]] = []
    # A part of a long portion looks at its own batches alone.
    index = max(bisect_right(batches, first, key=itemgetter(0)) - 1, 0)
    while index < len(batches) and batches[index][0] < end:
        start, length, _ = batches[index]
        low, high = max(start, first), min(start + length, end)
        if low < high:
            found.append((Extent(portion.extent.lane, start, length), low, high - low))
        index += 1
    return found


def clear(machine: SlotMachine, queue: Queue, target: str, taken: list[Move]) -> None:
    """Proposes that moves to a target are done, as far as nobody did; they come in order."""
    if queue.deleted and queue.channel is None:
        return
    entry = Cleared(queue.ledger.number, target, [], [], {})
    for move in taken:
        if isinstance(move, Share):
            if end_share(machine.outbox, queue, move, entry):
                _append(entry.sequences, move.sequence, 1)
            continue
        found = queue.departing.find(move.first)
        if found is None or found[1] is not move:
            continue
        queue.departing.take(move.first, move.count)
        lane = move.extent.lane
        messages, size = entry.totals.get(lane, (0, 0))
        entry.totals[lane] = (messages + move.count, size + move.size)
        _append(entry.sequences, move.sequence, 1)
        _append(entry.ranges, move.first, move.count)
    if entry.sequences:
        queue.note_settling(entry.totals)
        machine.propose(entry)


def _append(ranges: list[tuple[int, int]], first: int, count: int) -> None:
    if ranges and sum(ranges[-1]) == first:
        ranges[-1] = (ranges[-1][0], ranges[-1][1] + count)
    else:
        ranges.append((first, count))


def departing_stats(machine: SlotMachine, queue: Queue) -> dict[str, Any]:
    """How many messages are on their way, to where, and why one of the targets takes none."""
    departed_to: dict[str, int] = {}
    for _, count, move in queue.departing:
        departed_to[move.target] = departed_to.get(move.target, 0) + count
    errors = machine.outbox.errors
    refused = [f"{target}: {errors[target]}" for target in departed_to if target in errors]
    return {
        "departing": queue.departing.positions,
        "departed_to": departed_to,
        "last_transfer_error": refused[0] if refused else None,
    }
