"""A service that is served by threads.

Owns the threads.  Each of them waits for requests by itself: whoever received one handles it, so
that a request pays no change of thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from broker.client.services.request import Request
from broker.client.services.wording import NOT_A_STREAM, failure, result_fields
from broker.client.session import CLOSE_S
from broker.client.sync_calls import SyncCalls
from broker.client.sync_driver import log
from broker.errors import (
    ConnectionLost,
    ForkedClient,
    HandlerFailed,
    MsgQueueError,
    WaitTimeout,
)
from broker.names import require_name

Handler = Callable[[Request], Any]


class Server:
    """Made by ``Client.serve``.  As a context manager it is closed at the end."""

    def __init__(self, calls: SyncCalls, service: str, handler: Handler, concurrency: int) -> None:
        self.service = require_name(service)
        self._calls = calls
        self._handler = handler
        with calls.changing:
            calls.require_open()
            self._worker = calls.session.serving.add(service, concurrency, calls.now_ms)
        self._threads = [
            threading.Thread(target=self._serve, name=f"serve {service}", daemon=True)
            for _ in range(concurrency)
        ]
        self._become_known()
        calls.closing[self.close] = None
        for thread in self._threads:
            thread.start()

    @property
    def is_serving(self) -> bool:
        """True while a broker knows of it."""
        return self._worker.is_serving

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is closed; False when it still serves after ``timeout`` seconds.

        Raises what ended it against its will.
        """
        ends_at = None if timeout is None else self._calls.seconds() + timeout
        for thread in self._threads:
            left = None if ends_at is None else max(ends_at - self._calls.seconds(), 0.0)
            thread.join(left)
            if thread.is_alive():
                return False
        if self._worker.error is not None:
            raise self._worker.error
        return True

    def close(self, timeout: float = CLOSE_S) -> None:
        """No more requests; returns when those in hand are answered.  Raises WaitTimeout."""
        calls = self._calls
        calls.closing.pop(self.close, None)
        if calls.is_closed or calls.is_forked:
            return
        with calls.changing:
            calls.session.serving.leave(self._worker)
            calls.turn()
        if threading.current_thread() in self._threads:
            return  # A handler closes its own server: it cannot wait for itself.
        if not calls.wait(lambda: self._worker.has_ended, timeout):
            raise WaitTimeout(f"handlers of {self.service} still work; they go on")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _become_known(self) -> None:
        calls, worker = self._calls, self._worker
        known = False
        try:
            known = calls.wait(
                lambda: worker.is_serving or worker.error is not None, calls.request_timeout
            )
        finally:
            if not worker.is_serving and not calls.is_closed:
                with calls.changing:
                    calls.session.serving.leave(worker)
        if worker.error is not None:
            raise worker.error
        if not known:
            raise ConnectionLost(f"no broker knows in time that {self.service} is served")

    def _serve(self) -> None:
        """One thread."""
        calls, worker = self._calls, self._worker
        try:
            while not worker.is_over:
                calls.wait(lambda: worker.has_news, None)
                with calls.lock:
                    request = worker.take()
                if request is not None:
                    self._handle(request)
        except (MsgQueueError, ForkedClient):
            return  # The client was closed.

    def _handle(self, request: Request) -> None:
        calls, worker = self._calls, self._worker
        try:
            result = self._handler(request)
            if isinstance(result, Iterator):
                self._stream(request, result)
                return
            content, raw = result_fields(result)
        except Exception as error:
            # Whatever the application raises is the caller's to know.
            self._fail(request, error)
            return
        # It leaves when this thread waits for the next one.
        with calls.changing:
            calls.session.serving.answer(worker, request, content, raw, end=True)

    def _stream(self, request: Request, parts: Iterator[Any]) -> None:
        calls, worker = self._calls, self._worker
        serving = calls.session.serving
        if not request.stream:
            with calls.changing:
                serving.fail(worker, request, *NOT_A_STREAM)
            return
        for part in parts:
            if request.is_cancelled:
                break
            content, raw = result_fields(part)
            with calls.changing:
                serving.answer(worker, request, content, raw, end=False)
                calls.turn()
        with calls.changing:
            serving.answer(worker, request, {}, b"", end=True)

    def _fail(self, request: Request, error: Exception) -> None:
        calls = self._calls
        if not isinstance(error, HandlerFailed):
            log.warning("the handler of %s failed", self.service, exc_info=error)
        with calls.changing:
            calls.session.serving.fail(self._worker, request, *failure(error))
