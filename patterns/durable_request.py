"""Requests that outlive everybody: put now, carried out when a worker comes, fetched when wanted.

    requests = DurableRequests(mq, "reports", keep=86_400)
    requests.submit({"month": 5}, id="report-5")      # on disk when it returns
    requests.wait("report-5", timeout=60)             # now, tomorrow, once or many times

    requests.work(lambda body: make_report(body))     # in a worker

Two queues carry it: ``reports.requests`` and ``reports.replies``.  A worker takes a request and
leaves its reply in one transaction, so that each request has one reply, over restarts of brokers,
workers and callers; the work itself is done again when a worker dies over it.  Replies are found
by the request's id and are kept for ``keep`` seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from broker.client.browsing import BrowsedMessage
from broker.client.message import Message
from broker.client.sync_client import Client
from broker.client.sync_queue import Queue
from broker.errors import LeaseLost, WaitTimeout

DONE, FAILED = "done", "failed"
_PAUSE_S_MIN, _PAUSE_S_MAX = 0.01, 0.5


class RequestFailed(Exception):
    """Every attempt at the request failed; the text is that of the last error."""


class DurableRequests:
    """``keep`` is how long, in seconds, a reply is kept, and a request's id is known.

    Who calls and who works name the same ``keep`` and ``attempts``.
    """

    def __init__(self, mq: Client, name: str, *, keep: float = 86_400.0, attempts: int = 4) -> None:
        self._mq = mq
        self._attempts = attempts
        self._requests: Queue = mq.queue(f"{name}.requests", dedup="window", dedup_window=keep)
        self._replies: Queue = mq.queue(f"{name}.replies", index_ids=True, ttl=keep)

    def submit(self, body: Any, *, id: str | None = None) -> str:  # noqa: A002
        """Puts the request on disk and gives its id; the same id again is the same request."""
        name = id or uuid4().hex
        self._requests.put(body, id=name).wait()
        return name

    def fetch(self, id: str) -> BrowsedMessage | None:  # noqa: A002
        """The reply as it lies there, or None while there is none; it stays where it is."""
        return next(iter(self._replies.browse(ids=[id])), None)

    def wait(self, id: str, *, timeout: float) -> Any:  # noqa: A002
        """The reply's body.  Raises RequestFailed, or WaitTimeout while there is none."""
        ends_at = time.monotonic() + timeout
        pause = _PAUSE_S_MIN
        while (reply := self.fetch(id)) is None:
            left = ends_at - time.monotonic()
            if left <= 0:
                raise WaitTimeout(f"no reply to {id} yet; the request stands")
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _PAUSE_S_MAX)
        if reply.type == FAILED:
            raise RequestFailed(reply.body)
        return reply.body

    def forget(self, id: str) -> bool:  # noqa: A002
        """Removes the request while nobody works on it, and its reply; False if there was none."""
        removed = self._requests.cancel(id)
        return self._replies.cancel(id) or removed

    def work(
        self,
        handler: Callable[[Any], Any],
        *,
        concurrency: int = 1,
        timeout: float | None = None,
    ) -> None:
        """Carries out requests, until none came for ``timeout`` seconds; without it for ever."""
        for request in self._requests.consume(concurrency=concurrency, timeout=timeout):
            self._carry_out(request, handler)

    def _carry_out(self, request: Message, handler: Callable[[Any], Any]) -> None:
        try:
            if request.attempts >= self._attempts:
                raise RequestFailed("each worker that took it was lost over it")
            body, outcome = handler(request.body), DONE
        except Exception as error:
            # Whatever the application raises is told, after the last attempt.
            if request.attempts + 1 < self._attempts:
                request.nack()
                return
            body, outcome = f"{type(error).__name__}: {error}", FAILED
        try:
            with self._mq.transaction() as tx:
                tx.ack(request)
                tx.put(self._replies.name, body, id=request.id, type=outcome)
        except LeaseLost:
            return  # The broker gave it to somebody else meanwhile: that one's reply counts.
