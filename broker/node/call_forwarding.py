"""Calls and workers of this broker's clients for services that other brokers have.

Owns the calls that were forwarded and are not over, with their deadlines, and the workers that are
placed elsewhere.  Law: a forwarded call ends at its deadline whatever becomes of its way: by its
owner's word or, where none comes in time, here.  Of two words the first is told, the other dropped.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any, NamedTuple

import msgpack

from broker.cluster.messages import Answer, Forward, SessionEnded
from broker.core.session import Session
from broker.core.sessions import Sessions
from broker.errors import (
    DeadlinePassed,
    MsgQueueError,
    NotPrimary,
    OutcomeUnknown,
    ShuttingDown,
    WorkerExists,
)
from broker.limits import PLACE_EVERY, PLACE_RETRY
from broker.model import service_commands as commands
from broker.model.commands import Command
from broker.model.replies import Reply, failed, ok
from broker.node.forwarding import Forwarding
from broker.node.peers import Peers
from broker.node.steering import Steering
from broker.protocol.commands import VERSION

#: Refusals after which a placed worker is placed again.
_PASSING = {NotPrimary.name, OutcomeUnknown.name, ShuttingDown.name, "not_enough_replicas"}

#: (session id, request)
_Key = tuple[bytes, int]


class _Asked(NamedTuple):
    #: Tells this request from others of the same key.
    number: int
    kind: type[Command]
    slot: int
    service: str
    worker: int | None


class Placed:
    """A worker of a client here whose service another broker has: ``broker``, or "" for now."""

    __slots__ = ("broker", "is_leaving", "retry_at", "serve", "slot", "was_given")

    def __init__(self, serve: commands.Serve, slot: int, broker: str) -> None:
        self.serve = serve
        self.slot = slot
        self.broker = broker
        self.retry_at = 0
        self.is_leaving = False
        #: True when it may have calls in hand that it was given where it was placed last.
        self.was_given = False

    def as_frames(self) -> list[bytes]:
        serve = self.serve
        header = {
            "v": VERSION,
            "cmd": "serve",
            "service": serve.service,
            "worker": serve.worker,
            "concurrency": serve.concurrency,
        }
        return [msgpack.packb(header)]


class CallForwarding:
    """``forwarding`` takes what is for clients here."""

    def __init__(
        self,
        me: str,
        peers: Peers,
        steering: Steering,
        sessions: Sessions,
        forwarding: Forwarding,
    ) -> None:
        self._me = me
        self._peers = peers
        self._steering = steering
        self._sessions = sessions
        self._out = forwarding
        #: broker -> what it was asked and has not answered
        self._pending: dict[str, dict[_Key, _Asked]] = {}
        #: heap of (deadline, number, broker, key); those that are over leave it late
        self._deadlines: list[tuple[int, int, str, _Key]] = []
        self._number = 0
        #: session id -> worker number -> where it is
        self._placed: dict[bytes, dict[int, Placed]] = {}
        #: session id -> the brokers that have met it; only these have answers for it
        self._met: dict[bytes, dict[str, None]] = {}
        self._place_at = 0
        self._has_unplaced = False

    # From clients

    def placed(self, session: Session, number: int) -> Placed | None:
        placed = self._placed.get(session.id, {}).get(number)
        return None if placed is None or placed.is_leaving else placed

    def require_free(self, session: Session, number: int) -> None:
        """Raises WorkerExists for a number that the session uses, wherever it does."""
        if number in session.workers or number in self._placed.get(session.id, {}):
            raise WorkerExists(f"this session already has a worker {number}")

    def forward(
        self, session: Session, command: Command, frames: list[bytes], slot: int, now: int
    ) -> None:
        """Passes a command on to the slot's primary; raises NotPrimary when none is known."""
        if isinstance(command, commands.Unserve):
            self._forward_unserve(session, command, frames, slot)
            return
        broker = self._find_primary(slot, now)
        assert isinstance(command, commands.OfService)
        if isinstance(command, commands.Serve):
            self.require_free(session, command.worker)
            placed = self._placed.setdefault(session.id, {})
            placed[command.worker] = Placed(command, slot, broker)
        asked = self._send(session, command, frames, slot, broker)
        if isinstance(command, commands.Call) and asked is not None:
            ends_at = now + command.timeout_ms
            heappush(
                self._deadlines, (ends_at, asked.number, broker, (session.id, command.req or 0))
            )

    def _find_primary(self, slot: int, now: int) -> str:
        broker = self._steering.primary_of(slot)
        if not broker or broker == self._me or not self._peers.is_up(broker, now):
            raise NotPrimary("the slot has no primary that can be reached")
        return broker

    def _forward_unserve(
        self, session: Session, command: commands.Unserve, frames: list[bytes], slot: int
    ) -> None:
        placed = self._placed[session.id][command.worker]
        placed.is_leaving = True
        if placed.broker and command.req is not None:
            self._send(session, command, frames, slot, placed.broker)
            return
        if placed.broker:
            self._send(session, command, frames, slot, placed.broker)
        elif command.req is not None:
            self._out.replies.append(ok(session.peer, command.req))
        del self._placed[session.id][command.worker]

    def _send(
        self, session: Session, command: Command, frames: list[bytes], slot: int, broker: str
    ) -> _Asked | None:
        asked = None
        if command.req is not None:
            self._number += 1
            service = getattr(command, "service", "")
            worker = getattr(command, "worker", None)
            asked = _Asked(self._number, type(command), slot, service, worker)
            self._pending.setdefault(broker, {})[session.id, command.req] = asked
        self._met.setdefault(session.id, {})[broker] = None
        self._peers.post(broker, Forward(session.id, session.resumes, frames))
        return asked

    def take_over(self, session: Session, serve: commands.Serve, slot: int) -> None:
        """A worker whose service this broker had until now; it is placed anew."""
        placed = Placed(serve, slot, "")
        placed.was_given = True
        self._placed.setdefault(session.id, {})[serve.worker] = placed
        self._tell_moved(session, placed)

    def end_session(self, session: Session) -> None:
        self._placed.pop(session.id, None)
        for broker in self._met.pop(session.id, ()):
            self._peers.post(broker, SessionEnded(session.id, False))
            pending = self._pending.get(broker, {})
            for key in [key for key in pending if key[0] == session.id]:
                del pending[key]

    # From brokers

    def take_answer(self, broker: str, message: Answer) -> bool:
        """A reply of another broker to a client here; False for one that is not of a service."""
        session_id = message.session
        if session_id not in self._met:
            return False
        session = self._sessions.of_id(session_id)
        assert session is not None, "what a session has asked ends with it"
        header = msgpack.unpackb(message.raw[0])
        req = header.get("req")
        if req is not None:
            if not self._is_asked(broker, session, req, header):
                return False
        elif "worker" not in header:
            return False
        elif not self._is_for_worker(broker, session, header):
            return True
        self._out.raw.append((session.peer, message.raw))
        return True

    def _is_asked(self, broker: str, session: Session, req: int, header: dict[str, Any]) -> bool:
        pending = self._pending.get(broker, {})
        asked = pending.get((session.id, req))
        if asked is None:
            return False
        if header.get("end") is not False:
            del pending[session.id, req]
        is_refused = asked.kind is commands.Serve and header["re"] == "failed"
        if asked.worker is not None and (is_refused or asked.kind is commands.Unserve):
            self._placed.get(session.id, {}).pop(asked.worker, None)
        return True

    def _is_for_worker(self, broker: str, session: Session, header: dict[str, Any]) -> bool:
        """Keeps the account of a placed worker; False for what it must not see."""
        workers = self._placed.get(session.id, {})
        placed = workers.get(header["worker"])
        is_refused = header["re"] == "failed" and header.get("cmd") == "serve"
        if placed is None or placed.broker != broker:
            # Of a reign that is over for the worker: its calls were ended with it.
            return header["re"] == "failed" and not is_refused
        if is_refused:
            if header["error"] in _PASSING:
                self._displace(session, placed)
                return False
            del workers[header["worker"]]
        elif header["re"] == "request":
            placed.was_given = True
        return True

    def _displace(self, session: Session, placed: Placed) -> None:
        placed.broker = ""
        if placed.is_leaving:
            # It wanted no more; the answer to that is on its way or told by who lost it.
            self._placed[session.id].pop(placed.serve.worker, None)
        self._tell_moved(session, placed)

    def _tell_moved(self, session: Session, placed: Placed) -> None:
        """Nobody waits for what the worker was given before."""
        self._has_unplaced = True
        if not placed.was_given:
            return
        placed.was_given = False
        header = {
            "re": "call_cancelled",
            "service": placed.serve.service,
            "worker": placed.serve.worker,
            "reason": "moved",
        }
        self._out.replies.append(Reply(session.peer, header))

    def break_stream(self, broker: str) -> None:
        """What was under way to or from a broker is lost."""
        self._tell_lost(self._pending.pop(broker, {}), "the way to the slot's primary was cut")
        for met in self._met.values():
            met.pop(broker, None)
        for session_id, workers in self._placed.items():
            session = self._sessions.of_id(session_id)
            assert session is not None, "the workers of a session end with it"
            for placed in [p for p in workers.values() if p.broker == broker]:
                self._displace(session, placed)

    def _tell_lost(self, lost: dict[_Key, _Asked], why: str) -> None:
        for (session_id, req), asked in lost.items():
            session = self._sessions.of_id(session_id)
            assert session is not None, "what a session has asked ends with it"
            error: MsgQueueError = NotPrimary(why)
            if asked.kind is commands.Call:
                error = OutcomeUnknown(why)
            elif asked.kind is commands.Unserve:
                self._out.replies.append(ok(session.peer, req))
                continue
            elif asked.kind is commands.Serve and asked.worker is not None:
                self._placed.get(session_id, {}).pop(asked.worker, None)
            self._out.replies.append(failed(session.peer, req, error, service=asked.service))

    # What happens by itself

    def end_due(self, now: int) -> None:
        """Calls that their owner has not ended in time."""
        while self._deadlines and self._deadlines[0][0] <= now:
            _, number, broker, key = heappop(self._deadlines)
            pending = self._pending.get(broker, {})
            asked = pending.get(key)
            if asked is None or asked.number != number:
                continue
            del pending[key]
            session = self._sessions.of_id(key[0])
            assert session is not None, "what a session has asked ends with it"
            error = DeadlinePassed("no answer in time")
            self._out.replies.append(failed(session.peer, key[1], error, service=asked.service))

    def place(self, now: int) -> list[tuple[Session, commands.Serve]]:
        """Puts workers to where their services are now; gives those that are to be served here."""
        here: list[tuple[Session, commands.Serve]] = []
        if not self._placed or now < self._place_at:
            return here
        self._place_at = now + PLACE_EVERY
        self._has_unplaced = False
        for session_id, workers in self._placed.items():
            for placed in workers.values():
                primary = self._steering.primary_of(placed.slot)
                if placed.is_leaving:
                    continue
                self._has_unplaced = self._has_unplaced or placed.broker != primary
                if not primary or placed.broker == primary or now < placed.retry_at:
                    continue
                session = self._sessions.of_id(session_id)
                assert session is not None, "the workers of a session end with it"
                if primary == self._me:
                    here.append((session, placed.serve))
                elif self._peers.is_up(primary, now):
                    self._place(session, placed, primary, now)
        return here

    def _place(self, session: Session, placed: Placed, primary: str, now: int) -> None:
        if placed.broker:
            self._tell_moved(session, placed)
        placed.broker = primary
        placed.retry_at = now + PLACE_RETRY
        self._met.setdefault(session.id, {})[primary] = None
        self._peers.post(primary, Forward(session.id, session.resumes, placed.as_frames()))

    def remove_placed(self, session: Session, number: int) -> None:
        """The worker is served here from now on."""
        self._placed.get(session.id, {}).pop(number, None)

    def instants(self) -> list[int]:
        deadlines = self._deadlines
        while deadlines and not self._is_pending(deadlines[0]):
            heappop(deadlines)
        instants = [deadlines[0][0]] if deadlines else []
        return [*instants, self._place_at] if self._has_unplaced else instants

    def _is_pending(self, row: tuple[int, int, str, _Key]) -> bool:
        asked = self._pending.get(row[2], {}).get(row[3])
        return asked is not None and asked.number == row[1]
