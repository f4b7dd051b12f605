"""Sessions and what concerns the broker as a whole: hello, ping, bye, lists, refusals, drain."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from broker import limits
from broker.core.commands.settle_handlers import return_of_session
from broker.core.commands.take_handlers import end_getter, end_takers_of
from broker.core.session import Session
from broker.core.sessions import Sessions
from broker.errors import LimitReached, MsgQueueError, NotPrimary, SessionClosed, ShuttingDown
from broker.model import commands
from broker.model.replies import Reply, failed, ok
from broker.node.forwarding import Forwarding
from broker.node.replica import Replica
from broker.node.replicas import Replicas
from broker.node.settings import NodeSettings
from broker.protocol.commands import Malformed, name_of

if TYPE_CHECKING:
    from broker.node.calls import Calls

_NEW_WORK = (
    commands.Put,
    commands.Get,
    commands.Consume,
    commands.Declare,
    commands.Publish,
    commands.DeclareChannel,
)
_CONTEXT = ("cmd", "queue", "channel", "service", "consumer", "worker", "call", "producer", "seq")
_WELCOME_LIMITS = {
    "message_bytes_max": limits.MESSAGE_BYTES_MAX,
    "batch_bytes_max": limits.BATCH_BYTES_MAX,
    "batch_count_max": limits.BATCH_COUNT_MAX,
    "header_bytes_max": limits.HEADER_BYTES_MAX,
    "columns_bytes_max": limits.COLUMNS_BYTES_MAX,
    "ranges_max": limits.RANGES_MAX,
    "credit_max": limits.CREDIT_MAX,
    "credit_bytes_max": limits.CREDIT_BYTES_MAX,
    "unconfirmed_batches_max": limits.UNCONFIRMED_BATCHES_MAX,
}

Handler = Callable[[bytes, Session | None, Any], None]


class Reception:
    def __init__(
        self, settings: NodeSettings, draw: Callable[[int], bytes], replicas: Replicas
    ) -> None:
        self._settings = settings
        self._draw = draw
        self._replicas = replicas
        self._replies: list[Reply] = []
        self._alarm: str | None = None
        self.sessions = Sessions()
        #: Set in a cluster: what of these sessions is with other brokers.
        self.forwarding: Forwarding | None = None
        #: What these sessions have to do with services.
        self.calls: Calls
        #: Ends what a session subscribed; the hub's.
        self.end_subscriptions: Callable[[Session], None] = lambda _session: None
        #: Takes what happened to sessions and queues; the hub's.
        self.note_event: Callable[..., None] = lambda _event, **_facts: None
        #: What a welcome says besides; set in a cluster.
        self.welcome: dict[str, Any] = {}
        #: Replicas that got messages back outside of their own commands.
        self._touched: list[Replica] = []
        self.draining = False
        self.now = 0
        #: Counts since the start; each only rises.
        self.counters: dict[str, int] = {}
        self.handlers: dict[type[commands.Command], Handler] = {
            commands.Hello: self._handle_hello,
            commands.Ping: self._handle_ping,
            commands.Bye: self._handle_bye,
        }

    def count(self, name: str, number: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + number

    def take_replies(self) -> list[Reply]:
        replies, self._replies = self._replies, []
        return replies

    def require_open(self, kind: type[commands.Command]) -> None:
        if self.draining and kind in _NEW_WORK:
            raise ShuttingDown("this broker is shutting down")

    def add_replies(self, replies: list[Reply]) -> None:
        self._replies += replies

    def refuse_malformed(self, peer: bytes, bad: Malformed) -> None:
        self.count(f"refused_{bad.error.name}")
        context = {name: value for name in _CONTEXT if _is_plain(value := bad.header.get(name))}
        self._replies.append(failed(peer, bad.req, bad.error, **context))

    def refuse(self, peer: bytes, command: commands.Command, error: MsgQueueError) -> None:
        self.count(f"refused_{error.name}")
        context: dict[str, Any] = {"cmd": name_of(type(command)), **error.details}
        for name in _CONTEXT[1:]:
            value = getattr(command, name, None)
            if value is not None:
                context[name] = value
        self._replies.append(failed(peer, command.req, error, **context))

    def _handle_hello(self, peer: bytes, old: Session | None, command: commands.Hello) -> None:
        if self.draining:
            raise ShuttingDown("this broker is shutting down")
        if self._settings.cluster and not self.welcome:
            # A client that took this for a broker alone would never follow the map.
            raise NotPrimary("this broker does not know its cluster yet")
        resumed = self.sessions.of_id(command.resume) if command.resume else None
        if old is None and resumed is None and len(self.sessions) >= self._settings.sessions_max:
            raise LimitReached(f"this broker takes at most {self._settings.sessions_max} sessions")
        for former in (old, resumed):
            if former is not None and not former.closed:
                self._close(former, "resumed by a new session", told=former.peer != peer)
        session = Session(self._draw(16), peer, command.client, command.timeout_ms, self.now)
        session.resumes = command.resume or b""
        self.sessions.add(session)
        self.count("sessions_opened")
        header = {
            "re": "welcome",
            "session": session.id,
            "broker": self._settings.broker_id,
            "version": self._settings.version,
            "timeout_ms": command.timeout_ms,
            "limits": _WELCOME_LIMITS,
            **self.welcome,
        }
        if self._settings.publish_addresses:
            header["channels"] = list(self._settings.publish_addresses)
        if command.req is not None:
            header["req"] = command.req
        self._replies.append(Reply(peer, header))

    def _handle_ping(self, peer: bytes, session: Session | None, command: commands.Ping) -> None:
        header: dict[str, Any] = {"re": "pong"}
        if command.req is not None:
            header["req"] = command.req
        self._replies.append(Reply(peer, header))

    def _handle_bye(self, peer: bytes, session: Session | None, command: commands.Bye) -> None:
        assert session is not None
        self.end_session(session, charge=False)
        if command.req is not None:
            self._replies.append(ok(peer, command.req))

    @property
    def broker_id(self) -> str:
        return self._settings.broker_id

    def own_stats(self) -> dict[str, Any]:
        """What concerns this broker and no queue."""
        return {"sessions": len(self.sessions), "alarm": self._alarm, "counters": self.counters}

    def end_silent(self) -> list[Replica]:
        """Ends sessions that were silent too long; gives the slots that got messages back."""
        for session in self.sessions.take_silent(self.now):
            self.count("sessions_silent")
            self.end_session(session, charge=True)
            self._tell_closed(session.peer, "silent for too long")
        touched, self._touched = self._touched, []
        return touched

    def _close(self, session: Session, reason: str, told: bool) -> None:
        self.end_session(session, charge=False)
        if told:
            self._tell_closed(session.peer, reason)

    def _tell_closed(self, peer: bytes, reason: str) -> None:
        error = SessionClosed(reason)
        header = {"re": "closed", "code": error.code, "error": error.name, "text": error.text}
        self._replies.append(Reply(peer, header))

    def end_session(self, session: Session, charge: bool) -> None:
        """Its messages come back, here and where other brokers serve them."""
        self.sessions.remove(session)
        self.end_subscriptions(session)
        if charge:
            self.note_event("session.lost", client=session.client)
        self.release(session, charge)
        if self.forwarding is not None:
            self.forwarding.end_session(session, charge)

    def release(self, session: Session, charge: bool) -> None:
        """What a session, or a guest, held of the slots that are served here comes back."""
        self.calls.end_session(session)
        for slot, number in session.queues:
            replica = self._replicas.find(slot)
            if replica is None or not replica.machine.is_serving:
                continue
            queue = replica.machine.queues.get(number)
            if queue is None or queue.deleted:
                continue
            replica.machine.log.advance_time(self.now)
            if charge and any(each.place == (slot, number) for each in session.consumers.values()):
                self.note_event(f"consumer.lost.{queue.name}", queue=queue.name)
            end_takers_of(queue, session)
            replica.machine.wake(queue)
            return_of_session(replica.machine, queue, session, charge)
            self._touched.append(replica)

    def adopt(self, replica: Replica) -> None:
        """A slot that was opened after the alarm was set."""
        replica.machine.alarm = self._alarm

    def set_alarm(self, reason: str | None) -> None:
        if (reason is None) != (self._alarm is None):
            self.note_event("alarm", reason=reason)
        self._alarm = reason
        for replica in self._replicas:
            replica.machine.alarm = reason

    def begin_drain(self) -> None:
        """Waiting gets fail by name now; consumers hear it with the farewell."""
        self.draining = True
        self.calls.begin_drain()
        error = ShuttingDown("this broker is shutting down")
        for replica in self._replicas:
            for queue in replica.machine.queues.values():
                for getter in list(queue.getters.values()):
                    end_getter(queue, getter)
                    self._replies.append(failed(getter.session.peer, getter.req, error))

    def farewells(self) -> list[Reply]:
        self.calls.close()
        for session in self.sessions:
            self._tell_closed(session.peer, "this broker is shutting down")
        return self.take_replies()


def _is_plain(value: Any) -> bool:
    """True for what is small and safe to repeat to a client that sent a malformed command."""
    return isinstance(value, int) or (isinstance(value, str | bytes) and 0 < len(value) <= 255)
