"""Replies that come one by one: the parts of a stream, or what several workers say.

Owns the end of an iteration: what is still to come is cancelled.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, NamedTuple

from broker.client.services.answer import Answer

if TYPE_CHECKING:
    from types import TracebackType

    from broker.client.async_calls import AsyncCalls
    from broker.client.services.calling import ServiceCall
    from broker.client.sync_calls import SyncCalls


class AllAnswers(NamedTuple):
    """What the workers said until all had answered, or until the deadline."""

    answers: list[Answer]
    #: How many workers were asked.
    asked: int


class Answers:
    """Iterating it gives the answers as they come; leaving the loop cancels what is left.

    ``asked`` is how many workers were asked, once all of a scattered call has come.
    """

    def __init__(self, calls: SyncCalls, call: ServiceCall) -> None:
        self._calls = calls
        self._call = call

    @property
    def asked(self) -> int | None:
        return self._call.asked

    def __iter__(self) -> Generator[Answer, None, None]:
        call = self._call
        try:
            while True:
                with self._calls.lock:
                    answer = call.take()
                if answer is not None:
                    yield answer
                elif call.done:
                    return
                else:
                    wait_for(self._calls, call)
        finally:
            self.close()

    def close(self) -> None:
        """No more is wanted; the workers are told."""
        if not self._call.done and not self._calls.is_forked:
            end(self._calls, self._call)

    def __enter__(self) -> Answers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncAnswers:
    """Iterating it gives the answers as they come; leaving the loop cancels what is left.

    ``asked`` is how many workers were asked, once all of a scattered call has come.
    """

    def __init__(self, calls: AsyncCalls, call: ServiceCall) -> None:
        self._calls = calls
        self._call = call

    @property
    def asked(self) -> int | None:
        return self._call.asked

    async def __aiter__(self) -> AsyncGenerator[Answer, None]:
        call = self._call
        try:
            while True:
                answer = call.take()
                if answer is not None:
                    yield answer
                elif call.done:
                    return
                else:
                    await async_wait_for(self._calls, call)
        finally:
            self._end()

    async def close(self) -> None:
        """No more is wanted; the workers are told."""
        self._end()

    async def __aenter__(self) -> AsyncAnswers:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        if not self._call.done and not self._calls.is_forked:
            async_end(self._calls, self._call)


def wait_for(calls: SyncCalls, call: ServiceCall) -> None:
    """Until there is news of it; its deadline is news."""
    left_s = max(call.ends_at - calls.now_ms(), 0) / 1000
    if not calls.wait(lambda: call.has_news, left_s):
        with calls.changing:
            calls.turn(is_due=True)


def end(calls: SyncCalls, call: ServiceCall) -> None:
    """Cancels it, unless it is done."""
    with calls.changing:
        calls.session.calling.cancel(call)
        if not calls.is_closed:
            calls.turn()


async def async_wait_for(calls: AsyncCalls, call: ServiceCall) -> None:
    """Until there is news of it; its deadline is news."""
    left_s = max(call.ends_at - calls.now_ms(), 0) / 1000
    await calls.wait(lambda: call.has_news, call.waiters, left_s)


def async_end(calls: AsyncCalls, call: ServiceCall) -> None:
    """Cancels it, unless it is done."""
    calls.session.calling.cancel(call)
    if not calls.is_closed:
        calls.turn()
