"""Services in a node: commands to the slot that serves the name, and what ends without a command.

Calls are answered out of a slot's turn: nothing of them is written, so no row, sync or entry has a
part in them.  Law: whatever becomes of a slot, a session or this broker, no call is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.core.services.ends import end_due, end_reign, end_session, end_waiting, lose_worker
from broker.core.services.service_handlers import SERVICE_HANDLERS
from broker.core.services.switchboard import Switchboard
from broker.core.session import Session
from broker.errors import NotPrimary, OutcomeUnknown, ShuttingDown, WorkerNotFound
from broker.model import service_commands as commands
from broker.model.commands import Command
from broker.model.replies import failed
from broker.model.slots import slot_of
from broker.node.call_forwarding import CallForwarding
from broker.node.federation import Federation
from broker.node.guests import GUEST
from broker.node.reception import Reception
from broker.node.replica import Replica
from broker.node.replicas import Replicas

#: Raises what a primary that may not act refuses a command with.
RequireActing = Callable[[Replica, Command], None]


#: What there is most of.
_ON_THE_WAY = (commands.Call, commands.Answer)


class Calls:
    """``require_replica`` opens a slot of a broker that is alone."""

    def __init__(
        self,
        reception: Reception,
        replicas: Replicas,
        federation: Federation | None,
        require_replica: Callable[[int], Replica],
        require_acting: RequireActing,
        started_at: int,
    ) -> None:
        self._reception = reception
        self._replicas = replicas
        self._require_replica = require_replica
        self._require_acting = require_acting
        self._forwarding: CallForwarding | None = None
        self._federation = federation
        if federation is not None:
            self._forwarding = federation.calls
            federation.end_services = self.step_down
        self.board = Switchboard(reception.counters, None if federation is not None else started_at)
        reception.calls = self

    # From clients

    def take(self, session: Session, command: Command, frames: list[bytes]) -> bool:
        """A command of a client; raises what it is refused with.

        True when it has touched nothing but calls of a slot that is open.
        """
        if self._reception.draining and isinstance(command, commands.Call | commands.Serve):
            raise ShuttingDown("this broker is shutting down")
        slot = self._slot_of(session, command)
        replica = self._replicas.find(slot)
        forwarding = self._forwarding
        if forwarding is None:
            self._carry_out(replica or self._require_replica(slot), session, command)
            return replica is not None and isinstance(command, _ON_THE_WAY)
        if replica is None or not replica.machine.is_serving or _is_placed(session, command):
            forwarding.forward(session, command, frames, slot, self._reception.now)
            return False
        if isinstance(command, commands.Serve):
            forwarding.require_free(session, command.worker)
        elif isinstance(command, commands.Call):
            self._require_acting(replica, command)
        self._carry_out(replica, session, command)
        return False

    def take_of_guest(self, guest: Session, command: Command) -> None:
        """A command that another broker forwards; it is never passed on once more."""
        replica = self._replicas.find(self._slot_of(guest, command))
        if replica is None or not replica.machine.is_serving:
            raise NotPrimary("this broker does not serve the slot")
        if self._reception.draining and isinstance(command, commands.Call | commands.Serve):
            raise NotPrimary("this broker is shutting down")
        if isinstance(command, commands.Serve):
            former = guest.workers.get(command.worker)
            if former is not None:
                # Its own broker keeps the account of its workers: what it says holds.
                lose_worker(former)
        elif isinstance(command, commands.Call):
            self._require_acting(replica, command)
        self._carry_out(replica, guest, command)

    def _slot_of(self, session: Session, command: Command) -> int:
        if isinstance(command, commands.Unserve):
            worker = session.workers.get(command.worker)
            if worker is not None:
                return slot_of(worker.service.name, self._replicas.slots)
            forwarding = self._forwarding
            placed = forwarding.placed(session, command.worker) if forwarding else None
            if placed is None:
                raise WorkerNotFound(f"this session has no worker {command.worker}")
            return placed.slot
        if not self._replicas.slots:
            raise NotPrimary("this broker does not know its cluster yet")
        assert isinstance(command, commands.OfService)
        return slot_of(command.service, self._replicas.slots)

    def _carry_out(self, replica: Replica, session: Session, command: Command) -> None:
        board = self.board
        board.now = self._reception.now
        end_due(board)
        try:
            SERVICE_HANDLERS[type(command)](board, replica.machine, session, command)
        finally:
            self._hand_over()

    def _hand_over(self) -> None:
        board = self.board
        if board.replies:
            self._reception.add_replies(board.replies)
            board.replies = []

    # What ends without a command

    def disconnected(self, session: Session) -> None:
        """No other connection goes on with the calls and workers of the one that is over; those
        that are with other brokers end with the session."""
        self.board.now = max(self.board.now, self._reception.now)
        end_session(session)
        self._hand_over()

    def end_session(self, session: Session) -> None:
        """A client of this broker, or a guest, is gone."""
        self.disconnected(session)
        if self._forwarding is not None:
            self._forwarding.end_session(session)

    def step_down(self, replica: Replica) -> None:
        """The reign over a slot is over: workers are placed with the next, calls are told."""
        assert self._forwarding is not None
        self.board.now = max(self.board.now, self._reception.now)
        untouched = NotPrimary("the slot has another primary")
        given = OutcomeUnknown("the slot changed its primary before the answer")
        for service in list(replica.machine.services.values()):
            for worker in end_reign(service, untouched, given):
                session = worker.session
                if session.closed or worker.is_leaving:
                    continue
                if session.peer[0] == GUEST:
                    # Its own broker places it again, and tells it so.
                    context = {"cmd": "serve", "service": service.name, "worker": worker.number}
                    self.board.replies.append(failed(session.peer, None, untouched, **context))
                else:
                    serve = commands.Serve(
                        service=service.name,
                        worker=worker.number,
                        concurrency=worker.concurrency,
                    )
                    self._forwarding.take_over(session, serve, replica.slot)
        self._hand_over()

    def step(self, now: int) -> None:
        """To be called in every turn."""
        at = self.board.next_at
        if at is not None and at <= now:
            self.board.now = now
            end_due(self.board)
            self._hand_over()
        if self._forwarding is not None:
            self._forwarding.end_due(now)
            for session, serve in self._forwarding.place(now):
                self._serve_here(session, serve)

    def _serve_here(self, session: Session, serve: commands.Serve) -> None:
        """A worker of a client here whose service this broker has come to serve."""
        replica = self._replicas.find(slot_of(serve.service, self._replicas.slots))
        if replica is None or not replica.machine.is_serving:
            return
        assert self._forwarding is not None
        self._forwarding.remove_placed(session, serve.worker)
        self._carry_out(replica, session, serve)

    def next_wake_at(self) -> int | None:
        """When ``step`` is wanted next."""
        at = self.board.next_at
        if self._forwarding is None:
            return at
        instants = self._forwarding.instants()
        return min(instants if at is None else [at, *instants], default=None)

    # The end of the broker

    @property
    def is_busy(self) -> bool:
        """True while callers of a broker that drains wait for what workers have in hand."""
        return bool(self.board.calls)

    def begin_drain(self) -> None:
        """No worker is given a call any more; what they have in hand is finished."""
        error = ShuttingDown("this broker is shutting down")
        for replica in self._replicas:
            for service in list(replica.machine.services.values()):
                end_waiting(service, error)
        self._hand_over()

    def close(self) -> None:
        """What the drain did not see the end of."""
        error = ShuttingDown("this broker is shutting down")
        given = OutcomeUnknown("this broker is shutting down")
        for replica in self._replicas:
            for service in list(replica.machine.services.values()):
                end_reign(service, error, given)
        self._hand_over()


def _is_placed(session: Session, command: Command) -> bool:
    """True for what concerns a worker that another broker serves, or none for now, though the slot
    may be this one's by now."""
    return isinstance(command, commands.Unserve) and command.worker not in session.workers
