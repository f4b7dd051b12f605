"""Runs a session in an asyncio event loop: one reader a descriptor, one timer.

Owns the registration of the sockets with the loop.  It never blocks and never decides anything.
Everything happens in the thread of the loop; no lock is needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from broker.client import forks
from broker.client.pump import Pump, now_ms
from broker.client.session import Session
from broker.client.waiters import Waiters
from broker.errors import ClientClosed, ForkedClient, MsgQueueError

log = logging.getLogger("msgqueue.client")

OnError = Callable[[MsgQueueError], None]


class AsyncDriver:
    #: The session's clock.
    now_ms = staticmethod(now_ms)

    def __init__(self, session: Session, on_error: OnError | None) -> None:
        self.session = session
        self.is_closed = False
        self.is_forked = False
        self._on_error = on_error
        self._pump = Pump(session)
        self._loop = asyncio.get_running_loop()
        self._fds: tuple[int, ...] = ()
        self._links = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._is_turn_due = False
        #: All who wait, for the end of the client.
        self._closing = Waiters()
        forks.watch(self)

    def disown(self, _lock: forks.Lock) -> None:
        """In a forked child: loop and socket are the parent's."""
        self.is_forked = True

    def require_open(self) -> None:
        if self.is_forked:
            raise ForkedClient("the client was made before the fork: make a new one in the child")
        if self.is_closed:
            raise ClientClosed("the client is closed")

    def turn(self) -> None:
        """Does what is due, sends and receives, without waiting; sees to the next time."""
        self._pump.run()
        if self._pump.links != self._links:
            self._follow()
        self._set_timer()
        if not self._pump.is_dry:
            self.turn_soon()
        if self.session.troubles:
            self._loop.call_soon(self._tell_troubles)

    def turn_soon(self) -> None:
        """A turn when all tasks that can go on have done so: what they send leaves together."""
        if self._is_turn_due:
            return
        self._is_turn_due = True

        def take_turn() -> None:
            self._is_turn_due = False
            if not self.is_closed:
                self.turn()

        self._loop.call_soon(take_turn)

    def soon(self) -> None:
        """Something is to be done after a while."""
        self._set_timer()

    async def wait(
        self,
        is_ready: Callable[[], bool],
        waiters: Waiters,
        timeout: float | None,  # noqa: ASYNC109
    ) -> bool:
        """Sends and waits until ``is_ready``; False when the time ended before."""
        ends_at = None if timeout is None else self._loop.time() + timeout
        while True:
            self.require_open()
            remaining = None if ends_at is None else ends_at - self._loop.time()
            if remaining is not None and remaining <= 0:
                self.turn()
                return is_ready()
            if self.session.wants_turn:
                self.turn_soon()
            if is_ready():
                return True
            await self._news(waiters, remaining)

    def close(self) -> None:
        if self.is_closed or self.is_forked:
            return
        self.is_closed = True
        self.session.close()
        self._pump.close()
        self._follow()
        if self._timer is not None:
            self._timer.cancel()
        self._closing.tell()
        forks.forget(self)

    async def _news(self, waiters: Waiters, remaining: float | None) -> None:
        future: asyncio.Future[None] = self._loop.create_future()

        def resolve() -> None:
            if not future.done():
                future.set_result(None)

        timer = None if remaining is None else self._loop.call_later(remaining, resolve)
        waiters.add(resolve)
        self._closing.add(resolve)
        try:
            await future
        finally:
            waiters.discard(resolve)
            self._closing.discard(resolve)
            if timer is not None:
                timer.cancel()

    def _follow(self) -> None:
        """A socket changed: the loop watches those that there are now."""
        for fd in self._fds:
            self._loop.remove_reader(fd)
        self._fds = self._pump.fds
        self._links = self._pump.links
        for fd in self._fds:
            self._loop.add_reader(fd, self._readable, fd)

    def _readable(self, fd: int) -> None:
        self._pump.look([fd])
        self.turn()

    def _set_timer(self) -> None:
        at = self.session.next_at()
        if at is None or (self._timer is not None and self._timer_at <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(at - now_ms(), 0) / 1000, self._due)

    def _due(self) -> None:
        self._timer = None
        if not self.is_closed:
            self.turn()

    def _tell_troubles(self) -> None:
        while self.session.troubles:
            error = self.session.troubles.pop(0)
            if self._on_error is not None:
                self._on_error(error)
            else:
                log.warning("%s: %s", error.name, error)
