"""Commands with one answer each: declare, get, extend, stats, purge and their kin.

Owns which of them are unanswered.  It never waits.  Laws:

- A request is asked again on every new connection, and at every new owner of its queue, until
  it is answered or abandoned.
- The first answer counts.  Messages in another one go back to where they came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.client.outcome import Outcome
from broker.errors import (
    ChannelNotFound,
    NotPrimary,
    OutcomeUnknown,
    QueueNotFound,
    ShuttingDown,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.client.codec import Reply
    from broker.client.delivery import Run
    from broker.client.exchange import Exchange
    from broker.client.routes import Route, Routes, Way

    #: Makes the result of a ``messages`` reply; None when it is out of date.
    TakeMessages = Callable[["Request", Reply, Exchange], list[Run] | None]

RETRY_MS = 200


class Request(Outcome):
    """``until``: for a command that waits at the broker, when it stops waiting."""

    __slots__ = (
        "asked_again",
        "epoch",
        "exchange",
        "fields",
        "is_abandoned",
        "route",
        "sendings",
        "until",
        "way",
    )

    def __init__(self, fields: dict[str, Any], until: int | None, route: Route, way: Way) -> None:
        super().__init__()
        self.fields = fields
        self.until = until
        self.route = route
        #: Where it is asked: the queue's route, or what a delivery came on.
        self.way = way
        #: Where it was asked last, in which epoch, and how often in all.
        self.exchange: Exchange | None = None
        self.epoch = 0
        self.sendings = 0
        self.asked_again = False
        self.is_abandoned = False

    @property
    def is_under_way(self) -> bool:
        """True while it is sure to be answered where it was asked, though its queue moved."""
        exchange = self.exchange
        return (
            exchange is not None
            and exchange is not self.way.exchange
            and exchange.ready
            and self.epoch == self.route.epoch
        )


class Requests:
    def __init__(self, routes: Routes, take_messages: TakeMessages) -> None:
        self._routes = routes
        self._take_messages = take_messages
        self._open: dict[Request, None] = {}
        self._refused: list[Request] = []
        self._retry_at: int | None = None

    def ask(
        self, fields: dict[str, Any], now: int, until: int | None = None, way: Way | None = None
    ) -> Request:
        route = self._routes.find(fields.get("queue") or fields.get("channel"))
        request = Request(fields, until, route, way or route)
        self._open[request] = None
        if request.way.exchange.ready:
            self._send(request, now)
        return request

    def abandon(self, request: Request) -> None:
        """Nobody waits any more.  Messages that still come are for nobody, too."""
        request.is_abandoned = True

    def is_bound(self, exchange: Exchange) -> bool:
        return any(r.exchange is exchange and not r.is_abandoned for r in self._open)

    def resume(self, routes: set[Route], now: int) -> None:
        """These queues begin anew: asks again what they have not answered."""
        concerned = [
            request
            for request in self._open
            if request.route in routes and not request.is_under_way
        ]
        self._refused = [request for request in self._refused if request not in concerned]
        for request in concerned:
            if request.is_abandoned:
                del self._open[request]
            elif request.way.exchange.ready:
                request.asked_again = request.asked_again or request.sendings > 0
                self._send(request, now)

    def tick(self, now: int) -> None:
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            refused, self._refused = self._refused, []
            for request in refused:
                if not request.is_abandoned and request.way.exchange.ready:
                    self._send(request, now)

    def next_at(self) -> int | None:
        return self._retry_at

    def _send(self, request: Request, now: int) -> None:
        fields = request.fields
        if request.until is not None:
            fields = {**fields, "timeout_ms": max(request.until - now, 0)}
        request.exchange = exchange = request.way.exchange
        request.epoch = request.route.epoch
        request.sendings += 1
        sending = request.sendings

        def answered(reply: Reply, at: int) -> None:
            self._answered(request, sending, exchange, reply, at)

        exchange.ask(fields, answered)

    def _answered(
        self, request: Request, sending: int, exchange: Exchange, reply: Reply, now: int
    ) -> None:
        error = reply.error()
        if isinstance(error, ShuttingDown | NotPrimary | OutcomeUnknown):
            if sending == request.sendings and not request.done:
                request.asked_again = request.asked_again or isinstance(error, OutcomeUnknown)
                self._ask_later(request, now)
            return
        result: Any = reply.header
        if error is None and reply.name == "messages":
            result = self._take_messages(request, reply, exchange)
            if result is None:
                self._ask_later(request, now)
                return
        elif reply.name in ("browsed", "history"):
            result = reply
        self._open.pop(request, None)
        deletes = request.fields["cmd"] in ("delete", "delete_channel")
        is_gone = isinstance(error, QueueNotFound | ChannelNotFound)
        if deletes and request.asked_again and is_gone:
            request.finish({"count": 0})  # The first asking did it; its answer was lost.
        elif error is not None:
            request.finish(error=error)
        else:
            request.finish(result)

    def _ask_later(self, request: Request, now: int) -> None:
        request.exchange = None
        self._refused.append(request)
        self._retry_at = self._retry_at or now + RETRY_MS
