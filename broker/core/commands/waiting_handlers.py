"""``remove`` and ``reschedule``: what becomes of messages that wait, by position or by id.

Both are entries, and answered when these are committed.  What is not waiting is ``missing``: it is
in flight, departs, or is gone.
"""

from __future__ import annotations

from typing import Any

from broker import limits
from broker.core.claims import ClaimedPart
from broker.core.commands.settle_handlers import answer_after
from broker.core.leaving.departures import settle
from broker.core.machine import SlotMachine
from broker.core.naming.message_ids import find_by_ids
from broker.core.naming.waiting import Span, take_waiting
from broker.core.queue import Queue
from broker.core.session import Session
from broker.errors import BadField, TooLarge
from broker.model.commands import Named, Remove, Reschedule
from broker.model.entries import Returned, SettleReason
from broker.model.message_ids import hash_of_id
from broker.model.replies import ok


def handle_remove(machine: SlotMachine, session: Session, command: Remove) -> None:
    queue = machine.find_queue(command.queue)
    parts, missing = _take_named(machine, queue, command)
    if parts:
        settle(machine, queue, parts, SettleReason.REMOVED)
    _answer(machine, session, command, queue, parts, missing)


def handle_reschedule(machine: SlotMachine, session: Session, command: Reschedule) -> None:
    """The messages keep their places and their attempts; they are not ready before the instant."""
    if (command.at_ms is None) == (command.delay_ms is None):
        raise BadField("reschedule needs at_ms or delay_ms")
    queue = machine.find_queue(command.queue)
    at = command.at_ms if command.at_ms is not None else machine.now + (command.delay_ms or 0)
    parts, missing = _take_named(machine, queue, command)
    if parts:
        queue.leaving += sum(count for _, count, _ in parts)
        returned = [
            (portion.extent, first, count, portion.attempts) for first, count, portion in parts
        ]
        not_before = at if at > machine.now else 0
        machine.propose(Returned(queue.ledger.number, returned, not_before))
    _answer(machine, session, command, queue, parts, missing)


def _take_named(
    machine: SlotMachine, queue: Queue, command: Named
) -> tuple[list[ClaimedPart], list[Any]]:
    """(parts, missing): what is missing is told as it was named."""
    if (command.ranges is None) == (command.ids is None):
        raise BadField("ranges or ids are needed, not both")
    if command.ids is None:
        return take_waiting(machine, queue, spans_of(command))
    places = dict(find_by_ids(machine, queue, command.ids))
    positions = {place.position for found in places.values() for place in found}
    parts, _ = take_waiting(machine, queue, joined([(at, 1) for at in sorted(positions)]))
    taken = {position for first, count, _ in parts for position in range(first, first + count)}
    missing = [
        each
        for each in command.ids
        if not any(place.position in taken for place in places[hash_of_id(each)])
    ]
    return parts, missing


def spans_of(command: Named) -> list[Span]:
    """The positions of the command's ranges, ascending; attempts say nothing here."""
    assert command.ranges is not None
    spans = joined(sorted((first, count) for first, count, _ in command.ranges))
    if sum(count for _, count in spans) > limits.BATCH_COUNT_MAX:
        raise TooLarge(f"ranges name at most {limits.BATCH_COUNT_MAX} messages")
    return spans


def joined(spans: list[Span]) -> list[Span]:
    """Neighbours and what overlaps become one; ``spans`` ascend."""
    found: list[Span] = []
    for first, count in spans:
        if found and first <= sum(found[-1]):
            low, size = found[-1]
            found[-1] = (low, max(size, first + count - low))
        else:
            found.append((first, count))
    return found


def _answer(
    machine: SlotMachine,
    session: Session,
    command: Named,
    queue: Queue,
    parts: list[ClaimedPart],
    missing: list[Any],
) -> None:
    if command.req is not None:
        count = sum(count for _, count, _ in parts)
        answer_after(machine, ok(session.peer, command.req, count=count, missing=missing), queue)
