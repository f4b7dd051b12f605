"""Commands with one answer each: declare, get, extend, stats, purge and their kin.

Owns which of them are unanswered.  It never waits.  Law: a request is asked again on every new
connection until it is answered or abandoned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.client.outcome import Outcome
from broker.errors import NotPrimary, QueueNotFound, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.client.codec import Reply
    from broker.client.exchange import Exchange

RETRY_MS = 200


class Request(Outcome):
    """``until``: for a command that waits at the broker, when it stops waiting."""

    __slots__ = ("asked_again", "fields", "is_abandoned", "until")

    def __init__(self, fields: dict[str, Any], until: int | None) -> None:
        super().__init__()
        self.fields = fields
        self.until = until
        self.asked_again = False
        self.is_abandoned = False


class Requests:
    def __init__(self, exchange: Exchange, take_messages: Callable[[Request, Reply], Any]) -> None:
        self._exchange = exchange
        #: Makes the result of a ``messages`` reply.
        self._take_messages = take_messages
        self._open: dict[Request, None] = {}
        self._refused: list[Request] = []
        self._retry_at: int | None = None

    def ask(self, fields: dict[str, Any], now: int, until: int | None = None) -> Request:
        request = Request(fields, until)
        self._open[request] = None
        if self._exchange.ready:
            self._send(request, now)
        return request

    def abandon(self, request: Request) -> None:
        """Nobody waits any more.  Messages that still come are for nobody, too."""
        request.is_abandoned = True

    def resend_all(self, now: int) -> None:
        self._refused = []
        self._retry_at = None
        self._open = {request: None for request in self._open if not request.is_abandoned}
        for request in list(self._open):
            request.asked_again = True
            self._send(request, now)

    def tick(self, now: int) -> None:
        if self._retry_at is not None and now >= self._retry_at and self._exchange.ready:
            self._retry_at = None
            refused, self._refused = self._refused, []
            for request in refused:
                if not request.is_abandoned:
                    self._send(request, now)

    def next_at(self) -> int | None:
        return self._retry_at

    def _send(self, request: Request, now: int) -> None:
        fields = request.fields
        if request.until is not None:
            fields = {**fields, "timeout_ms": max(request.until - now, 0)}

        def answered(reply: Reply, at: int) -> None:
            self._answered(request, reply, at)

        self._exchange.ask(fields, answered)

    def _answered(self, request: Request, reply: Reply, now: int) -> None:
        error = reply.error()
        if isinstance(error, ShuttingDown | NotPrimary):
            self._refused.append(request)
            self._retry_at = self._retry_at or now + RETRY_MS
            return
        self._open.pop(request, None)
        deletes = request.fields["cmd"] == "delete"
        if deletes and request.asked_again and isinstance(error, QueueNotFound):
            request.finish({"count": 0})  # The first asking did it; its answer was lost.
        elif error is not None:
            request.finish(error=error)
        elif reply.name == "messages":
            request.finish(self._take_messages(request, reply))
        else:
            request.finish(reply.header)
