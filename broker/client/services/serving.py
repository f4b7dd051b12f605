"""The worker's side of a session: services that are served, and the requests that came.

Owns which requests are in hand.  It never runs a handler and never waits.  Laws:

- A worker serves on its service's line.  When it moves to another one it serves there before it
  leaves the former, so that there is no moment without it.
- What is said of a request goes where the request came from, once, or nowhere when that is gone.
- A place at the broker is freed for every request that it gave, also for one that was cancelled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from broker.client.services.request import Request
from broker.client.waiters import Waiters
from broker.errors import (
    LimitReached,
    MsgQueueError,
    NotEnoughReplicas,
    NotPrimary,
    OutcomeUnknown,
    ShuttingDown,
)

if TYPE_CHECKING:
    from broker.client.codec import Reply
    from broker.client.counters import Counters
    from broker.client.exchange import Exchange
    from broker.client.routes import Route, Routes

RETRY_MS = 500
#: It is asked for again; of these the first answer is not the last word.
_PASSING = (LimitReached, NotEnoughReplicas, NotPrimary, OutcomeUnknown, ShuttingDown)


class Worker:
    """One service that this client serves.  Once it is leaving, what has come is finished."""

    def __init__(
        self, number: int, route: Route, concurrency: int, clock: Callable[[], int]
    ) -> None:
        self.number = number
        self.route = route
        self.service = route.queue
        self.concurrency = concurrency
        self.clock = clock
        #: Requests that nobody has begun, then those in hand, by the broker's name for them.
        self.inbox: deque[Request] = deque()
        self.in_hand: dict[bytes, Request] = {}
        #: Where it serves, or asked to; None when it does nowhere.
        self.exchange: Exchange | None = None
        #: Where it is to leave, once it serves at the present one, and whether it serves there.
        self.former: dict[Exchange, bool] = {}
        #: Where the end of it is not confirmed yet.
        self.unserving: list[Exchange] = []
        #: True once the broker has confirmed it, since the last connection.
        self.is_serving = False
        self.is_leaving = False
        #: Why it came to its end, for who serves.
        self.error: MsgQueueError | None = None
        #: Called once each at the next request, confirmation or end.
        self.waiters = Waiters()

    @property
    def is_over(self) -> bool:
        """True once no request comes any more."""
        return self.is_leaving and not self.unserving and not self.inbox

    @property
    def has_ended(self) -> bool:
        return self.is_over and not self.in_hand

    @property
    def has_news(self) -> bool:
        return bool(self.inbox) or self.is_over

    def take(self) -> Request | None:
        """The next request, which is then in hand."""
        if not self.inbox:
            return None
        request = self.inbox.popleft()
        self.in_hand[request.call] = request
        return request


class Serving:
    def __init__(self, routes: Routes, counters: Counters) -> None:
        self._routes = routes
        self._counters = counters
        self._workers: dict[int, Worker] = {}
        self._next_number = 1
        self._retry_at: int | None = None

    def add(self, service: str, concurrency: int, clock: Callable[[], int]) -> Worker:
        number = self._next_number
        self._next_number += 1
        worker = Worker(number, self._routes.find(service), concurrency, clock)
        self._workers[number] = worker
        self._begin(worker)
        return worker

    def leave(self, worker: Worker) -> None:
        """No more requests; those that came are finished."""
        if worker.is_leaving:
            return
        worker.is_leaving = True
        worker.is_serving = False
        places = [*worker.former, *([worker.exchange] if worker.exchange is not None else [])]
        worker.exchange, worker.former = None, {}
        for exchange in places:
            self._unserve(worker, exchange)
        self._maybe_forget(worker)

    def answer(
        self, worker: Worker, request: Request, content: dict[str, Any], raw: bytes, end: bool
    ) -> None:
        """Sends a part of the reply, or its end."""
        fields = {"cmd": "answer", **_names(worker, request), **content}
        if not end:
            fields["end"] = False
        if request.is_known:
            request.exchange.tell(fields, raw)
        else:
            self._counters.answers_unwanted += 1
        if end:
            self._finish(worker, request)

    def fail(self, worker: Worker, request: Request, error: str, text: str) -> None:
        if request.is_known:
            request.exchange.tell(
                {"cmd": "fail", **_names(worker, request), "error": error, "text": text}
            )
        self._finish(worker, request)

    def requested(self, reply: Reply, exchange: Exchange) -> None:
        header = reply.header
        worker = self._workers.get(header["worker"])
        if worker is None:
            names = {field: header[field] for field in ("service", "call", "worker")}
            exchange.tell({"cmd": "fail", **names, "error": "WorkerGone", "text": "it has left"})
            return
        worker.inbox.append(Request(header, reply.batch, exchange, worker.clock))
        self._counters.requests_taken += 1
        worker.waiters.tell()

    def cancelled(self, reply: Reply, exchange: Exchange) -> None:
        """Nobody waits for one of its requests, or for any that came so far."""
        worker = self._workers.get(reply.header["worker"])
        if worker is None:
            return
        call = reply.header.get("call")
        if call is None:
            self._void(worker, exchange)
        elif call in worker.in_hand:
            worker.in_hand[call].is_cancelled = True
        else:
            for request in [each for each in worker.inbox if each.call == call]:
                worker.inbox.remove(request)
                self._counters.requests_dropped += 1
                self.fail(worker, request, "Cancelled", "nobody had begun")
        worker.waiters.tell()

    def resume(self, routes: set[Route]) -> None:
        """These services begin anew: serve there."""
        for worker in [w for w in self._workers.values() if w.route in routes]:
            if not worker.is_leaving and worker.exchange is not worker.route.exchange:
                self._begin(worker)

    def connection_lost(self, exchange: Exchange) -> None:
        for worker in list(self._workers.values()):
            self._void(worker, exchange)
            worker.former.pop(exchange, None)
            worker.unserving = [each for each in worker.unserving if each is not exchange]
            if worker.exchange is exchange:
                worker.exchange = None
                worker.is_serving = False
            self._maybe_forget(worker)
            worker.waiters.tell()

    def is_bound(self, exchange: Exchange) -> bool:
        return any(
            request.exchange is exchange and request.is_known
            for worker in self._workers.values()
            for request in (*worker.inbox, *worker.in_hand.values())
        )

    def tick(self, now: int) -> None:
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            for worker in self._workers.values():
                if worker.exchange is None and not worker.is_leaving:
                    self._begin(worker)

    def next_at(self) -> int | None:
        return self._retry_at

    def _begin(self, worker: Worker) -> None:
        exchange = worker.route.exchange
        if not exchange.ready:
            return  # It begins with its service, when the line is there.
        if worker.exchange is not None:
            worker.former[worker.exchange] = worker.is_serving
        worker.exchange = exchange
        if exchange in worker.former:
            worker.is_serving = worker.former.pop(exchange)
            self._leave_former(worker)
            return
        worker.is_serving = False

        def answered(reply: Reply, now: int) -> None:
            if worker.exchange is exchange:
                self._answered(worker, reply.error(), now)

        fields = {"cmd": "serve", "service": worker.service, "worker": worker.number}
        exchange.ask({**fields, "concurrency": worker.concurrency}, answered)

    def _answered(self, worker: Worker, error: MsgQueueError | None, now: int) -> None:
        if error is None:
            worker.is_serving = True
            self._leave_former(worker)
        elif isinstance(error, _PASSING):
            worker.exchange = None
            self._retry_at = self._retry_at or now + RETRY_MS
        else:
            worker.exchange = None
            worker.error = error
            self.leave(worker)
        worker.waiters.tell()

    def _leave_former(self, worker: Worker) -> None:
        for exchange in worker.former:
            self._unserve(worker, exchange)
        worker.former = {}

    def _unserve(self, worker: Worker, exchange: Exchange) -> None:
        if not exchange.ready:
            return

        def answered(_reply: Reply, _now: int) -> None:
            if exchange in worker.unserving:
                worker.unserving.remove(exchange)
                self._maybe_forget(worker)
                worker.waiters.tell()

        worker.unserving.append(exchange)
        exchange.ask({"cmd": "unserve", "worker": worker.number}, answered)

    def _void(self, worker: Worker, exchange: Exchange) -> None:
        """The broker there knows nothing of what it gave any more."""
        kept = deque(each for each in worker.inbox if each.exchange is not exchange)
        self._counters.requests_dropped += len(worker.inbox) - len(kept)
        worker.inbox = kept
        for request in worker.in_hand.values():
            if request.exchange is exchange:
                request.is_known = False
                request.is_cancelled = True

    def _finish(self, worker: Worker, request: Request) -> None:
        worker.in_hand.pop(request.call, None)
        self._maybe_forget(worker)

    def _maybe_forget(self, worker: Worker) -> None:
        if worker.has_ended:
            self._workers.pop(worker.number, None)
            worker.waiters.tell()


def _names(worker: Worker, request: Request) -> dict[str, Any]:
    return {"service": request.service, "call": request.call, "worker": worker.number}
