"""A subscription as the async client shows it: events to iterate, or for a callback."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from types import TracebackType
from typing import Any, Self

from broker.client.async_calls import AsyncCalls
from broker.client.channels.event import Event
from broker.client.channels.handing import Handed, Handing, log
from broker.client.channels.intake import Intake
from broker.client.channels.runs import Gap, Part
from broker.errors import ClientClosed, ConnectionLost, MsgQueueError

#: A function or a coroutine function.
Callback = Callable[[Event], Any]


class AsyncSubscription:
    """Made by ``AsyncClient.subscribe``: ``async for`` gives events, in the order of each channel.

    ``await mq.subscribe(...)`` or ``async with`` waits until nothing is missed that is published
    from then on.  It ends with ``close``, at the end of its block, or when nobody has it any more.
    """

    def __init__(
        self,
        calls: AsyncCalls,
        intake: Intake,
        handing: Handing,
        timeout: float | None,
        limit: int | None,
    ) -> None:
        self._calls = calls
        self._intake = intake
        self._handing = handing
        self._timeout = timeout
        self._limit = limit
        self._task: asyncio.Task[None] | None = None

    @property
    def patterns(self) -> tuple[str, ...]:
        return self._intake.patterns

    @property
    def missed(self) -> int:
        """Messages that could not be had, as far as anybody knows how many."""
        return self._intake.missed

    async def join(self, timeout: float) -> None:  # noqa: ASYNC109
        """Waits until nothing is missed that is published from now on; raises why not."""
        intake = self._intake
        calls = self._calls

        def is_ready() -> bool:
            return intake.is_joined or intake.has_ended

        if not await calls.wait(is_ready, intake.waiters, timeout):
            raise ConnectionLost("the subscription is not confirmed in time")
        if intake.error is not None:
            raise intake.error

    async def __aiter__(self) -> AsyncGenerator[Event, None]:
        """Events until ``max``, ``timeout`` idle seconds, or the end of the subscription."""
        handed = Handed(self._handing)
        # Counts down to 0; without a limit it begins below.
        left = -1 if self._limit is None else self._limit
        run, index, stop = None, 0, 0
        try:
            while left:
                part = handed.next_part()
                if part is None:
                    items = await self._take()
                    if not items:
                        return
                    handed.fill(items)
                    continue
                run, start, stop = part
                if 0 < left < stop - start:
                    handed.put_back((run, start + left, stop))
                    stop = start + left
                left -= stop - start
                for index in range(start, stop):
                    yield Event(run, index)
                run = None
        finally:
            if run is not None and index + 1 < stop:
                handed.put_back((run, index + 1, stop))
            self._give_back(handed.rest())

    def call(self, callback: Callback) -> None:
        """Hands each event to ``callback``, in a task of its own, until the end."""
        self._task = asyncio.get_running_loop().create_task(self._hand_to(callback))

    async def close(self) -> None:
        """Ends the subscription; what waits is dropped."""
        calls = self._calls
        if calls.is_forked or calls.is_closed or self._intake.is_closed:
            return
        calls.session.subscriptions.remove(self._intake)
        calls.turn()

    async def _take(self) -> deque[Part | Gap]:
        """What waits; nothing when there will be no more, or ``timeout`` brought none."""
        calls, intake = self._calls, self._intake
        session = calls.session
        while True:
            calls.require_open()
            items = session.subscriptions.take(intake, calls.now_ms())
            if session.wants_turn:
                calls.turn()
            if items:
                return items
            if intake.error is not None:
                raise intake.error
            if intake.is_closed:
                return items
            if not await calls.wait(lambda: intake.has_news, intake.waiters, self._timeout):
                return items

    def _give_back(self, items: deque[Part | Gap]) -> None:
        if items and not self._calls.is_forked:
            self._intake.give_back(items)

    async def _hand_to(self, callback: Callback) -> None:
        try:
            async for event in self:
                try:
                    done = callback(event)
                    if inspect.isawaitable(done):
                        await done
                except Exception:
                    log.exception("the callback of %r failed", self)
        except ClientClosed:
            return
        except MsgQueueError as error:
            log.error("%r ended: %s: %s", self, error.name, error)

    def __await__(self) -> Generator[Any, None, Self]:
        return self._joined().__await__()

    async def __aenter__(self) -> Self:
        return await self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _joined(self) -> Self:
        await self.join(self._calls.request_timeout)
        return self

    def __del__(self) -> None:
        # By any thread, in the middle of anything: the next turn ends it.
        self._calls.session.subscriptions.abandon(self._intake)

    def __repr__(self) -> str:
        return f"<AsyncSubscription to {', '.join(self.patterns)}>"
