"""The caller's side of a session: calls under way, each until its deadline at the latest.

Owns which of them are unanswered and what came of each.  It never waits and never decodes a body.
Laws:

- A call that no worker can have seen is sent again, on the next connection or to the next owner of
  its service, until its deadline.  What may have been carried out is sent again only when it is
  idempotent and nothing of its reply has come yet; else it ends with ResponderLost.
- The answers to the last sending count, and no others.
- A call that nobody waits for any more is cancelled at the broker.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from broker.client.outcome import Outcome
from broker.client.services.answer import Answer
from broker.errors import (
    CallCancelled,
    CallTimeout,
    DeadlinePassed,
    HandlerFailed,
    LimitReached,
    MsgQueueError,
    NoResponder,
    NotEnoughReplicas,
    NotPrimary,
    OutcomeUnknown,
    ResponderLost,
    ShuttingDown,
)
from broker.limits import PARTS_BYTES_MAX

if TYPE_CHECKING:
    from broker.client.codec import Reply
    from broker.client.counters import Counters
    from broker.client.exchange import Exchange
    from broker.client.routes import Route, Routes

RETRY_MS = 200
#: The end of a scattered call is waited for so much longer than its workers are.
GRACE_MS = 1_000
#: No worker has seen it.
_UNSEEN = (NotEnoughReplicas, NotPrimary, ShuttingDown)


class ServiceCall(Outcome):
    """Its result is the Answer, or None when the replies come one by one in ``answers``."""

    __slots__ = (
        "answers",
        "asked",
        "body",
        "buffered_bytes",
        "ends_at",
        "exchange",
        "fields",
        "has_begun",
        "in_parts",
        "req",
        "route",
        "sendings",
        "until",
    )

    def __init__(self, fields: dict[str, Any], body: bytes, until: int, route: Route) -> None:
        super().__init__()
        self.fields = fields
        self.body = body
        #: Its deadline, by the session's clock, and when even the end of what came by then is late.
        self.until = until
        self.ends_at = until + GRACE_MS if "all" in fields else until
        self.route = route
        #: Where it was sent last, under which number, and how often in all.
        self.exchange: Exchange | None = None
        self.req = 0
        self.sendings = 0
        #: True when there are several replies; what came of them and was not taken yet.
        self.in_parts = "stream" in fields or "all" in fields
        self.answers: deque[Answer] = deque()
        self.buffered_bytes = 0
        #: True once a part of the reply has come.
        self.has_begun = False
        #: How many workers were asked, of a scattered call that has come to its end.
        self.asked: int | None = None

    def take(self) -> Answer | None:
        """The next part; None when none is there.  Raises what ended the call, after the last."""
        if self.answers:
            answer = self.answers.popleft()
            self.buffered_bytes -= len(answer.raw)
            return answer
        if self.done:
            self.value()
        return None

    @property
    def has_news(self) -> bool:
        return self.done or bool(self.answers)

    @property
    def may_repeat(self) -> bool:
        """Whether it does no harm to carry it out twice."""
        return not self.has_begun and bool(self.fields.get("idempotent"))


class Calling:
    def __init__(self, routes: Routes, counters: Counters) -> None:
        self._routes = routes
        self._counters = counters
        self._open: dict[ServiceCall, None] = {}
        self._deadlines: list[tuple[int, int, ServiceCall]] = []
        self._begun = 0
        self._refused: list[ServiceCall] = []
        self._retry_at: int | None = None

    def begin(self, fields: dict[str, Any], body: bytes, until: int, now: int) -> ServiceCall:
        """``fields`` are the command without the time that is left."""
        call = ServiceCall(fields, body, until, self._routes.find(fields["service"]))
        self._open[call] = None
        self._begun += 1
        heappush(self._deadlines, (call.ends_at, self._begun, call))
        if call.route.exchange.ready:
            self._send(call, now)
        return call

    def cancel(self, call: ServiceCall, error: MsgQueueError | None = None) -> None:
        """Nobody waits any more; the broker and the worker are told."""
        if not call.done:
            self._withdraw(call)
            self._finish(call, error or CallCancelled("the caller cancelled it"))

    def is_bound(self, exchange: Exchange) -> bool:
        return any(call.exchange is exchange for call in self._open)

    def resume(self, routes: set[Route], now: int) -> None:
        """These services begin anew: sends there what may be sent (again)."""
        for call in [c for c in self._open if c.route in routes]:
            self._follow(call, now)

    def connection_lost(self, exchange: Exchange) -> None:
        for call in [c for c in self._open if c.exchange is exchange]:
            call.exchange = None
            if not call.may_repeat:
                self._finish(call, ResponderLost("the connection was lost while it was under way"))

    def tick(self, now: int) -> None:
        deadlines = self._deadlines
        while deadlines and (deadlines[0][2].done or deadlines[0][0] <= now):
            call = heappop(deadlines)[2]
            if not call.done:
                where = "" if call.sendings else ": it never reached a broker"
                self.cancel(call, CallTimeout(f"no answer to a call of {_name(call)}{where}"))
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            refused, self._refused = self._refused, []
            for call in refused:
                if not call.done and call.exchange is None and call.route.exchange.ready:
                    self._send(call, now)

    def next_at(self) -> int | None:
        deadlines = self._deadlines
        while deadlines and deadlines[0][2].done:
            heappop(deadlines)
        at = deadlines[0][0] if deadlines else None
        return at if self._retry_at is None else min(at or self._retry_at, self._retry_at)

    def _send(self, call: ServiceCall, now: int) -> None:
        left_ms = call.until - now
        if left_ms <= 0:
            return  # The tick that is due ends it.
        call.exchange = exchange = call.route.exchange
        call.sendings += 1
        self._counters.calls_resent += call.sendings > 1
        sending = call.sendings

        def answered(reply: Reply, at: int) -> None:
            if reply.name == "reply" and not reply.header["end"]:
                exchange.go_on(call.req, answered)
            if sending == call.sendings and not call.done:
                self._answered(call, reply, at)

        fields = {**call.fields, "timeout_ms": left_ms}
        call.req = exchange.ask(fields, answered, call.body)

    def _answered(self, call: ServiceCall, reply: Reply, now: int) -> None:
        header = reply.header
        if reply.name != "reply":
            self._failed(call, reply, now)
        elif not call.in_parts:
            self._finish(call, result=Answer(header, reply.batch))
        elif not header["end"]:
            self._take_part(call, reply)
        else:
            call.asked = header.get("asked")
            # The end of a stream is no part of it when there is nothing in it.
            if call.asked is None and (reply.batch or _says_something(header)):
                call.answers.append(Answer(header, reply.batch))
            self._finish(call)

    def _take_part(self, call: ServiceCall, reply: Reply) -> None:
        call.has_begun = True
        call.answers.append(Answer(reply.header, reply.batch, told_error(reply)))
        call.buffered_bytes += len(reply.batch)
        if call.buffered_bytes > PARTS_BYTES_MAX:
            text = f"more than {PARTS_BYTES_MAX} bytes of a reply wait to be taken"
            self.cancel(call, LimitReached(text))
        else:
            call.waiters.tell()

    def _failed(self, call: ServiceCall, reply: Reply, now: int) -> None:
        error = told_error(reply) or MsgQueueError(f"a call was answered {reply.name!r}")
        is_unknown = isinstance(error, OutcomeUnknown)
        # Who was there before is on the way back, as its caller is.
        is_passing = isinstance(error, NoResponder) and call.sendings > 1
        if isinstance(error, _UNSEEN) or is_passing or (is_unknown and call.may_repeat):
            call.exchange = None
            self._refused.append(call)
            self._retry_at = self._retry_at or now + RETRY_MS
        elif is_unknown:
            self._finish(call, ResponderLost(error.text))
        elif isinstance(error, DeadlinePassed):
            self._finish(call, CallTimeout(error.text))
        else:
            self._finish(call, error)

    def _follow(self, call: ServiceCall, now: int) -> None:
        """Its service has another line, or its line another session."""
        exchange = call.route.exchange
        if call.exchange is exchange or not exchange.ready:
            return
        if call.exchange is None:
            self._send(call, now)
        elif call.may_repeat:
            self._withdraw(call)
            self._send(call, now)

    def _withdraw(self, call: ServiceCall) -> None:
        exchange = call.exchange
        if exchange is not None and exchange.ready:
            exchange.tell(
                {"cmd": "cancel_call", "service": _name(call), "call_req": call.req},
            )
        call.exchange = None

    def _finish(
        self, call: ServiceCall, error: MsgQueueError | None = None, result: Answer | None = None
    ) -> None:
        self._open.pop(call, None)
        call.finish(result, error)


def told_error(reply: Reply) -> MsgQueueError | None:
    """The named error of a reply, with the worker's own name for it."""
    error = reply.error()
    if isinstance(error, HandlerFailed):
        return HandlerFailed(error.text, str(reply.header.get("remote_error", "")))
    return error


def _says_something(header: dict[str, Any]) -> bool:
    return any(header.get(field) for field in ("content_type", "type", "headers"))


def _name(call: ServiceCall) -> str:
    name: str = call.fields["service"]
    return name
