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
#: Tasks that are not waiting for the broker have so many turns of the loop before time passes.
LOOP_TURNS = 50


class Passing:
    def __init__(self, world: World, *, real_time: bool) -> None:
        self.world = world
        self.lock = threading.RLock()
        self._news = threading.Condition(self.lock)
        self._thread = threading.get_ident()
        #: What the world's clock shows beyond the machine's; None while it stands.
        self._ahead_ms: int | None = world.now_ms - _elapsed_ms() if real_time else None
        #: When a client last did or got anything.
        self._busy_at = world.now_ms
        #: Until when tasks wait, each under a key of its own.
        self._ends: dict[object, int] = {}

    def run(self) -> None:
        """All that is due happens."""
        with self.lock:
            if self._ahead_ms is not None:
                self.world.advance_to(max(_elapsed_ms() + self._ahead_ms, self.world.now_ms))
            self.world.run()
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
            self.run()
            return
        if threading.get_ident() != self._thread:
            raise RuntimeError("threads that wait need MemoryBroker(real_time=True)")
        self.world.advance_to(until)

    async def wait_in_loop(self, waiters: Waiters, ends_at: int | None) -> None:
        """As ``wait``, for a task."""
        until = self._until(ends_at)
        if self._ahead_ms is not None:
            await _told(waiters, max(until - self.world.now_ms, 0) / 1000)
            return
        key = object()
        self._ends[key] = until
        try:
            seen = (self.world.news, self.world.now_ms)
            for _ in range(LOOP_TURNS):
                await asyncio.sleep(0)
                if seen != (self.world.news, self.world.now_ms):
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
