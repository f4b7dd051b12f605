"""Calls and servers, as the async client shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, overload

from broker.client.async_calls import AsyncCalls
from broker.client.content import Headers
from broker.client.services import wording
from broker.client.services.answer import Answer
from broker.client.services.answers import (
    AllAnswers,
    AsyncAnswers,
    async_end,
    async_wait_for,
)
from broker.client.services.async_server import AsyncServer
from broker.client.services.calling import ServiceCall
from broker.client.services.listing import list_services
from broker.client.services.request import Request


class AsyncServiceMethods:
    """Part of ``AsyncClient``.  Times are in seconds; bodies are bytes, text, or JSON."""

    if TYPE_CHECKING:

        @property
        def _calls(self) -> AsyncCalls: ...

    @overload
    async def call(
        self,
        service: str,
        body: Any = ...,
        *,
        timeout: float | None = ...,  # noqa: ASYNC109
        idempotent: bool = ...,
        stream: Literal[False] = ...,
        content_type: str | None = ...,
        type: str | None = ...,
        headers: Headers | None = ...,
    ) -> Answer: ...

    @overload
    async def call(
        self,
        service: str,
        body: Any = ...,
        *,
        timeout: float | None = ...,  # noqa: ASYNC109
        idempotent: bool = ...,
        stream: Literal[True],
        content_type: str | None = ...,
        type: str | None = ...,
        headers: Headers | None = ...,
    ) -> AsyncAnswers: ...

    async def call(
        self,
        service: str,
        body: Any = b"",
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        idempotent: bool = False,
        stream: bool = False,
        content_type: str | None = None,
        type: str | None = None,  # noqa: A002
        headers: Headers | None = None,
    ) -> Answer | AsyncAnswers:
        """The answer of one of the service's workers, within ``timeout`` (``request_timeout``).

        With ``stream`` what it says part by part, to be iterated.  Raises NoResponder, Overloaded,
        CallTimeout, HandlerFailed, ResponderLost.  A call that is ``idempotent`` may be carried out
        more than once: it is sent again when a worker, a broker or the connection is lost.
        """
        content, raw = wording.content_fields(body, content_type, type, headers)
        fields = wording.call_fields(service, content, idempotent, stream)
        call = self._begin(fields, raw, timeout)
        if stream:
            return AsyncAnswers(self._calls, call)
        try:
            await async_wait_for(self._calls, call)
        finally:
            # Also when the task was cancelled.
            if not call.done:
                async_end(self._calls, call)
        answer: Answer = call.value()
        return answer

    async def scatter(
        self,
        service: str,
        body: Any = b"",
        *,
        workers: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
        content_type: str | None = None,
        type: str | None = None,  # noqa: A002
        headers: Headers | None = None,
    ) -> AsyncAnswers:
        """Asks so many workers at once, or all of them, and gives their answers as they come.

        It ends when all have answered, or at the deadline, which is no error here.  An answer has
        ``error`` where its worker failed.  Raises NoResponder.
        """
        content, raw = wording.content_fields(body, content_type, type, headers)
        fields = wording.call_fields(service, content, workers=wording.scattered(workers))
        return AsyncAnswers(self._calls, self._begin(fields, raw, timeout))

    async def call_all(
        self,
        service: str,
        body: Any = b"",
        *,
        workers: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
        content_type: str | None = None,
        type: str | None = None,  # noqa: A002
        headers: Headers | None = None,
    ) -> AllAnswers:
        """As ``scatter``, at its end: the ``answers``, and how many workers were ``asked``."""
        answers = await self.scatter(
            service,
            body,
            workers=workers,
            timeout=timeout,
            content_type=content_type,
            type=type,
            headers=headers,
        )
        came = [answer async for answer in answers]
        return AllAnswers(came, answers.asked or len(came))

    async def serve(
        self, service: str, handler: Callable[[Request], Any], *, concurrency: int = 1
    ) -> AsyncServer:
        """Answers calls with ``handler``, in up to ``concurrency`` tasks.

        It returns when the broker knows.  ``handler`` gives the body of the answer, a ``Result``,
        or an iterator of either: the parts of a streamed reply.  What it raises the caller gets as
        HandlerFailed.
        """
        places = wording.require_concurrency(concurrency)
        server = AsyncServer(self._calls, service, handler, places)
        await server.become_known()
        return server

    async def services(self, pattern: str = ">") -> dict[str, dict[str, Any]]:
        """Which services there are, and what their brokers count of each."""
        return await self._calls.carry_out(list_services(pattern))

    def _begin(self, fields: dict[str, Any], raw: bytes, timeout: float | None) -> ServiceCall:
        calls = self._calls
        timeout_ms = wording.timeout_ms(calls.request_timeout if timeout is None else timeout)
        calls.require_open()
        now = calls.now_ms()
        call = calls.session.calling.begin(fields, raw, now + timeout_ms, now)
        if call.in_parts:
            calls.turn()
        return call
