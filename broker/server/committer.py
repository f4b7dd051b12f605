"""Who waits for the disk.

Owns every ``Store.sync`` after the start.  Law: ``durable`` rises to a token only after a
sync that began later has returned, and an error of the disk is raised to the loop before
anything else leaves it.

A sync releases the interpreter's lock, so a thread can wait for the disk while the loop goes
on; all tokens given before a sync began are covered by it (group commit).  The thread costs
two hops between threads, which a fast disk does not repay when nobody else has work.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from threading import Thread

from broker.errors import DiskFailed, DiskFull, MsgQueueError

#: A sync that takes less is waited for by the loop itself when it has nothing else to do.  On
#: a disk of 0.25 ms that saved a fifth of the time of puts one at a time; on one that is busy
#: with others' work the loop would stand still with it.
INLINE_SYNC_US_MAX = 1_000
_PROBES = 15
#: macOS has no call of its own for the data alone.
_fdatasync = getattr(os, "fdatasync", os.fsync)


def measure_sync_us(directory: Path) -> int:
    """Median time of a sync after a small append in ``directory``, in microseconds."""
    times = []
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as probe:
            for _ in range(_PROBES):
                probe.write(bytes(512))
                started = time.perf_counter_ns()
                _fdatasync(probe.fileno())
                times.append(time.perf_counter_ns() - started)
    except OSError as error:
        kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else DiskFailed
        raise kind(f"{directory}: {error.strerror}") from None
    return int(median(times)) // 1_000


class Committer:
    """``sync`` is the store's; ``wake`` makes the loop look at ``durable``, from any thread.

    With ``mode`` ``auto`` the loop waits itself while the syncs of late were quick; ``sync_us``
    is what one is expected to take at first.
    """

    def __init__(
        self,
        sync: Callable[[], None],
        wake: Callable[[], None],
        *,
        mode: str = "auto",
        sync_us: int = 0,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._sync = sync
        self._wake = wake
        self._mode = mode
        self._clock_ns = clock_ns
        #: Moving average over the last syncs, some eight of them.
        self._sync_ns = sync_us * 1_000
        self._tokens: SimpleQueue[int | None] = SimpleQueue()
        self._given = -1
        self._durable = -1
        self._failure: MsgQueueError | None = None
        self._thread = Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    @property
    def durable(self) -> int:
        """The newest token that is on disk; raises the disk's error once there was one."""
        if self._failure is not None:
            raise self._failure
        return self._durable

    def commit(self, token: int, *, alone: bool) -> None:
        """Makes ``token`` durable: now when that is the faster way, else soon.

        ``alone`` tells that the loop has nothing else to do meanwhile.
        """
        idle = self._given == self._durable
        self._given = token
        if alone and idle and self._waits_inline():
            self._timed_sync()
            self._durable = token
        else:
            self._tokens.put(token)

    def close(self) -> None:
        """Returns when all that was given is durable; raises the disk's error."""
        self._tokens.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _waits_inline(self) -> bool:
        if self._mode == "auto":
            return self._sync_ns < INLINE_SYNC_US_MAX * 1_000
        return self._mode == "inline"

    def _timed_sync(self) -> None:
        started = self._clock_ns()
        self._sync()
        self._sync_ns += (self._clock_ns() - started - self._sync_ns) // 8

    def _run(self) -> None:
        is_open = True
        while is_open:
            token = self._newest()
            if token is None:
                is_open, token = False, self._given
            if token > self._durable:
                try:
                    self._timed_sync()
                except MsgQueueError as error:
                    self._fail(error)
                    return
                except BaseException as error:
                    self._fail(DiskFailed(f"the sync ended with {error!r}"))
                    raise
                self._durable = token
                self._wake()

    def _newest(self) -> int | None:
        """Waits for a token, and passes over those that a newer one covers; None to end."""
        token = self._tokens.get()
        while not self._tokens.empty():
            token = self._tokens.get()
        return token

    def _fail(self, error: MsgQueueError) -> None:
        self._failure = error
        self._wake()
