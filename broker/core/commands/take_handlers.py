"""``get``, ``consume``, ``credit``, ``cancel``: who takes messages, and how many."""

from __future__ import annotations

from broker import limits
from broker.core.choosing.exclusive import appoint
from broker.core.choosing.fitting_choice import fit_choice
from broker.core.choosing.serving import Delivery, stand_in_line
from broker.core.leaving.partitioning import require_whole
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.core.session import Consumer, Getter, Session, Taker
from broker.errors import (
    BadField,
    ConsumerExists,
    ConsumerNotFound,
    ExclusiveQueue,
    LimitReached,
    MsgQueueError,
    QueueDeleted,
)
from broker.model.commands import Cancel, Consume, Credit, Get
from broker.model.replies import Reply, failed, ok


def handle_get(machine: SlotMachine, session: Session, command: Get) -> None:
    if command.req is None:
        raise BadField("get needs req: without it nobody could tell whose messages come")
    queue = machine.require_queue(command.queue)
    require_whole(queue)
    if queue.settings.exclusive:
        raise ExclusiveQueue(f"{queue.name} has one consumer at a time: consume instead")
    if session.gets >= limits.GETS_WAITING_PER_SESSION_MAX:
        raise LimitReached(f"at most {limits.GETS_WAITING_PER_SESSION_MAX} waiting gets a session")
    getter = Getter(
        session,
        (machine.slot, queue.ledger.number),
        command.max,
        command.bytes_max,
        command.lease_ms,
        command.auto_ack,
        command.req,
        machine.now + command.timeout_ms,
    )
    getter.selector = command.selector
    session.gets += 1
    _begin(machine, queue, getter)
    queue.getters[id(getter)] = getter
    machine.wake_at(queue, getter.ends_at)


def handle_consume(machine: SlotMachine, session: Session, command: Consume) -> None:
    queue = machine.require_queue(command.queue)
    require_whole(queue)
    if command.consumer in session.consumers:
        raise ConsumerExists(f"this session already has a consumer {command.consumer}")
    if len(session.consumers) >= limits.CONSUMERS_PER_SESSION_MAX:
        raise LimitReached(f"at most {limits.CONSUMERS_PER_SESSION_MAX} consumers a session")
    consumer = Consumer(
        session,
        (machine.slot, queue.ledger.number),
        command.consumer,
        command.credit,
        command.credit_bytes,
        command.lease_ms,
        command.auto_ack,
        command.concurrency,
    )
    consumer.priority = command.priority
    consumer.selector = command.selector
    session.consumers[command.consumer] = consumer
    queue.consumers[id(consumer)] = consumer
    if queue.settings.exclusive:
        appoint(queue)
    _begin(machine, queue, consumer)
    if command.req is not None:
        fields = {"uuid": queue.ledger.uuid, "epoch": machine.log.epoch}
        machine.replies.append(ok(session.peer, command.req, **fields))


def _begin(machine: SlotMachine, queue: Queue, taker: Taker) -> None:
    taker.session.queues[taker.place] = None
    if taker.selector is not None:
        fit_choice(queue, taker.selector)
    stand_in_line(queue, taker)
    machine.wake(queue)


def handle_credit(machine: SlotMachine, session: Session, command: Credit) -> None:
    consumer = _require_consumer(session, command.consumer)
    queue = machine.queues[consumer.place[1]]
    consumer.add_credit(command.messages, command.bytes)
    stand_in_line(queue, consumer)
    machine.wake(queue)
    if command.req is not None:
        machine.replies.append(ok(session.peer, command.req))


def handle_cancel(machine: SlotMachine, session: Session, command: Cancel) -> None:
    consumer = _require_consumer(session, command.consumer)
    del session.consumers[command.consumer]
    queue = machine.queues[consumer.place[1]]
    end_consumer(queue, consumer)
    machine.wake(queue)
    if command.req is not None:
        machine.replies.append(ok(session.peer, command.req))


def _require_consumer(session: Session, number: int) -> Consumer:
    consumer = session.consumers.get(number)
    if consumer is None:
        raise ConsumerNotFound(f"this session has no consumer {number}")
    return consumer


def end_consumer(queue: Queue, consumer: Consumer) -> None:
    if not consumer.cancelled:
        consumer.cancelled = True
        del queue.consumers[id(consumer)]
        if queue.settings.exclusive:
            appoint(queue)


def end_getter(queue: Queue, getter: Getter) -> None:
    """Answered, timed out, or its session ended."""
    getter.answered = True
    getter.session.gets -= 1
    del queue.getters[id(getter)]


def end_takers_of(queue: Queue, session: Session) -> None:
    for getter in [g for g in queue.getters.values() if g.session is session]:
        end_getter(queue, getter)
    for consumer in [c for c in queue.consumers.values() if c.session is session]:
        end_consumer(queue, consumer)


def end_late_getters(machine: SlotMachine, queue: Queue) -> None:
    """Gets whose time is over are answered with an empty batch."""
    for getter in [g for g in queue.getters.values() if g.ends_at <= machine.now]:
        end_getter(queue, getter)
        if not getter.session.closed:
            machine.replies.append(Delivery(getter, [], queue).reply)


def dismiss_getters(machine: SlotMachine, queue: Queue, error: MsgQueueError) -> None:
    for getter in list(queue.getters.values()):
        end_getter(queue, getter)
        machine.replies.append(failed(getter.session.peer, getter.req, error))


def dismiss_takers(machine: SlotMachine, queue: Queue) -> None:
    """The queue is deleted: waiting gets fail by name, consumers are cancelled by name."""
    error = QueueDeleted(f"{queue.name} was deleted")
    dismiss_getters(machine, queue, error)
    for consumer in list(queue.consumers.values()):
        del consumer.session.consumers[consumer.number]
        end_consumer(queue, consumer)
        header = {
            "re": "cancelled",
            "consumer": consumer.number,
            "code": error.code,
            "error": error.name,
            "text": error.text,
        }
        machine.replies.append(Reply(consumer.session.peer, header))
