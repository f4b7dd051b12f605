"""``ack``, ``nack``, ``reject``, ``extend``, and what the end of a lease or a session does.

The valid part of a settle is carried out; the rest is told as ``lease_lost``.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.core.books.lease_book import Lease
from broker.core.books.tags import Tag, decode_tag
from broker.core.choosing.choice import Choice
from broker.core.choosing.serving import stand_in_line
from broker.core.claims import ClaimedPart, claim, of_holder
from broker.core.leaving.departures import leave, settle
from broker.core.machine import SlotMachine
from broker.core.queue import Queue, without
from broker.core.session import Consumer, Session
from broker.errors import BadField, LeaseLost
from broker.model.commands import Ack, Extend, Nack, Range, Reject, Settle
from broker.model.entries import Returned, SettleReason
from broker.model.replies import Reply, failed, ok
from broker.model.stored_batch import Extent

_CHARGED_OF_A_GET = 1


def handle_ack(machine: SlotMachine, session: Session, command: Ack) -> None:
    _remove(machine, session, command, SettleReason.ACKED, settle)


def handle_reject(machine: SlotMachine, session: Session, command: Reject) -> None:
    _remove(machine, session, command, SettleReason.REJECTED, leave)


def _remove(
    machine: SlotMachine,
    session: Session,
    command: Settle,
    reason: SettleReason,
    remove: Callable[[SlotMachine, Queue, list[ClaimedPart], SettleReason], None],
) -> None:
    consumer = _find_consumer(machine, session, command)
    queue, parts, lost = take_held(machine, session, command)
    if queue is not None and parts:
        remove(machine, queue, parts, reason)
    _answer(machine, session, command, queue, parts, lost)
    _add_credit(machine, consumer, command)


def handle_nack(machine: SlotMachine, session: Session, command: Nack) -> None:
    consumer = _find_consumer(machine, session, command)
    queue, parts, lost = take_held(machine, session, command)
    if queue is not None and parts:
        queue.counters.nacked += sum(count for _, count, _ in parts)
        return_parts(machine, queue, parts, command.charge, command.delay_ms)
    _answer(machine, session, command, queue, parts, lost)
    _add_credit(machine, consumer, command)


def handle_extend(machine: SlotMachine, session: Session, command: Extend) -> None:
    """Lengthens leases from now; takes again what a restart or a reconnect made nobody's."""
    tag = decode_tag(command.tag)
    queue = tagged_queue(machine, tag, command.queue)
    held: list[Range] = []
    lost: list[Range] = command.ranges
    lease_ms = command.lease_ms or 0
    if queue is not None:
        lease_ms = command.lease_ms or queue.settings.lease_ms
        taken, lost = queue.leases.take(session, command.ranges)
        longer = [(part, lease.portion, lease.consumer, lease.order) for *part, lease in taken]
        if lost:
            may_claim = of_holder(session, tag.epoch, machine.log.epoch)
            claimed, lost = claim(queue, machine.bodies, lost, may_claim)
            if queue.choice is not None:
                claimed = _without_seconds(queue, queue.choice, claimed, lost)
            queue.order += 1
            longer += [(part, portion, None, queue.order) for *part, portion in claimed]
        ends_at = machine.now + lease_ms
        for (first, count), portion, consumer, order in longer:
            part = portion.part(first, count, portion.attempts)
            number = consumer if command.consumer is None else command.consumer
            queue.leases.add(Lease(part, session, number, ends_at, order), [(first, count)])
            held.append((first, count, portion.attempts))
        session.queues[machine.slot, queue.ledger.number] = None
        machine.wake_at(queue, ends_at)
    if command.req is not None:
        fields = {"held": held, "lost": lost, "lease_ms": lease_ms}
        machine.replies.append(ok(session.peer, command.req, **fields))


def _without_seconds(
    queue: Queue, choice: Choice, claimed: list[ClaimedPart], lost: list[Range]
) -> list[ClaimedPart]:
    """What was claimed, but for messages of whose key another is in flight: these wait on."""
    kept: list[ClaimedPart] = []
    for first, count, portion in claimed:
        seconds = [(p, 1) for p in range(first, first + count) if choice.is_second(p)]
        for position, _ in seconds:
            queue.give_back(portion.part(position, 1, portion.attempts), 0)
            lost.append((position, 1, portion.attempts))
        for low, size in without([(first, count)], seconds):
            kept.append((low, size, portion.part(low, size, portion.attempts)))
    return kept


def take_held(
    machine: SlotMachine, session: Session, command: Settle
) -> tuple[Queue | None, list[ClaimedPart], list[Range]]:
    """Ends the leases that the command names: (queue, parts to settle, what is lost)."""
    tag = decode_tag(command.tag)
    queue = tagged_queue(machine, tag, command.queue)
    if queue is None:
        return None, [], command.ranges
    taken, lost = queue.leases.take(session, command.ranges)
    if queue.flow is not None:
        # One less in flight may be room for another.
        machine.wake(queue)
    parts = [(first, count, lease.portion) for first, count, lease in taken]
    if lost:
        may_claim = of_holder(session, tag.epoch, machine.log.epoch)
        claimed, lost = claim(queue, machine.bodies, lost, may_claim)
        parts += claimed
    return queue, parts, lost


def tagged_queue(machine: SlotMachine, tag: Tag, name: str) -> Queue | None:
    """The queue that the tag means; the name beside it must be that queue's."""
    queue = machine.uuids.get(tag.uuid)
    return None if queue is None or queue.deleted or queue.name != name else queue


def _answer(
    machine: SlotMachine,
    session: Session,
    command: Settle,
    queue: Queue | None,
    parts: list[ClaimedPart],
    lost: list[Range],
) -> None:
    """The answer leaves with the commit of what was settled; at once where nothing was."""
    if lost:
        error = LeaseLost(f"{sum(count for _, count, _ in lost)} messages are not held (any more)")
        reply = failed(session.peer, command.req, error, queue=command.queue, lost=lost)
        if command.req is None:
            reply.header["cmd"] = type(command).__name__.lower()
    elif command.req is None:
        return
    else:
        reply = ok(session.peer, command.req, count=sum(count for _, count, _ in parts))
    answer_after(machine, reply, queue)


def answer_after(machine: SlotMachine, reply: Reply, queue: Queue | None = None) -> None:
    """Send ``reply`` when all that was proposed so far is committed; where it is of a transient
    ``queue`` with this turn, which carries that out."""
    lsn = machine.log.last_lsn
    if lsn == machine.log.applied_lsn or (queue is not None and queue.is_transient):
        machine.replies.append(reply)
    else:
        machine.answers.setdefault(lsn, []).append(reply)


def _find_consumer(machine: SlotMachine, session: Session, command: Settle) -> Consumer | None:
    """The consumer that the settle's credit is for; None when it was cancelled meanwhile.

    Asked before anything is settled, so that a refused command has changed nothing.
    """
    if command.consumer is None:
        return None
    consumer = session.consumers.get(command.consumer)
    queue = machine.names.get(command.queue)
    if consumer is not None and (
        queue is None or consumer.place != (machine.slot, queue.ledger.number)
    ):
        raise BadField(f"consumer: {command.consumer} does not take from {command.queue}")
    return consumer


def _add_credit(machine: SlotMachine, consumer: Consumer | None, command: Settle) -> None:
    if consumer is not None:
        consumer.add_credit(command.credit, command.credit_bytes)
        queue = machine.queues[consumer.place[1]]
        stand_in_line(queue, consumer)
        machine.wake(queue)


def return_parts(
    machine: SlotMachine,
    queue: Queue,
    parts: list[ClaimedPart],
    charge: bool,
    delay_ms: int | None,
    returned_by: bytes = b"",
) -> None:
    """Gives messages back to their original place.

    What is charged or delayed goes through the log, so that it outlives this epoch; the rest is
    ready at once.  Messages whose time to live has ended meanwhile expire instead, and those that
    failed as often as the queue allows leave it.
    """
    now = machine.now
    expired = [part for part in parts if 0 < part[2].expires_at <= now]
    if expired:
        parts = [part for part in parts if not 0 < part[2].expires_at <= now]
        leave(machine, queue, expired, SettleReason.EXPIRED)
    machine.wake(queue)
    if not charge and not delay_ms:
        for first, count, portion in parts:
            part = portion.part(first, count, portion.attempts)
            part.returned_by = returned_by
            queue.give_back(part, 0)
        return
    attempts_max = queue.settings.attempts_max
    if charge and attempts_max is not None:
        exhausted = [part for part in parts if part[2].attempts + 1 >= attempts_max]
        if exhausted:
            parts = [part for part in parts if part[2].attempts + 1 < attempts_max]
            leave(machine, queue, exhausted, SettleReason.EXHAUSTED)
    rests: dict[int, list[tuple[Extent, int, int, int]]] = {}
    for first, count, portion in parts:
        attempts = portion.attempts + charge
        delay = delay_ms if delay_ms is not None else _backoff(machine, queue, attempts)
        not_before = now + delay if delay else 0
        rests.setdefault(not_before, []).append((portion.extent, first, count, attempts))
        queue.leaving += count
    for not_before, returned in rests.items():
        machine.propose(Returned(queue.ledger.number, returned, not_before))


def _backoff(machine: SlotMachine, queue: Queue, attempts: int) -> int:
    """The settings' backoff less its jitter, so that what failed together spreads out."""
    settings = queue.settings
    delay = settings.backoff(attempts)
    share = int.from_bytes(machine.draw(2), "big")
    return delay - delay * settings.backoff_jitter * share // (100 * 65_536)


def end_leases(machine: SlotMachine, queue: Queue) -> None:
    """Leases whose time is over: the messages are ready again, with one more attempt."""
    ended = queue.leases.take_ended(machine.now)
    if ended:
        parts = [(first, count, lease.portion) for first, count, lease in ended]
        queue.counters.lease_ended += sum(count for _, count, _ in parts)
        return_parts(machine, queue, parts, charge=True, delay_ms=0)


def return_of_session(machine: SlotMachine, queue: Queue, session: Session, charge: bool) -> None:
    """A session ended.  What its consumers had in hand is charged, what was only prefetched not."""
    held = queue.leases.take_of_session(session)
    if not held:
        return
    held.sort(key=lambda part: (part[2].order, part[0]))
    in_hand: list[ClaimedPart] = []
    prefetched: list[ClaimedPart] = []
    left: dict[int | None, int] = {}
    for first, count, lease in held:
        consumer = session.consumers.get(lease.consumer) if lease.consumer is not None else None
        most = consumer.concurrency if consumer is not None else _CHARGED_OF_A_GET
        charged = min(left.get(lease.consumer, most), count) if charge else 0
        left[lease.consumer] = left.get(lease.consumer, most) - charged
        if charged:
            in_hand.append((first, charged, lease.portion))
        if charged < count:
            prefetched.append((first + charged, count - charged, lease.portion))
    if prefetched:
        return_parts(machine, queue, prefetched, False, None, returned_by=session.id)
    if in_hand:
        return_parts(machine, queue, in_hand, charge=True, delay_ms=0)
