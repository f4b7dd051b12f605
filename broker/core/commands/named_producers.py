"""``producer``: an application's producer that lives on over its processes, under a name.

Each process is an instance, and a higher one fences those before it: what they still have on the
way is refused by name.  The sequences go on over the instances, so the answer tells the highest.
The fence comes before the duplicate check: an older instance's sequence may be the newer one's by
now, with another message.
"""

from __future__ import annotations

from broker.core.commands.settle_handlers import answer_after
from broker.core.machine import SlotMachine
from broker.core.session import Session
from broker.errors import ProducerFenced
from broker.model.commands import Producer
from broker.model.entries import InstanceBegun
from broker.model.replies import failed, ok


def handle_producer(machine: SlotMachine, session: Session, command: Producer) -> None:
    queue = machine.require_queue(command.queue)
    number = queue.ledger.number
    key = (command.producer, number)
    newest = machine.producers.instances.get(key, 0)
    if command.instance < newest:
        error = ProducerFenced(f"instance {newest} of this producer has taken over")
        context = {"queue": queue.name, "producer": command.producer, "instance": newest}
        machine.replies.append(failed(session.peer, command.req, error, **context))
        return
    if command.instance > newest:
        machine.producers.propose_instance(key, command.instance)
        machine.propose(InstanceBegun(number, command.producer, command.instance))
    if command.req is not None:
        # What is proposed of the instances before it is committed before the answer leaves.
        fields = {"highest": machine.producers.highest(key), "instance": command.instance}
        answer_after(machine, ok(session.peer, command.req, **fields), queue)
