"""Commands of this broker's clients for slots that others serve, and the way of the answers back.

Owns what was forwarded and is not answered, and the consumers that are placed elsewhere with the
credit that they have left.  Rule R17 of docs/replication.md.  Law: every forwarded request is
answered: by the primary, or here when the stream to it broke.  What may have happened meanwhile is
``outcome_unknown``, never a refusal.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import msgpack

from broker.cluster.messages import Answer, Forward, SessionEnded
from broker.core.books.tags import decode_tag
from broker.core.session import Consumer, Session
from broker.core.sessions import Sessions
from broker.errors import ConsumerExists, MsgQueueError, NotPrimary, OutcomeUnknown
from broker.limits import (
    CONSUMER_PRIORITY_DEFAULT,
    CREDIT_BYTES_MAX,
    CREDIT_MAX,
    PLACE_EVERY,
    PLACE_RETRY,
)
from broker.model import commands
from broker.model.replies import Reply, failed, ok
from broker.node.inner_client import INNER_SESSION
from broker.node.peers import Peers
from broker.node.put_order import PutOrder, place_of
from broker.node.steering import Steering
from broker.protocol.commands import VERSION

#: What may have happened although nobody said so.
_CHANGING = (
    commands.Put,
    commands.Ack,
    commands.Nack,
    commands.Reject,
    commands.Declare,
    commands.Update,
    commands.Purge,
    commands.Delete,
    commands.Remove,
    commands.Reschedule,
    commands.Redrive,
    commands.Transact,
    commands.Producer,
    commands.Publish,
    commands.DeclareChannel,
    commands.UpdateChannel,
    commands.DeleteChannel,
    commands.Bind,
    commands.Unbind,
)
#: Refusals after which a placed consumer is placed again.
_PASSING = {NotPrimary.name, "not_enough_replicas", "shutting_down", OutcomeUnknown.name}


class _Pending(NamedTuple):
    kind: type[commands.Command]
    #: True when it may have happened although nobody said so.
    is_changing: bool
    slot: int
    #: (producer, queue, sequence) of a put that can be sent again
    put: tuple[bytes, str, int] | None
    #: The consumer that a cancel ends.
    cancels: int | None


def _changes(command: commands.Command) -> bool:
    """A get that removes what it gives changes as much as a put."""
    takes = isinstance(command, commands.Get) and command.auto_ack
    return takes or isinstance(command, _CHANGING)


class Placed:
    """A consumer of a client here whose queue another broker serves: at ``broker``, or nowhere
    for now.  ``epoch`` is the highest that it had deliveries of."""

    __slots__ = (
        "broker",
        "command",
        "credit",
        "credit_bytes",
        "epoch",
        "is_cancelled",
        "retry_at",
        "slot",
    )

    def __init__(self, command: commands.Consume, slot: int, broker: str) -> None:
        self.command = command
        self.slot = slot
        self.broker = broker
        self.credit = command.credit
        self.credit_bytes = command.credit_bytes
        self.epoch = 0
        self.retry_at = 0
        #: True while deliveries may still come that left before the cancel was heard.
        self.is_cancelled = False

    def add_credit(self, messages: int, size: int) -> None:
        self.credit = min(self.credit + messages, CREDIT_MAX)
        self.credit_bytes = min(self.credit_bytes + size, CREDIT_BYTES_MAX)

    def renewed(self) -> commands.Consume:
        """The consume command as it would be given now."""
        credit, size = max(self.credit, 0), max(self.credit_bytes, 0)
        return replace(self.command, req=None, credit=credit, credit_bytes=size)

    def as_frames(self) -> list[bytes]:
        command = self.renewed()
        header: dict[str, Any] = {
            "v": VERSION,
            "cmd": "consume",
            "queue": command.queue,
            "consumer": command.consumer,
            "credit": command.credit,
            "credit_bytes": command.credit_bytes,
            "auto_ack": command.auto_ack,
            "concurrency": command.concurrency,
        }
        if command.priority != CONSUMER_PRIORITY_DEFAULT:
            header["priority"] = command.priority
        if command.lease_ms is not None:
            header["lease_ms"] = command.lease_ms
        if command.selector is not None:
            header["selector"] = command.selector.as_wire()
        return [msgpack.packb(header)]


class Forwarding:
    def __init__(
        self, me: str, peers: Peers, steering: Steering, sessions: Sessions, order: PutOrder
    ) -> None:
        self._me = me
        self._peers = peers
        self._steering = steering
        self._sessions = sessions
        self._order = order
        #: broker -> (session id, request) -> what was asked
        self._pending: dict[str, dict[tuple[bytes, int], _Pending]] = {}
        #: slot -> the broker to which its commands went last
        self._used: dict[int, str] = {}
        #: session id -> consumer number -> where it is
        self._placed: dict[bytes, dict[int, Placed]] = {}
        #: broker -> sessions that it has met
        self._met: dict[str, dict[bytes, None]] = {}
        #: When the consumers that are placed nowhere are looked at again.
        self._place_at = 0
        self._has_unplaced = False
        #: Replies as they came, for (peer, frames) of clients here.
        self.raw: list[tuple[bytes, list[bytes]]] = []
        self.replies: list[Reply] = []

    # From clients

    def placed(self, session: Session, number: int) -> Placed | None:
        placed = self._placed.get(session.id, {}).get(number)
        return None if placed is None or placed.is_cancelled else placed

    def forward(
        self, session: Session, command: commands.Command, frames: list[bytes], slot: int, now: int
    ) -> None:
        """Passes a command on to the slot's primary; raises NotPrimary when none is known."""
        if isinstance(command, commands.Credit | commands.Cancel):
            self._to_placed(session, command, frames, slot)
            return
        self.follow_primary(slot, now)
        broker = self._find_primary(slot, now)
        if isinstance(command, commands.Consume):
            self.require_free(session, command.consumer)
            placed = self._placed.setdefault(session.id, {})
            placed[command.consumer] = Placed(command, slot, broker)
        elif isinstance(command, commands.Ack | commands.Nack | commands.Reject):
            self._note_credit(session, command)
        self._used[slot] = broker
        self._send(session, command, frames, slot, broker)

    def follow_primary(self, slot: int, now: int) -> None:
        """A slot has another primary: nothing goes there before what is with the former one is
        told to be unknown, or a producer's batches would change places."""
        former, primary = self._used.get(slot), self._steering.primary_of(slot)
        if former is None or not primary or former == primary:
            return
        del self._used[slot]
        pending = self._pending.get(former, {})
        asked = {key: pending.pop(key) for key in list(pending) if pending[key].slot == slot}
        self._tell_lost(former, asked, now, "the slot has another primary")

    def require_free(self, session: Session, number: int) -> None:
        """Raises ConsumerExists for a number that the session uses, wherever it does."""
        if number in session.consumers or self.placed(session, number) is not None:
            raise ConsumerExists(f"this session already has a consumer {number}")

    def _find_primary(self, slot: int, now: int) -> str:
        broker = self._steering.primary_of(slot)
        if not broker or broker == self._me or not self._peers.is_up(broker, now):
            raise NotPrimary("the slot has no primary that can be reached")
        return broker

    def _to_placed(
        self,
        session: Session,
        command: commands.Credit | commands.Cancel,
        frames: list[bytes],
        slot: int,
    ) -> None:
        placed = self._placed[session.id][command.consumer]
        if isinstance(command, commands.Credit):
            placed.add_credit(command.messages, command.bytes)
        else:
            placed.is_cancelled = True
        if placed.broker:
            self._send(session, command, frames, slot, placed.broker)
        elif command.req is not None:
            self.replies.append(ok(session.peer, command.req))
        if placed.is_cancelled and (not placed.broker or command.req is None):
            del self._placed[session.id][command.consumer]

    def _note_credit(self, session: Session, command: commands.Settle) -> None:
        if command.consumer is not None:
            placed = self.placed(session, command.consumer)
            if placed is not None:
                placed.add_credit(command.credit, command.credit_bytes)

    def _send(
        self,
        session: Session,
        command: commands.Command,
        frames: list[bytes],
        slot: int,
        broker: str,
    ) -> None:
        if command.req is not None:
            cancels = command.consumer if isinstance(command, commands.Cancel) else None
            pending = self._pending.setdefault(broker, {})
            pending[session.id, command.req] = _Pending(
                type(command), _changes(command), slot, place_of(command), cancels
            )
        self._met.setdefault(broker, {})[session.id] = None
        self._peers.post(broker, Forward(session.id, session.resumes, frames))

    def take_over(self, session: Session, consumer: Consumer, queue: str) -> None:
        """A consumer whose queue this broker served until now; it is placed anew."""
        command = commands.Consume(
            queue=queue,
            consumer=consumer.number,
            credit=consumer.credit,
            credit_bytes=consumer.credit_bytes,
            lease_ms=consumer.lease_ms,
            auto_ack=consumer.auto_ack,
            concurrency=consumer.concurrency,
            priority=consumer.priority,
            selector=consumer.selector,
        )
        placed = Placed(command, consumer.place[0], "")
        self._has_unplaced = True
        self._placed.setdefault(session.id, {})[consumer.number] = placed

    def end_session(self, session: Session, charge: bool) -> None:
        self._placed.pop(session.id, None)
        for broker, met in self._met.items():
            if session.id in met:
                del met[session.id]
                self._peers.post(broker, SessionEnded(session.id, charge))
        for pending in self._pending.values():
            for key in [key for key in pending if key[0] == session.id]:
                del pending[key]

    # From brokers

    def take_answer(self, broker: str, message: Answer) -> None:
        """A reply of another broker to a client here."""
        session = self._sessions.of_id(message.session)
        if session is None:
            return
        header = msgpack.unpackb(message.raw[0])
        req = header.get("req")
        if req is not None:
            asked = self._pending.get(broker, {}).pop((session.id, req), None)
            if asked is None:
                return
            if asked.cancels is not None:
                self._drop_cancelled(session.id, asked.cancels)
            elif asked.kind is commands.Consume and header["re"] == "failed":
                self._drop_refused(session, broker, req)
        elif "consumer" in header and not self._is_for_consumer(session, broker, header):
            return
        if session.id == INNER_SESSION:
            self.replies.append(Reply(session.peer, header))
        else:
            self.raw.append((session.peer, message.raw))

    def _drop_cancelled(self, session_id: bytes, number: int) -> None:
        """Its number may have been given to another consumer meanwhile."""
        placed = self._placed.get(session_id, {})
        if number in placed and placed[number].is_cancelled:
            del placed[number]

    def _drop_refused(self, session: Session, broker: str, req: int) -> None:
        placed = self._placed.get(session.id, {})
        for number in [n for n, p in placed.items() if p.command.req == req]:
            del placed[number]

    def _is_for_consumer(self, session: Session, broker: str, header: dict[str, Any]) -> bool:
        """Keeps the account of a placed consumer; False for what it must not see."""
        number = header["consumer"]
        placed = self._placed.get(session.id, {}).get(number)
        is_refused = header["re"] == "failed" and header.get("cmd") == "consume"
        if placed is None or placed.broker != broker:
            return header["re"] != "messages" and not is_refused
        if header["re"] == "messages":
            epoch = decode_tag(header["tag"]).epoch
            if epoch < placed.epoch:
                return False
            placed.epoch = epoch
            placed.credit -= sum(run["count"] for run in header["runs"])
            placed.credit_bytes -= header["bytes"]
        elif header["re"] == "cancelled":
            del self._placed[session.id][number]
        elif is_refused:
            if header["error"] in _PASSING:
                placed.broker = ""
                self._has_unplaced = True
                return False
            del self._placed[session.id][number]
        return True

    def break_stream(self, broker: str, now: int) -> None:
        """What was under way to or from a broker is lost."""
        asked = self._pending.pop(broker, {})
        self._tell_lost(broker, asked, now, "the way to the slot's primary was cut")
        self._met.pop(broker, None)
        for placed in self._placed.values():
            for consumer in placed.values():
                if consumer.broker == broker:
                    consumer.broker = ""
                    self._has_unplaced = True

    def _tell_lost(
        self, broker: str, lost: dict[tuple[bytes, int], _Pending], now: int, why: str
    ) -> None:
        for (session_id, req), asked in lost.items():
            session = self._sessions.of_id(session_id)
            if session is None:
                continue
            error: MsgQueueError = NotPrimary(why)
            if asked.is_changing:
                error = OutcomeUnknown(why)
            if asked.put is not None:
                producer, queue, sequence = asked.put
                self._order.note_refused(producer, queue, sequence, now)
            if asked.cancels is not None:
                # The consumer ended with the way to it.
                self._drop_cancelled(session_id, asked.cancels)
                self.replies.append(ok(session.peer, req))
                continue
            if asked.kind is commands.Consume:
                self._drop_refused(session, broker, req)
            self.replies.append(failed(session.peer, req, error))

    # Placing

    def place(self, now: int) -> list[tuple[Session, Placed]]:
        """Puts consumers to where their queues are served now; gives those that are served here."""
        here: list[tuple[Session, Placed]] = []
        if now < self._place_at:
            return here
        self._place_at = now + PLACE_EVERY
        self._has_unplaced = False
        for session_id, consumers in self._placed.items():
            for placed in consumers.values():
                primary = self._steering.primary_of(placed.slot)
                if placed.is_cancelled:
                    continue
                self._has_unplaced = self._has_unplaced or placed.broker != primary
                if not primary or placed.broker == primary or now < placed.retry_at:
                    continue
                session = self._sessions.of_id(session_id)
                assert session is not None, "the consumers of a session end with it"
                if primary == self._me:
                    here.append((session, placed))
                elif self._peers.is_up(primary, now):
                    placed.broker = primary
                    placed.retry_at = now + PLACE_RETRY
                    self._met.setdefault(primary, {})[session_id] = None
                    message = Forward(session_id, session.resumes, placed.as_frames())
                    self._peers.post(primary, message)
        return here

    def next_place_at(self) -> int | None:
        return self._place_at if self._has_unplaced else None

    def remove_placed(self, session: Session, number: int) -> None:
        """The consumer is served here from now on."""
        self._placed.get(session.id, {}).pop(number, None)
