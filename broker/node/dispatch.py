"""Commands to where they are carried out: the reception, the slot's machine here, or its primary.

Whatever a command holds, it is answered and never raises; only a failed disk does.
"""

from __future__ import annotations

from broker.core.channels.bound_publishing import has_taken
from broker.core.commands.handlers import HANDLERS
from broker.core.commands.take_handlers import end_consumer
from broker.core.services.service_handlers import SERVICE_HANDLERS
from broker.core.session import Session
from broker.errors import (
    ConsumerNotFound,
    MsgQueueError,
    NoSession,
    NotEnoughReplicas,
    NotPrimary,
    ProcessError,
    QueueFull,
    RoutingIdNotAllowed,
)
from broker.model import commands
from broker.model.slots import slot_of
from broker.names import CHANNEL_PREFIX, TRANSFER_PRODUCER
from broker.node.calls import Calls
from broker.node.census import Census
from broker.node.federation import Federation
from broker.node.inner_client import INNER_SESSION, InnerCommand
from broker.node.put_order import PASSING, Behind, PutOrder, line_of
from broker.node.reception import Reception
from broker.node.replica import Replica
from broker.node.replicas import Replicas
from broker.protocol.commands import Malformed, decode_command
from broker.protocol.transfers import decode_inner, encode_inner


class Dispatch:
    """``active`` takes the slots that a command has given work, by number."""

    def __init__(
        self,
        reception: Reception,
        replicas: Replicas,
        order: PutOrder,
        census: Census,
        federation: Federation | None,
        active: dict[int, Replica],
        now: int,
    ) -> None:
        self._reception = reception
        self._replicas = replicas
        self._order = order
        self._census = census
        self._federation = federation
        self._active = active
        self.calls = Calls(
            reception, replicas, federation, self._require_replica, self._require_acting, now
        )

    def take(self, now_ms: int, peer: bytes, frames: list[bytes]) -> bool:
        """Takes one multipart; whatever it holds, the answer is a reply and never an exception.

        True when it has touched nothing but calls that are under way here.
        """
        reception = self._reception
        reception.now = max(reception.now, now_ms)
        try:
            command = decode_command(frames)
        except Malformed as bad:
            reception.refuse_malformed(peer, bad)
            return False
        try:
            if len(peer) != 5 or peer[0]:
                raise RoutingIdNotAllowed("a routing id is the broker's to choose")
            return self._handle(peer, command, frames)
        except ProcessError:
            # A failed disk is no client's mistake: it ends the process.
            raise
        except MsgQueueError as error:
            self._refuse(peer, command, error)
        return False

    def _refuse(self, peer: bytes, command: commands.Command, error: MsgQueueError) -> None:
        if isinstance(error, QueueFull) and isinstance(command, commands.Put):
            self._reception.note_event(f"queue.full.{command.queue}", queue=command.queue)
        if (
            isinstance(command, commands.Put | commands.Publish)
            and not isinstance(error, Behind)
            and command.producer is not None
            and command.seq is not None
            # Whatever a slot's put is refused for, it comes again.
            and (isinstance(error, PASSING) or command.producer.startswith(TRANSFER_PRODUCER))
        ):
            order = self._order
            now = self._reception.now
            order.note_refused(command.producer, line_of(command), command.seq, now)
        self._reception.refuse(peer, command, error)

    def _handle(self, peer: bytes, command: commands.Command, frames: list[bytes]) -> bool:
        reception = self._reception
        kind = type(command)
        session = reception.sessions.of_peer(peer)
        if session is None:
            if kind is not commands.Hello:
                raise NoSession("say hello first")
        else:
            session.heard_at = reception.now
        handler = reception.handlers.get(kind)
        if handler is not None:
            handler(peer, session, command)
            return False
        assert session is not None
        if kind in SERVICE_HANDLERS:
            return self.calls.take(session, command, frames)
        if isinstance(command, commands.Stats) and command.queue is None:
            self._census.handle_all_stats(peer, session, command)
            return False
        reception.require_open(kind)
        self._require_turn(command)
        slot = self._slot_of(session, command)
        if self._federation is None:
            replica = self._replicas.find(slot) or self._require_replica(slot)
        else:
            found = self._replicas.find(slot)
            if found is None or not found.machine.is_serving or self._is_placed(session, command):
                federation = self._federation
                federation.forwarding.forward(session, command, frames, slot, reception.now)
                return False
            if isinstance(command, commands.Consume):
                self._federation.forwarding.require_free(session, command.consumer)
            replica = found
        self._carry_out(replica, session, command)
        return False

    def take_inner(self, session: Session, command: InnerCommand) -> None:
        """A command of this broker's own, for a slot here or elsewhere."""
        try:
            self._require_turn(command)
            slot = self._slot_of(session, command)
            replica = self._replicas.find(slot)
            if self._federation is None:
                replica = replica or self._require_replica(slot)
            elif replica is None or not replica.machine.is_serving:
                frames, now = encode_inner(command), self._reception.now
                self._federation.forwarding.forward(session, command, frames, slot, now)
                return
            self._carry_out(replica, session, command)
        except ProcessError:
            raise
        except MsgQueueError as error:
            self._refuse(session.peer, command, error)

    def take_of_guest(self, guest: Session, frames: list[bytes]) -> None:
        """A command that another broker forwards; it is never passed on once more."""
        decode = decode_inner if guest.id == INNER_SESSION else decode_command
        try:
            command = decode(frames)
        except Malformed as bad:
            self._reception.refuse_malformed(guest.peer, bad)
            return
        try:
            if type(command) in SERVICE_HANDLERS:
                self.calls.take_of_guest(guest, command)
                return
            self._require_turn(command)
            replica = self._replicas.find(self._slot_of(guest, command))
            if replica is None or not replica.machine.is_serving:
                raise NotPrimary("this broker does not serve the slot")
            if isinstance(command, commands.Consume):
                _forget_consumer(replica, guest, command)
            self._carry_out(replica, guest, command)
        except ProcessError:
            raise
        except MsgQueueError as error:
            self._refuse(guest.peer, command, error)

    def _require_turn(self, command: commands.Command) -> None:
        if self._order and isinstance(command, commands.Put | commands.Publish):
            self._order.require_turn(command, self._reception.now, self._is_taken)

    def _require_replica(self, slot: int) -> Replica:
        replica = self._replicas.require(slot, self._reception.now)
        self._reception.adopt(replica)
        return replica

    def _is_taken(self, producer: bytes, queue: str, sequence: int) -> bool:
        """True for a put that is known to the slot where it is served here."""
        slots = self._replicas.slots
        name = queue.removeprefix(CHANNEL_PREFIX)
        replica = self._replicas.find(slot_of(name, slots)) if slots else None
        if replica is None or not replica.machine.is_serving:
            return False
        machine = replica.machine
        if name != queue and has_taken(machine, name, producer, sequence):
            return True
        found = machine.names.get(queue)
        if found is None:
            return name != queue and machine.channels.has_taken(name, producer, sequence)
        return machine.producers.has_taken((producer, found.ledger.number), sequence)

    def _carry_out(self, replica: Replica, session: Session, command: commands.Command) -> None:
        if self._federation is not None:
            self._require_acting(replica, command)
        machine = replica.machine
        machine.log.advance_time(self._reception.now)
        self._active[replica.slot] = replica
        HANDLERS[type(command)](machine, session, command)

    def _require_acting(self, replica: Replica, command: commands.Command) -> None:
        """R4, R10: a primary that may not act refuses by name, and changes nothing."""
        assert self._federation is not None
        primary = replica.primary
        assert primary is not None
        if self._federation.may_act(replica, self._reception.now):
            return
        if isinstance(command, commands.Consume | commands.Credit | commands.Cancel):
            return
        if primary.has_quorum or primary.is_handing_over:
            raise NotPrimary("this broker cannot say at the moment whether the slot is its own")
        if isinstance(command, commands.Put | commands.Publish) and command.producer is not None:
            queue = replica.machine.names.get(line_of(command))
            if queue is not None:
                replica.machine.producers.refuse((command.producer, queue.ledger.number))
        isr = len(primary.config.isr)
        raise NotEnoughReplicas(f"{isr} of {primary.min_isr} replicas are in sync")

    def _is_placed(self, session: Session, command: commands.Command) -> bool:
        """True for what concerns a consumer that another broker serves, or none for now, though
        the slot may be this one's by now."""
        return (
            isinstance(command, commands.Credit | commands.Cancel)
            and command.consumer not in session.consumers
        )

    def _slot_of(self, session: Session, command: commands.Command) -> int:
        if isinstance(command, commands.Credit | commands.Cancel):
            consumer = session.consumers.get(command.consumer)
            if consumer is not None:
                return consumer.place[0]
            federation = self._federation
            placed = federation and federation.forwarding.placed(session, command.consumer)
            if not placed:
                raise ConsumerNotFound(f"this session has no consumer {command.consumer}")
            return placed.slot
        if not self._replicas.slots:
            raise NotPrimary("this broker does not know its cluster yet")
        if isinstance(command, commands.OfChannel):
            return slot_of(command.channel, self._replicas.slots)
        if isinstance(command, commands.CopyBinding):
            return command.slot
        name: str = command.queue  # type: ignore[attr-defined]
        return slot_of(name, self._replicas.slots)

    def place_consumers(self, federation: Federation, now: int) -> None:
        """Consumers of clients here go to where their queues are served."""
        for session, placed in federation.forwarding.place(now):
            replica = self._replicas.find(placed.slot)
            if replica is None or not replica.machine.is_serving:
                continue
            federation.forwarding.remove_placed(session, placed.command.consumer)
            command = placed.renewed()
            try:
                self._carry_out(replica, session, command)
            except MsgQueueError as error:
                self._refuse(session.peer, command, error)


def _forget_consumer(replica: Replica, guest: Session, command: commands.Consume) -> None:
    """A guest's broker keeps the account of its consumers: what it says takes the place of what
    is known here."""
    consumer = guest.consumers.get(command.consumer)
    if consumer is not None and consumer.place[0] == replica.slot:
        del guest.consumers[command.consumer]
        end_consumer(replica.machine.queues[consumer.place[1]], consumer)
