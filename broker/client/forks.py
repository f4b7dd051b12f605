"""Clients and forks: in a child process the parent's clients raise ForkedClient by name.

Owns the list of drivers that a fork concerns.  The check costs a client nothing: in the child
the lock that every use takes is replaced by one that raises.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import NoReturn, Protocol
from weakref import WeakSet

from broker.errors import ForkedClient


class Lock(Protocol):
    """What a client needs of its lock."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...

    def release(self) -> None: ...

    def __enter__(self) -> bool: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


class Forked(Protocol):
    def disown(self, lock: Lock) -> None: ...


class _RaisingLock:
    def acquire(self, blocking: bool = True, timeout: float = -1) -> NoReturn:
        raise ForkedClient("the client was made before the fork: make a new one in the child")

    def release(self) -> None:
        return None

    def __enter__(self) -> NoReturn:
        self.acquire()

    def __exit__(self, *exc: object) -> None:
        return None


_concerned: WeakSet[Forked] = WeakSet()


def watch(driver: Forked) -> None:
    _concerned.add(driver)


def forget(driver: Forked) -> None:
    _concerned.discard(driver)


def _in_child() -> None:
    for driver in list(_concerned):
        driver.disown(_RaisingLock())


os.register_at_fork(after_in_child=_in_child)
