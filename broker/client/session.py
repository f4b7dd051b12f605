"""One client's whole conversation with brokers, without a socket, a clock or a thread.

Owns the parts and their order after a reconnect.  It never waits.  A shell feeds it replies and
the time (integer milliseconds that never fall), sends what is in ``outgoing``, keeps a socket
to ``connection.address`` for each ``connection.number``, and calls ``tick`` when ``next_at``
has come.

Law: the order on a new connection is: take the held messages again, settle, consume, the other
requests, the unconfirmed puts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from broker.client.codec import Frames, Reply, decode_reply
from broker.client.connection import Connection, Draw
from broker.client.consumers import Consumers
from broker.client.counters import Counters
from broker.client.delivery import TAKEN, Run, read_runs
from broker.client.exchange import Exchange
from broker.client.outcome import Outcome
from broker.client.puts import PutOptions, Puts
from broker.client.requests import Request, Requests
from broker.client.settles import Settles
from broker.errors import ConnectionLost, MsgQueueError, NoSession, NotAnEnvelope
from broker.limits import BATCH_COUNT_DEFAULT, MIB, SESSION_TIMEOUT_DEFAULT

PRODUCER_BYTES = 16
#: How long the end of a client may take: to confirm what is on its way, to answer the bye.
CLOSE_S = 10.0
BYE_S = 1.0


@dataclass(slots=True)
class SessionOptions:
    addresses: list[str]
    name: str = "python"
    session_timeout_ms: int = SESSION_TIMEOUT_DEFAULT
    linger_ms: int = 5
    batch_count: int = BATCH_COUNT_DEFAULT
    unconfirmed_bytes_max: int = 64 * MIB
    put_timeout_ms: int | None = None
    retried: frozenset[str] = field(default_factory=frozenset)
    #: Failed puts that nobody waits for become troubles, instead of being kept for a raise.
    tells_failed_puts: bool = False


class Session:
    def __init__(self, options: SessionOptions, draw: Draw) -> None:
        self.counters = Counters()
        #: Errors that belong to nobody who waits; the shell tells the application.
        self.troubles: list[MsgQueueError] = []
        self._exchange = Exchange()
        self.connection = Connection(
            self._exchange, options.addresses, options.name, options.session_timeout_ms, draw
        )
        self.settles = Settles(self._exchange, self.counters, self.troubles, options.linger_ms)
        self.consumers = Consumers(self._exchange, self.settles, self.counters)
        self.requests = Requests(self._exchange, self._take_messages)
        self.puts = Puts(
            self._exchange,
            self.counters,
            PutOptions(
                options.batch_count,
                options.unconfirmed_bytes_max,
                options.linger_ms,
                options.put_timeout_ms,
                options.retried,
            ),
            draw(PRODUCER_BYTES),
            self.troubles if options.tells_failed_puts else None,
        )

    @property
    def outgoing(self) -> deque[Frames]:
        return self._exchange.outgoing

    @property
    def unconfirmed(self) -> list[Outcome]:
        """What is sent, or waits to be sent, and not confirmed yet."""
        return [*self.settles.unconfirmed, *self.puts.unconfirmed]

    def require_confirmed(self) -> None:
        """For the end of a client: raises when anything is still on its way."""
        self.puts.flush()
        left = len(self.unconfirmed)
        if left:
            trouble = self.connection.trouble or "no answer"
            raise ConnectionLost(f"closed with {left} batches or settles unconfirmed: {trouble}")

    def receive(self, frames: Frames, now: int) -> None:
        """Takes one multipart that came on the present connection."""
        try:
            self._receive(decode_reply(frames), now)
        except (NotAnEnvelope, KeyError, TypeError, ValueError, AttributeError) as error:
            # What contradicts the protocol cannot be answered; a new session can repair it.
            self.counters.replies_broken += 1
            self.connection_lost(now, f"a reply that is none: {error!r}")

    def connection_lost(self, now: int, why: str) -> None:
        """The socket, its silence or its content says that this connection is of no use."""
        self.connection.lost(now, why)
        self.puts.connection_lost()
        self.settles.connection_lost()

    def tick(self, now: int) -> None:
        reason = self.connection.tick(now)
        if reason is not None:
            self.connection_lost(now, reason)
        self.puts.tick(now)
        self.settles.tick(now)
        self.consumers.tick(now)
        self.requests.tick(now)

    def next_at(self) -> int | None:
        """When ``tick`` is next needed."""
        parts = (self.connection, self.puts, self.settles, self.consumers, self.requests)
        return min((at for part in parts if (at := part.next_at()) is not None), default=None)

    def flush(self) -> None:
        """Sends all that is gathered."""
        self.puts.flush()
        self.settles.flush()

    def say_bye(self, now: int) -> Request:
        return self.requests.ask({"cmd": "bye"}, now)

    def _receive(self, reply: Reply, now: int) -> None:
        self.connection.heard(now)
        if reply.name == "closed" or isinstance(reply.error(), NoSession):
            error = reply.error()
            self.connection_lost(now, error.text if error else "the session was closed")
            return
        if reply.req is not None:
            was_open = self.connection.is_open
            self._exchange.answer(reply, now)
            if self.connection.is_open and not was_open:
                self._resume(now)
        elif reply.name == "messages":
            self.consumers.delivered(reply)
        elif reply.name == "cancelled":
            self.consumers.cancelled(reply)
        elif reply.name == "failed":
            self._failed(reply)

    def _resume(self, now: int) -> None:
        self.counters.sessions += 1
        self.settles.resend_all()
        self.consumers.resume_all()
        self.requests.resend_all(now)
        self.puts.resend_all()

    def _failed(self, reply: Reply) -> None:
        """Only credit is sent without a number; it may cross with the end of its consumer."""
        error = reply.error()
        if error is not None and self.consumers.knows(reply.header.get("consumer")):
            self.troubles.append(error)

    def _take_messages(self, request: Request, reply: Reply) -> list[Run]:
        """The runs of a get; what nobody waits for any more goes back free."""
        header: dict[str, Any] = reply.header
        if not header["runs"]:
            return []
        lease_ms = request.fields.get("lease_ms")
        ledger = self.settles.ledger(header["queue"], header["tag"], None, lease_ms)
        runs = read_runs(reply, ledger)
        self.counters.messages_delivered += sum(run.count for run in runs)
        if request.fields.get("auto_ack", False):
            for run in runs:
                run.marks[:] = bytes((TAKEN,)) * run.count
            if request.is_abandoned:
                self.counters.messages_unseen += sum(run.count for run in runs)
        elif request.is_abandoned:
            self.settles.give_back(ledger, [held for run in runs for held in run.held()])
        else:
            ledger.runs.update(runs)
        return runs
