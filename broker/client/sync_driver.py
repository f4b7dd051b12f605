"""Runs a session for threads: a lock, one thread for the background, and callers that receive.

Owns the lock around session and sockets.  It never decides anything: the session does.  Laws:

- A caller that waits receives for itself, so that a round trip pays no change of thread.  At
  most one caller receives; whoever of the others has what it waits for is woken, and nobody else.
- When a caller that received has what it waited for, one of the others goes on in its place.
- The background thread does what is due (lingers, heartbeats, reconnects), and receives while
  no caller does.
- The application's own code is never called with the lock held, and only by that thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from broker.client import forks
from broker.client.line import PROBE_MS
from broker.client.pump import Pump, now_ms
from broker.client.session import Session
from broker.client.sleeper import FOREVER_MS, Sleeper
from broker.errors import ClientClosed, MsgQueueError

log = logging.getLogger("msgqueue.client")

OnError = Callable[[MsgQueueError], None]

#: After a caller has received, the background thread leaves the socket to callers for so long.
STANDBY_MS = 5
#: A caller that receives longer than this is likely to go on: no more need to look after it.
LONG_WAIT_MS = 20


class Changing:
    """The lock, for code that changes the session: what interrupts it costs the connections."""

    def __init__(self, driver: SyncDriver) -> None:
        self._driver = driver

    def __enter__(self) -> None:
        self._driver.lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        driver = self._driver
        try:
            if kind is not None and not issubclass(kind, MsgQueueError):
                driver.session.connection_lost(driver.now_ms(), "interrupted")
        finally:
            driver.lock.release()


class _Waiter:
    """A caller that waits while another one receives."""

    __slots__ = ("_bell", "is_ready", "is_woken")

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        self.is_ready = is_ready
        self.is_woken = False
        self._bell = threading.Lock()
        self._bell.acquire()

    def wait(self, seconds: float | None) -> None:
        self._bell.acquire(timeout=threading.TIMEOUT_MAX if seconds is None else seconds)

    def wake(self) -> None:
        if not self.is_woken:
            self.is_woken = True
            self._bell.release()


class SyncDriver:
    #: The session's clock.
    now_ms = staticmethod(now_ms)

    def __init__(self, session: Session, on_error: OnError | None) -> None:
        self.session = session
        lock = threading.RLock()
        self.lock: forks.Lock = lock
        self._owns_lock: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]
        self.changing = Changing(self)
        self.is_closed = False
        self.is_forked = False
        self._on_error = on_error
        self._pump = Pump(session)
        #: Of the pump, as of the last turn.
        self._news = 0
        #: In the order in which they began to wait.
        self._waiters: dict[_Waiter, None] = {}
        #: The one that is to receive next, until it is awake.
        self._heir: _Waiter | None = None
        # Since when a caller receives, or None; and how long the background keeps away after.
        self._receiving_since: int | None = None
        self._standby_until = 0
        self._callers = Sleeper()
        self._background = Sleeper()
        #: Until when the background thread sleeps; 0 while it is awake.
        self._sleeps_until = 0
        self._thread = threading.Thread(target=self._serve, name="msgqueue-client", daemon=True)
        forks.watch(self)

    def start(self) -> None:
        self._thread.start()

    def disown(self, lock: forks.Lock) -> None:
        """In a forked child: ``lock`` raises; socket and thread are the parent's."""
        self.is_forked = True
        self.lock = lock

    def turn(self, is_due: bool = False) -> None:
        """Does what is due, sends and receives, without waiting.  The lock is held."""
        self._pump.run()
        if self._sleeps_until and self.session.is_owed_answers:
            self.soon(PROBE_MS)
        if self._pump.news == self._news and not is_due:
            return
        self._news = self._pump.news
        for waiter in self._waiters:
            if not waiter.is_woken and waiter.is_ready():
                waiter.wake()
        if self._receiving_since is not None:
            self._callers.wake()
        if self.session.troubles:
            self._wake_background()
        elif self._sleeps_until > self._standby_until:
            next_at = self.session.next_at()
            if next_at is not None and next_at < self._sleeps_until:
                self._wake_background()

    def keep_receiving(self, is_streaming: bool) -> None:
        """A caller that sends batch after batch takes in the answers, too.  The lock is held."""
        if is_streaming:
            self._standby_until = now_ms() + STANDBY_MS

    def soon(self, delay_ms: int) -> None:
        """Something is to be done in the background by then.  The lock is held."""
        if self._sleeps_until > now_ms() + delay_ms:
            self._wake_background()

    def wait(self, is_ready: Callable[[], bool], timeout: float | None) -> bool:
        """Sends, receives and waits until ``is_ready``; False when the time ended before."""
        ends_at = None if timeout is None else time.monotonic() + timeout
        with self.lock:
            if self.session.wants_turn:
                self.turn()
            try:
                while not is_ready():
                    if self.is_closed:
                        raise ClientClosed("the client is closed")
                    remaining = None if ends_at is None else ends_at - time.monotonic()
                    if remaining is not None and remaining <= 0:
                        return False
                    if self._receiving_since is not None:
                        self._wait_for_others(is_ready, remaining)
                    else:
                        self._receive(remaining)
                return True
            finally:
                self._hand_over()

    def close(self) -> None:
        with self.lock:
            if self.is_closed:
                return
            self.is_closed = True
            self.session.close()
            self._pump.close()
            for waiter in self._waiters:
                waiter.wake()
            self._callers.wake()
            self._wake_background()
        forks.forget(self)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _tell_troubles(self) -> None:
        """Hands errors that nobody waits for to the application.  The lock is not held."""
        while self.session.troubles:
            error = self.session.troubles.pop(0)
            if self._on_error is None:
                log.warning("%s: %s", error.name, error)
                continue
            try:
                self._on_error(error)
            except Exception:
                log.exception("on_error failed")

    def _wait_for_others(self, is_ready: Callable[[], bool], remaining: float | None) -> None:
        waiter = _Waiter(is_ready)
        self._waiters[waiter] = None
        try:
            # Ctrl-C may strike between any two of these calls.
            self.lock.release()
            waiter.wait(remaining)
        finally:
            if not self._owns_lock():
                self.lock.acquire()
            self._waiters.pop(waiter, None)
            if self._heir is waiter:
                self._heir = None

    def _hand_over(self) -> None:
        """Where nobody receives any more, and somebody waits: one of these goes on."""
        if self._receiving_since is not None or self._heir is not None:
            return
        for waiter in self._waiters:
            if not waiter.is_woken:
                self._heir = waiter
                waiter.wake()
                return

    def _receive(self, remaining: float | None) -> None:
        """Waits for the socket, without the lock; the background thread does what is due."""
        delay_ms = FOREVER_MS if remaining is None else int(remaining * 1000) + 1
        if not self._pump.is_dry:
            delay_ms = 0
        fds = self._pump.fds
        self._receiving_since = now_ms()
        try:
            # Ctrl-C may strike between any two of these calls.
            self.lock.release()
            readable = self._callers.sleep(fds, delay_ms)
        finally:
            self._receiving_since = None
            if not self._owns_lock():
                self.lock.acquire()
            self._standby_until = now_ms() + STANDBY_MS
            if self._sleeps_until > self._standby_until:
                self._wake_background()
        self._pump.look(readable)
        self.turn()

    def _serve(self) -> None:
        """The background thread."""
        while True:
            with self.lock:
                if self.is_closed:
                    break
                fds, delay_ms = self._background_turn()
            if self.session.troubles:
                self._tell_troubles()
                continue
            readable = self._background.sleep(fds, delay_ms)
            with self.lock:
                self._sleeps_until = 0
                self._pump.look(readable)

    def _background_turn(self) -> tuple[tuple[int, ...], int]:
        """Does what is due; gives the descriptors to wait for, and for how long."""
        now = now_ms()
        is_standby = self._receiving_since is not None or now < self._standby_until
        next_at = self.session.next_at()
        is_due = next_at is not None and next_at <= now
        if is_due or not is_standby:
            self.turn(is_due)
            next_at = self.session.next_at()
        delay_ms = FOREVER_MS if next_at is None else max(next_at - now, 0)
        fds = self._pump.fds
        if not self._pump.is_dry:
            delay_ms = 0
        if is_standby:
            fds = ()
            since = self._receiving_since
            if since is None or now - since < LONG_WAIT_MS:
                delay_ms = min(delay_ms, STANDBY_MS)
        self._sleeps_until = now + delay_ms
        return fds, delay_ms

    def _wake_background(self) -> None:
        self._sleeps_until = 0
        self._background.wake()
