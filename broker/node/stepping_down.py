"""The end of a reign as clients see it: whoever waits on the slot hears why.

What was proposed and is not committed has an unknown outcome; a successor may have it or not.
Consumers of this broker's clients are placed with the successor; guests are told, and placed by
their own broker.
"""

from __future__ import annotations

from broker.core.commands.take_handlers import end_consumer, end_getter
from broker.core.queue import Queue
from broker.core.session import Session
from broker.errors import MsgQueueError, NotPrimary, OutcomeUnknown
from broker.model.entries import BatchPut
from broker.model.replies import failed
from broker.node.forwarding import Forwarding
from broker.node.guests import GUEST, Guests
from broker.node.put_order import PutOrder, place_of
from broker.node.reception import Reception
from broker.node.replica import Replica


def step_down(
    replica: Replica,
    reception: Reception,
    forwarding: Forwarding,
    guests: Guests,
    order: PutOrder,
    now: int,
) -> None:
    """Tells everyone; the caller then reads the slot anew."""
    machine = replica.machine
    reception.add_replies(machine.replies)
    machine.replies = []
    _tell_unknown(replica, reception)
    for queue in machine.queues.values():
        dismiss_getters(queue, reception, NotPrimary("the slot has another primary"))
        for consumer in list(queue.consumers.values()):
            session = consumer.session
            end_consumer(queue, consumer)
            del session.consumers[consumer.number]
            if session.closed:
                continue
            if is_guest(session):
                # Its own broker places it again, with this one if that is to reign once more.
                error = NotPrimary("the slot has another primary")
                context = {"cmd": "consume", "consumer": consumer.number}
                reception.add_replies([failed(session.peer, None, error, **context)])
            else:
                forwarding.take_over(session, consumer, queue.name)
    for proposed in [*replica.log.uncommitted, *machine.transient.pending]:
        entry = proposed.entry
        # What a former primary left may be of queues whose declaration is not committed either.
        if isinstance(entry, BatchPut) and entry.number in machine.queues:
            name = machine.queues[entry.number].name
            for producer, sequence in entry.sources:
                order.note_refused(producer, name, sequence, now)
    for held in machine.publishes.held.values():
        for publish in held:
            place = place_of(publish.command)
            if place is not None:
                order.note_refused(*place, now)


def _tell_unknown(replica: Replica, reception: Reception) -> None:
    """Answers that waited for a commit; a delivery among them is simply not made."""
    error = OutcomeUnknown("the slot changed its primary before this was committed")
    machine = replica.machine
    waiting = [reply for answers in machine.answers.values() for reply in answers]
    waiting += machine.producers.take_waiting() + machine.binding_work.take_waiting()
    for reply in waiting:
        req = reply.header.get("req")
        if req is not None:
            reception.add_replies([failed(reply.peer, req, error)])


def dismiss_getters(queue: Queue, reception: Reception, error: MsgQueueError) -> None:
    for getter in list(queue.getters.values()):
        end_getter(queue, getter)
        if not getter.session.closed:
            reception.add_replies([failed(getter.session.peer, getter.req, error)])


def is_guest(session: Session) -> bool:
    return session.peer[0] == GUEST
