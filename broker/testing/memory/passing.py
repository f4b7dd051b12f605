"""How time passes in a broker in memory: by hand, while somebody waits, or as it really does.

Owns the lock around the world, and who waits in it until when.  It decides nothing.

Law: while the clock stands, it moves by ``advance`` and by waits alone, so that a test of one
thread, or of one event loop, runs the same way each time.
"""

from __future__ import annotations

import asyncio
import threading
import time

from broker.client.waiters import Waiters
from broker.errors import WaitTimeout
from broker.testing.memory.world import World

#: Who waits on and on is told when the clock has moved so far, and nobody did or got anything.
IDLE_MS_MAX = 7 * 24 * 3_600_000
#: The clock stands while other threads are at work on what they got, but not for longer.
AT_WORK_S_MAX = 10.0
#: Tasks that are not waiting for the broker have so many turns of the loop before time passes.
LOOP_TURNS = 50


#: What a thread has seen of the world.
Stamp = tuple[int, int]


class Passing:
    def __init__(self, world: World, *, real_time: bool) -> None:
        self.world = world
        self.lock = threading.RLock()
        self._news = threading.Condition(self.lock)
        #: The thread that moves the clock.
        self._thread = threading.get_ident()
        #: Other threads that wait: what they have seen when they began to; None when at work.
        self._others: dict[int, Stamp | None] = {}
        #: What the world's clock shows beyond the machine's; None while it stands.
        self._ahead_ms: int | None = world.now_ms - _elapsed_ms() if real_time else None
        #: When a client last did or got anything.
        self._busy_at = world.now_ms
        #: Until when tasks wait, each under a key of its own.
        self._ends: dict[object, int] = {}

    def run(self) -> None:
        """All that is due happens."""
        with self.lock:
            before = self._stamp
            if self._ahead_ms is not None:
                self.world.advance_to(max(_elapsed_ms() + self._ahead_ms, self.world.now_ms))
            self.world.run()
            if self._stamp != before:
                self._news.notify_all()

    def tell_all(self) -> None:
        """Whoever waits looks again."""
        with self.lock:
            self._news.notify_all()

    def is_used(self) -> None:
        """Somebody does or has got something, and does not only wait."""
        self._busy_at = self.world.now_ms

    def advance(self, ms: int) -> None:
        with self.lock:
            self.run()
            self.world.advance_to(self.world.now_ms + ms)
            if self._ahead_ms is not None:
                self._ahead_ms += ms
            self.is_used()
            self._news.notify_all()

    def wait(self, ends_at: int | None) -> None:
        """Something may be new when it returns, or the time has come.  The lock is held."""
        until = self._until(ends_at)
        if self._ahead_ms is not None:
            self._news.wait(max(until - self.world.now_ms, 0) / 1000)
        elif threading.get_ident() != self._thread:
            self._wait_as_other(threading.get_ident())
        elif not self._others or not self._let_others_work():
            self.world.advance_to(until)
            self._news.notify_all()

    def _wait_as_other(self, thread: int) -> None:
        self._others[thread] = self._stamp
        self._news.notify_all()
        self._news.wait()
        self._others[thread] = None

    def _let_others_work(self) -> bool:
        """Until all of them have seen what there is and wait again; True if they did anything."""
        before = self._stamp
        ends_at = time.monotonic() + AT_WORK_S_MAX
        while self._is_anyone_at_work() and time.monotonic() < ends_at:
            self._news.wait(AT_WORK_S_MAX)
        return self._stamp != before

    def _is_anyone_at_work(self) -> bool:
        alive = {thread.ident for thread in threading.enumerate()}
        self._others = {thread: s for thread, s in self._others.items() if thread in alive}
        return any(seen != self._stamp for seen in self._others.values())

    @property
    def _stamp(self) -> Stamp:
        return self.world.news, self.world.now_ms

    async def wait_in_loop(self, waiters: Waiters, ends_at: int | None) -> None:
        """As ``wait``, for a task."""
        until = self._until(ends_at)
        if self._ahead_ms is not None:
            await _told(waiters, max(until - self.world.now_ms, 0) / 1000)
            return
        key = object()
        self._ends[key] = until
        try:
            seen = self._stamp
            for _ in range(LOOP_TURNS):
                await asyncio.sleep(0)
                if seen != self._stamp:
                    return
            self.world.advance_to(min(self._ends.values()))
        finally:
            del self._ends[key]

    def _until(self, ends_at: int | None) -> int:
        now, next_at = self.world.now_ms, self.world.next_at()
        if self._ahead_ms is None and now - self._busy_at > IDLE_MS_MAX:
            self.is_used()
            raise WaitTimeout("nothing came in a week of the broker's time")
        instants = [at for at in (next_at, ends_at) if at is not None]
        return max(min(instants, default=now + IDLE_MS_MAX), now)


async def _told(waiters: Waiters, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def resolve() -> None:
        if not future.done():
            future.set_result(None)

    waiters.add(resolve)
    timer = loop.call_later(seconds, resolve)
    try:
        await future
    finally:
        waiters.discard(resolve)
        timer.cancel()


def _elapsed_ms() -> int:
    return time.monotonic_ns() // 1_000_000
