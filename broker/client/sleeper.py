"""One thread's way to wait: for a socket's descriptors, for a time, or to be woken.

Owns the pipe that wakes it.  It never reads from the socket.  One thread at a time waits.
"""

from __future__ import annotations

import os
import select

FOREVER_MS = 3_600_000


class Sleeper:
    def __init__(self) -> None:
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._fds: tuple[int, ...] = ()
        self._poll = self._poll_for(())

    def sleep(self, fds: tuple[int, ...], delay_ms: int) -> list[int]:
        """Waits for ``fds``; gives those that are readable."""
        if fds != self._fds:
            self._poll = self._poll_for(fds)
            self._fds = fds
        ready = [fd for fd, _ in self._poll.poll(min(delay_ms, FOREVER_MS))]
        if self._wake_read in ready:
            ready.remove(self._wake_read)
            os.read(self._wake_read, 4096)
        return ready

    def wake(self) -> None:
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            return  # It is full of wakes already.

    def __del__(self) -> None:
        # No close(): the thread that sleeps here may be the last to let go of it.
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _poll_for(self, fds: tuple[int, ...]) -> select.poll:
        poll = select.poll()
        for fd in (*fds, self._wake_read):
            poll.register(fd, select.POLLIN)
        return poll
