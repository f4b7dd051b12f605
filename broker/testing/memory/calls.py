"""The clients' calls without sockets and threads: a turn lets the whole world run.

Owns nothing but the way: session and faces are those that programs use.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from broker.client.async_calls import AsyncCalls
from broker.client.async_driver import OnError
from broker.client.session import Session, SessionOptions
from broker.client.sync_calls import SyncCalls
from broker.client.waiters import Waiters
from broker.errors import ClientClosed
from broker.testing.memory.passing import Passing


def _ends_at(now_ms: int, timeout: float | None) -> int | None:
    return None if timeout is None else now_ms + math.ceil(timeout * 1000)


class MemoryCalls(SyncCalls):
    def __init__(
        self,
        passing: Passing,
        session: Session,
        on_error: OnError | None,
        linger_ms: int,
        request_timeout: float,
    ) -> None:
        super().__init__(session, on_error, linger_ms, request_timeout)
        self.lock = passing.lock
        self._taken_in = threading.Condition(passing.lock)
        self._passing = passing

    # The class has the clock of the machine there.
    def now_ms(self) -> int:
        return self._passing.world.now_ms

    def start(self) -> None:
        self._passing.world.attach(self.session)

    def turn(self, is_due: bool = False) -> None:
        self._passing.is_used()
        self._run()

    def keep_receiving(self, is_streaming: bool) -> None:
        """Nothing to keep: what comes is there at once."""

    def soon(self, delay_ms: int) -> None:
        """Whoever asks next lets everyone do what is due."""
        self._passing.is_used()

    def wait(self, is_ready: Callable[[], bool], timeout: float | None) -> bool:
        with self.lock:
            ends_at = _ends_at(self.now_ms(), timeout)
            while True:
                self._run()
                if is_ready():
                    return True
                if self.is_closed:
                    raise ClientClosed("the client is closed")
                if ends_at is not None and self.now_ms() >= ends_at:
                    return False
                self._passing.wait(ends_at)

    def close(self) -> None:
        with self.lock:
            super().close()
            self._passing.world.detach(self.session)
            self._passing.tell_all()

    def _run(self) -> None:
        _let_run(self._passing, self.session)
        self._tell_troubles()


class AsyncMemoryCalls(AsyncCalls):
    def __init__(
        self,
        passing: Passing,
        session: Session,
        on_error: OnError | None,
        request_timeout: float,
    ) -> None:
        super().__init__(session, on_error, request_timeout)
        self._passing = passing
        passing.world.attach(session)

    # The class has the clock of the machine there.
    def now_ms(self) -> int:
        return self._passing.world.now_ms

    def turn(self) -> None:
        self._passing.is_used()
        self._run()

    turn_soon = turn

    def soon(self) -> None:
        """Whoever asks next lets everyone do what is due."""
        self._passing.is_used()

    async def wait(
        self,
        is_ready: Callable[[], bool],
        waiters: Waiters,
        timeout: float | None,  # noqa: ASYNC109
    ) -> bool:
        ends_at = _ends_at(self.now_ms(), timeout)
        while True:
            self.require_open()
            self._run()
            if is_ready():
                return True
            if ends_at is not None and self.now_ms() >= ends_at:
                return False
            await self._passing.wait_in_loop(waiters, ends_at)

    def close(self) -> None:
        super().close()
        self._passing.world.detach(self.session)

    def _run(self) -> None:
        _let_run(self._passing, self.session)
        self._tell_troubles()


def _let_run(passing: Passing, session: Session) -> None:
    counters = session.counters
    before = counters.messages_delivered
    passing.run()
    if counters.messages_delivered > before:
        passing.is_used()


def session_of(passing: Passing, options: SessionOptions) -> Session:
    """A session whose random bits are the world's."""
    return Session(options, passing.world.draw)
