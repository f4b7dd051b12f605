"""Calls and servers, as the sync client shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

from broker.client.content import Headers
from broker.client.services import wording
from broker.client.services.answer import Answer
from broker.client.services.answers import AllAnswers, Answers, end, wait_for
from broker.client.services.calling import ServiceCall
from broker.client.services.listing import list_services
from broker.client.services.request import Request
from broker.client.services.sync_server import Server
from broker.client.sync_calls import SyncCalls


class ServiceMethods:
    """Part of ``Client``.  Times are in seconds; bodies are bytes, text, or JSON."""

    _calls: SyncCalls

    @overload
    def call(
        self,
        service: str,
        body: Any = ...,
        *,
        timeout: float | None = ...,
        idempotent: bool = ...,
        stream: Literal[False] = ...,
        content_type: str | None = ...,
        type: str | None = ...,
        headers: Headers | None = ...,
    ) -> Answer: ...

    @overload
    def call(
        self,
        service: str,
        body: Any = ...,
        *,
        timeout: float | None = ...,
        idempotent: bool = ...,
        stream: Literal[True],
        content_type: str | None = ...,
        type: str | None = ...,
        headers: Headers | None = ...,
    ) -> Answers: ...

    def call(
        self,
        service: str,
        body: Any = b"",
        *,
        timeout: float | None = None,
        idempotent: bool = False,
        stream: bool = False,
        content_type: str | None = None,
        type: str | None = None,  # noqa: A002
        headers: Headers | None = None,
    ) -> Answer | Answers:
        """The answer of one of the service's workers, within ``timeout`` (``request_timeout``).

        With ``stream`` what it says part by part, to be iterated.  Raises NoResponder, Overloaded,
        CallTimeout, HandlerFailed, ResponderLost.  A call that is ``idempotent`` may be carried out
        more than once: it is sent again when a worker, a broker or the connection is lost.
        """
        content, raw = wording.content_fields(body, content_type, type, headers)
        fields = wording.call_fields(service, content, idempotent, stream)
        call = self._begin(fields, raw, timeout)
        if stream:
            return Answers(self._calls, call)
        try:
            wait_for(self._calls, call)
        finally:
            # Also when Ctrl-C ended the wait.
            if not call.done:
                end(self._calls, call)
        answer: Answer = call.value()
        return answer

    def scatter(
        self,
        service: str,
        body: Any = b"",
        *,
        workers: int | None = None,
        timeout: float | None = None,
        content_type: str | None = None,
        type: str | None = None,  # noqa: A002
        headers: Headers | None = None,
    ) -> Answers:
        """Asks so many workers at once, or all of them, and gives their answers as they come.

        It ends when all have answered, or at the deadline, which is no error here.  An answer has
        ``error`` where its worker failed.  Raises NoResponder.
        """
        content, raw = wording.content_fields(body, content_type, type, headers)
        fields = wording.call_fields(service, content, workers=wording.scattered(workers))
        return Answers(self._calls, self._begin(fields, raw, timeout))

    def call_all(
        self,
        service: str,
        body: Any = b"",
        *,
        workers: int | None = None,
        timeout: float | None = None,
        content_type: str | None = None,
        type: str | None = None,  # noqa: A002
        headers: Headers | None = None,
    ) -> AllAnswers:
        """As ``scatter``, at its end: the ``answers``, and how many workers were ``asked``."""
        answers = self.scatter(
            service,
            body,
            workers=workers,
            timeout=timeout,
            content_type=content_type,
            type=type,
            headers=headers,
        )
        came = list(answers)
        return AllAnswers(came, answers.asked or len(came))

    def serve(
        self, service: str, handler: Callable[[Request], Any], *, concurrency: int = 1
    ) -> Server:
        """Answers calls with ``handler``, in as many threads as ``concurrency`` says.

        It returns when the broker knows.  ``handler`` gives the body of the answer, a ``Result``,
        or an iterator of either: the parts of a streamed reply.  What it raises the caller gets as
        HandlerFailed.
        """
        return Server(self._calls, service, handler, wording.require_concurrency(concurrency))

    def services(self, pattern: str = ">") -> dict[str, dict[str, Any]]:
        """Which services there are, and what their brokers count of each."""
        return self._calls.carry_out(list_services(pattern))

    def _begin(self, fields: dict[str, Any], raw: bytes, timeout: float | None) -> ServiceCall:
        calls = self._calls
        timeout_ms = wording.timeout_ms(calls.request_timeout if timeout is None else timeout)
        with calls.changing:
            calls.require_open()
            now = calls.now_ms()
            call = calls.session.calling.begin(fields, raw, now + timeout_ms, now)
            if call.in_parts:
                # Who iterates waits later; who never does is not waited for.
                calls.turn()
                calls.soon(timeout_ms)
        return call
