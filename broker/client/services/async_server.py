"""A service that is served by the tasks of an event loop.

Owns the tasks, one for each request in hand.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Self

from broker.client.async_calls import AsyncCalls
from broker.client.async_driver import log
from broker.client.services.request import Request
from broker.client.services.wording import NOT_A_STREAM, failure, result_fields
from broker.client.session import CLOSE_S
from broker.errors import ConnectionLost, HandlerFailed, WaitTimeout
from broker.names import require_name

Handler = Callable[[Request], Any]


class AsyncServer:
    """Made by ``AsyncClient.serve``.  As an async context manager it is closed at the end."""

    def __init__(self, calls: AsyncCalls, service: str, handler: Handler, concurrency: int) -> None:
        self.service = require_name(service)
        self._calls = calls
        self._handler = handler
        self._tasks: dict[Request, asyncio.Task[None]] = {}
        calls.require_open()
        self._worker = calls.session.serving.add(service, concurrency, calls.now_ms)

    @property
    def is_serving(self) -> bool:
        """True while a broker knows of it."""
        return self._worker.is_serving

    async def wait(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        """Until it is closed; False when it still serves after ``timeout`` seconds.

        Raises what ended it against its will.
        """
        worker = self._worker
        if not await self._calls.wait(lambda: worker.has_ended, worker.waiters, timeout):
            return False
        if worker.error is not None:
            raise worker.error
        return True

    async def close(self, timeout: float = CLOSE_S) -> None:  # noqa: ASYNC109
        """No more requests; returns when those in hand are answered.

        What is not answered after ``timeout`` is cancelled; raises WaitTimeout then.
        """
        calls, worker = self._calls, self._worker
        calls.closing.pop(self.close, None)
        if calls.is_closed or calls.is_forked:
            return
        calls.session.serving.leave(worker)
        calls.turn()
        if asyncio.current_task() in self._tasks.values():
            return  # A handler closes its own server: it cannot wait for itself.
        if not await calls.wait(lambda: worker.has_ended, worker.waiters, timeout):
            for task in list(self._tasks.values()):
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            raise WaitTimeout(f"handlers of {self.service} still worked, and were cancelled")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def become_known(self) -> None:
        """Returns when a broker has confirmed it; requests are handled from then on."""
        calls, worker = self._calls, self._worker
        known = False
        try:
            known = await calls.wait(
                lambda: worker.is_serving or worker.error is not None,
                worker.waiters,
                calls.request_timeout,
            )
        finally:
            if not worker.is_serving and not calls.is_closed:
                calls.session.serving.leave(worker)
        if worker.error is not None:
            raise worker.error
        if not known:
            raise ConnectionLost(f"no broker knows in time that {self.service} is served")
        calls.closing[self.close] = None
        self._look()

    def _look(self) -> None:
        """Begins what came, and stops what nobody waits for any more."""
        worker = self._worker
        if not worker.has_ended:
            worker.waiters.add(self._look)
        for request, task in list(self._tasks.items()):
            if request.is_cancelled:
                task.cancel()
        while len(self._tasks) < worker.concurrency:
            begun = worker.take()
            if begun is None:
                return
            task = asyncio.create_task(self._handle(begun))
            self._tasks[begun] = task
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        """A handler has ended, in whatever way."""
        self._tasks = {request: each for request, each in self._tasks.items() if each is not task}
        self._look()

    async def _handle(self, request: Request) -> None:
        calls, worker = self._calls, self._worker
        serving = calls.session.serving
        try:
            result = self._handler(request)
            if inspect.isawaitable(result):
                result = await result
            if isinstance(result, AsyncIterator | Iterator):
                await self._stream(request, result)
            else:
                content, raw = result_fields(result)
                serving.answer(worker, request, content, raw, end=True)
        except Exception as error:
            # Whatever the application raises is the caller's to know.
            if not isinstance(error, HandlerFailed):
                log.warning("the handler of %s failed", self.service, exc_info=error)
            serving.fail(worker, request, *failure(error))
        except asyncio.CancelledError as error:
            serving.fail(worker, request, *failure(error))
            raise
        finally:
            if not calls.is_closed:
                calls.turn_soon()

    async def _stream(self, request: Request, parts: AsyncIterator[Any] | Iterator[Any]) -> None:
        calls, worker = self._calls, self._worker
        serving = calls.session.serving
        if not request.stream:
            serving.fail(worker, request, *NOT_A_STREAM)
            return

        def send(part: Any) -> None:
            content, raw = result_fields(part)
            serving.answer(worker, request, content, raw, end=False)
            calls.turn()

        if isinstance(parts, AsyncIterator):
            async for part in parts:
                send(part)
        else:
            for part in parts:
                send(part)
                await asyncio.sleep(0)
        serving.answer(worker, request, {}, b"", end=True)
