"""One client's whole conversation with brokers, without a socket, a clock or a thread.

Owns the parts and their order after a reconnect.  It never waits.  A shell feeds it replies and
the time (integer milliseconds that never fall), and calls ``tick`` when ``next_at`` has come.
For each of ``lines`` it sends what is in ``exchange.outgoing`` and keeps a socket to
``connection.address`` for each ``connection.number``.

Law: the order in which queues begin anew, on a new connection or at another broker, is: take the
held messages again, settle, transact, consume, the other requests, serve, call, the unconfirmed
puts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from broker.client.channels.subscriptions import Subscriptions
from broker.client.codec import Frames, Reply, decode_reply
from broker.client.connection import Connection, Draw
from broker.client.consumers import Consumers
from broker.client.counters import Counters
from broker.client.delivery import TAKEN, Run, read_runs
from broker.client.directory import Directory
from broker.client.ledger import GIVE_BACK
from broker.client.line import Line
from broker.client.named_puts import NamedProducer, instance_of
from broker.client.outcome import Outcome
from broker.client.partitions import KnownPartitions
from broker.client.puts import PutOptions, Puts
from broker.client.requests import Request, Requests
from broker.client.routes import Route
from broker.client.routing import Routing
from broker.client.services.calling import Calling
from broker.client.services.serving import Serving
from broker.client.settles import Settles
from broker.client.transactions import Transactions
from broker.errors import (
    ConnectionLost,
    MsgQueueError,
    NoSession,
    NotAnEnvelope,
    NotPrimary,
    OutcomeUnknown,
    ShuttingDown,
)
from broker.limits import BATCH_COUNT_DEFAULT, MIB, SESSION_TIMEOUT_DEFAULT

if TYPE_CHECKING:
    from broker.client.exchange import Exchange

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
    #: The name of a producer that outlives this client, and when this instance of it started.
    producer: str | None = None
    started_at_ms: int = 0


class Session:
    def __init__(self, options: SessionOptions, draw: Draw) -> None:
        self.counters = Counters()
        #: Errors that belong to nobody who waits; the shell tells the application.
        self.troubles: list[MsgQueueError] = []
        self._directory = Directory()

        def make_line(broker: str, addresses: list[str]) -> Line:
            return Line(broker, addresses, options.name, options.session_timeout_ms, draw)

        self._routing = Routing(
            make_line, options.addresses, self._directory, draw, self._resume, self._is_bound
        )
        routes = self._routing.routes
        self.settles = Settles(
            routes, self._directory, self.counters, self.troubles, options.linger_ms
        )
        self.requests = Requests(routes, self._take_messages)
        self.partitions = KnownPartitions(self.requests.ask)
        self.consumers = Consumers(routes, self.settles, self.counters, self.partitions)
        self.puts = Puts(
            routes,
            self.counters,
            PutOptions(
                options.batch_count,
                options.unconfirmed_bytes_max,
                options.linger_ms,
                options.put_timeout_ms,
                options.retried,
            ),
            self.partitions,
            draw(PRODUCER_BYTES),
            self.troubles if options.tells_failed_puts else None,
            _named_producer(options, draw),
        )
        self.transactions = Transactions(
            self.settles, self.consumers, self.counters, self.troubles, draw
        )
        self.serving = Serving(routes, self.counters)
        self.calling = Calling(routes, self.counters)
        self.subscriptions = Subscriptions(
            routes, self.requests, self.counters, self._directory, draw, self._find_channels
        )
        self._parts = (
            self._routing,
            self.puts,
            self.settles,
            self.consumers,
            self.requests,
            self.transactions,
            self.serving,
            self.calling,
            self.subscriptions,
        )
        #: As of the last tick: others want to be connected.
        self._ticked_lines: tuple[Line, ...] = ()

    @property
    def lines(self) -> tuple[Line, ...]:
        """What the shell keeps sockets for; another tuple whenever it changes."""
        return self._routing.lines

    @property
    def connection(self) -> Connection:
        """The connection to the first broker that answered; there is one of its kind always."""
        return self._routing.entry.connection

    @property
    def is_connected(self) -> bool:
        return any(line.connection.is_open for line in self.lines)

    @property
    def wants_turn(self) -> bool:
        """True when there is anything to send, or anybody to connect to."""
        lines = self._routing.lines
        if lines is not self._ticked_lines or self.subscriptions.hearing.has_changed:
            return True
        return any(line.exchange.outgoing for line in lines)

    @property
    def is_owed_answers(self) -> bool:
        """True while it matters in a second, and not only in many, that nothing is heard."""
        return self._routing.is_owed_answers

    @property
    def unconfirmed(self) -> list[Outcome]:
        """What is sent, or waits to be sent, and not confirmed yet."""
        return [
            *self.settles.unconfirmed,
            *self.transactions.unconfirmed,
            *self.puts.unconfirmed,
        ]

    def require_confirmed(self) -> None:
        """For the end of a client: raises when anything is still on its way."""
        self.puts.flush()
        # What nobody looked at comes back with the end of the session in any case.
        given_back = sum(settle.kind is GIVE_BACK for settle in self.settles.unconfirmed)
        left = len(self.unconfirmed) - given_back
        if left:
            trouble = self.connection.trouble or "no answer"
            raise ConnectionLost(f"closed with {left} batches or settles unconfirmed: {trouble}")

    def receive(self, line: Line, frames: Frames, now: int) -> None:
        """Takes one multipart that came on the present connection of ``line``."""
        try:
            self._receive(line, decode_reply(frames), now)
        except (NotAnEnvelope, KeyError, TypeError, ValueError, AttributeError) as error:
            # What contradicts the protocol cannot be answered; a new session can repair it.
            self.counters.replies_broken += 1
            self.line_lost(line, now, f"a reply that is none: {error!r}")

    def line_lost(self, line: Line, now: int, why: str) -> None:
        """The socket, its silence or its content says that this connection is of no use."""
        line.connection.lost(now, why)
        self.puts.connection_lost(line.exchange)
        self.consumers.connection_lost(line.exchange)
        self.settles.connection_lost(line.exchange)
        self.transactions.connection_lost(line.exchange)
        self.serving.connection_lost(line.exchange)
        self.calling.connection_lost(line.exchange)
        self.subscriptions.connection_lost(line.exchange)
        self._routing.lost(line, now)

    def connection_lost(self, now: int, why: str) -> None:
        """As ``line_lost``, of all lines: nobody knows which of them is harmed."""
        for line in self.lines:
            self.line_lost(line, now, why)

    def tick(self, now: int) -> None:
        self._ticked_lines = lines = self._routing.lines
        for line in lines:
            reason = line.connection.tick(now)
            if reason is not None:
                self.line_lost(line, now, reason)
        for part in self._parts:
            part.tick(now)

    def next_at(self) -> int | None:
        """When ``tick`` is next needed."""
        return min((at for part in self._parts if (at := part.next_at()) is not None), default=None)

    def flush(self) -> None:
        """Sends all that is gathered."""
        self.puts.flush()
        self.settles.flush()

    def close(self) -> None:
        for line in self.lines:
            line.connection.close()

    def say_bye(self, now: int) -> list[Request]:
        return [
            self.requests.ask({"cmd": "bye"}, now, way=line) for line in self.lines if line.is_ready
        ]

    def _receive(self, line: Line, reply: Reply, now: int) -> None:
        connection = line.connection
        connection.heard(now)
        error = reply.error()
        if reply.name == "closed" or isinstance(error, NoSession):
            self.line_lost(line, now, error.text if error else "the session was closed")
            return
        if isinstance(error, NotPrimary | OutcomeUnknown | ShuttingDown):
            self._routing.doubt()
        elif self._directory.is_known and self._directory.is_behind(reply.header):
            self._routing.doubt()  # Whoever was asked has passed it on to a new owner.
        if reply.req is not None:
            was_open = connection.is_open
            line.exchange.answer(reply, now)
            if connection.is_open and not was_open:
                self.counters.sessions += 1
                self._routing.opened(line, now)
        elif reply.name == "messages":
            if self._directory.see(reply.header["tag"]):
                self.consumers.delivered(reply, line.exchange)
            else:
                self._count_stale(reply)
        elif reply.name == "heads":
            self.subscriptions.heads(reply, now)
        elif reply.name == "request":
            self.serving.requested(reply, line.exchange)
        elif reply.name == "call_cancelled":
            self.serving.cancelled(reply, line.exchange)
        elif reply.name == "cancelled":
            self.consumers.cancelled(reply, line.exchange, now)
        elif reply.name == "failed":
            self._failed(reply, now)

    def _resume(self, routes: set[Route], now: int) -> None:
        self.settles.resume(routes)
        self.transactions.resume(routes)
        self.consumers.resume(routes, now)
        self.requests.resume(routes, now)
        self.serving.resume(routes)
        self.calling.resume(routes, now)
        self.puts.resume(routes)
        self.subscriptions.resume(routes, now)

    def _find_channels(self, exchange: Exchange) -> list[str]:
        """Where the XPUB of the broker at the other end is."""
        for line in self.lines:
            if line.exchange is exchange:
                return line.connection.channels
        return []

    def _is_bound(self, exchange: Exchange) -> bool:
        parts = (self.settles, self.requests, self.serving, self.calling)
        return any(part.is_bound(exchange) for part in parts)

    def _count_stale(self, reply: Reply) -> None:
        self.counters.messages_stale += sum(run["count"] for run in reply.header["runs"])

    def _failed(self, reply: Reply, now: int) -> None:
        """Only credit, and what workers say of their requests, is sent without a number."""
        error = reply.error()
        if reply.header.get("cmd") in ("answer", "fail"):
            self.counters.answers_unwanted += 1
            return
        number = reply.header.get("consumer")
        if error is not None and self.consumers.credit_refused(number, error, now):
            self.troubles.append(error)

    def _take_messages(
        self, request: Request, reply: Reply, exchange: Exchange
    ) -> list[Run] | None:
        """The runs of a get, or None when they are no good.

        What nobody waits for any more goes back free.
        """
        header: dict[str, Any] = reply.header
        if not header["runs"]:
            return []
        if not self._directory.see(header["tag"]):
            self._count_stale(reply)
            return None
        route = self._routing.routes.find(header["queue"])
        lease_ms = request.fields.get("lease_ms")
        ledger = self.settles.ledger(route, exchange, header["tag"], None, lease_ms)
        runs = read_runs(reply, ledger)
        self.counters.messages_delivered += sum(run.count for run in runs)
        is_unwanted = request.is_abandoned or request.done
        if request.fields.get("auto_ack", False):
            for run in runs:
                run.marks[:] = bytes((TAKEN,)) * run.count
            if is_unwanted:
                self.counters.messages_unseen += sum(run.count for run in runs)
        elif is_unwanted:
            self.settles.give_back(ledger, [held for run in runs for held in run.held()])
        else:
            ledger.runs.update(runs)
        return runs


def _named_producer(options: SessionOptions, draw: Draw) -> NamedProducer | None:
    if options.producer is None:
        return None
    return NamedProducer(options.producer, instance_of(options.started_at_ms, draw(3)))
