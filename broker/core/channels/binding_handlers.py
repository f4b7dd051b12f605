"""``bind`` and ``unbind`` in the slot of the queue, and the copies in the slots of the channels.

    bind -> QueueUpdated -> carried to the slots (node/bindings.py) -> Bound there
         -> BindingsCarried -> ok

What a queue is bound to is a setting of it, so the first entry is all that is decided; from then on
it is carried until all have it, whoever reigns.  ``ok`` says that they do: what is published later
is in the queue, or after ``unbind`` is not.
"""

from __future__ import annotations

from broker import limits
from broker.core.channels.carrying import last_change, propose_bindings
from broker.core.commands.settle_handlers import answer_after
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.core.session import Session
from broker.errors import BindingNotFound, LimitReached
from broker.model.bindings import Bindings, changed, terms_of
from broker.model.commands import Bind, CopyBinding, Unbind
from broker.model.entries import Bound, Unbound
from broker.model.replies import ok


def handle_bind(machine: SlotMachine, session: Session, command: Bind) -> None:
    queue = machine.find_queue(command.queue)
    bindings = queue.settings.bindings
    if command.pattern not in bindings and len(bindings) >= limits.BINDINGS_PER_QUEUE_MAX:
        raise LimitReached(f"a queue has at most {limits.BINDINGS_PER_QUEUE_MAX} bindings")
    wanted = {**bindings, command.pattern: terms_of(command.selector)}
    _change(machine, session, queue, command, wanted)


def handle_unbind(machine: SlotMachine, session: Session, command: Unbind) -> None:
    queue = machine.find_queue(command.queue)
    bindings, pattern = queue.settings.bindings, command.pattern
    # Who asks again is answered when the first one is.
    if pattern not in bindings and not last_change(machine, queue, pattern):
        raise BindingNotFound(f"{queue.name} is not bound to {pattern}")
    wanted = {name: each for name, each in bindings.items() if name != pattern}
    _change(machine, session, queue, command, wanted)


def _change(
    machine: SlotMachine,
    session: Session,
    queue: Queue,
    command: Bind | Unbind,
    wanted: Bindings,
) -> None:
    waiting = machine.binding_work.waiting
    key = (queue.ledger.number, command.pattern)
    if len(waiting.get(key, ())) >= limits.BINDING_WAITS_MAX:
        raise LimitReached(f"{limits.BINDING_WAITS_MAX} requests wait for this binding")
    if changed(queue.settings.bindings, wanted):
        propose_bindings(machine, queue, wanted)
    if command.req is None:
        return
    reply = ok(session.peer, command.req)
    lsn = last_change(machine, queue, command.pattern)
    if lsn:
        waiting.setdefault(key, []).append((lsn, reply))
    else:
        answer_after(machine, reply)


def handle_copy(machine: SlotMachine, session: Session, command: CopyBinding) -> None:
    """The slot of a channel: a queue's slot says that its binding is so; what it says again
    changes nothing."""
    key = (command.uuid, command.pattern)
    copies = machine.bindings
    if command.version > copies.version_of(key):
        if command.is_gone:
            machine.propose(Unbound(command.pattern, command.uuid, command.version))
        else:
            if key not in copies.copies and len(copies.copies) >= limits.BINDINGS_PER_SLOT_MAX:
                raise LimitReached(f"a slot keeps at most {limits.BINDINGS_PER_SLOT_MAX} bindings")
            wire = command.selector.as_wire() if command.selector is not None else None
            place = (command.pattern, command.queue, command.uuid)
            machine.propose(Bound(*place, command.version, wire))
    assert command.req is not None
    answer_after(machine, ok(session.peer, command.req))
