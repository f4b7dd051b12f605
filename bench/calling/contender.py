"""The face that each broker shows to the rows of calls.

Owns the vocabulary, and the loops that several of them share. Law: a contender is a frozen value
that can be pickled, because its clients run in processes of their own; every answer is compared
with what was asked.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from bench.processes import Service

SERVICE = "bench.echo"
IDLE_SECONDS = 0.2
"""A worker that has nothing to do looks at least so often whether it is over."""
WAIT_SECONDS = 30.0

IsOver = Callable[[], bool]

Work = Callable[[IsOver], None]
"""Answers each request with its own body, until it is over."""

CallFor = Callable[[float, int], list[float]]
"""So many callers call for so many seconds, each one call at a time; gives how long each took."""


class CallContender(Protocol):
    """Something that carries calls to workers, and its usual Python client."""

    @property
    def name(self) -> str:
        """The name in the tables."""

    @property
    def kind(self) -> str:
        """`ours`, `peer` or `floor`."""

    @property
    def client(self) -> str:
        """How the client is used, in words."""

    def missing(self) -> str:
        """Return the package that must be installed first, or an empty text."""

    def version(self) -> str:
        """Return the versions of broker and client."""

    def start(self, directory: Path) -> Service:
        """Start the broker on a free port of loopback."""

    def open_worker(self, port: int) -> AbstractContextManager[Work]:
        """Connect a worker, which the broker knows when its context begins."""

    def open_callers(self, port: int) -> AbstractContextManager[CallFor]:
        """Connect whoever calls."""


def body_of(number: int) -> bytes:
    """256 bytes that no other call of the run has."""
    return b"%016d" % number * 16


def require_echo(asked: bytes, answered: bytes) -> None:
    """Raise when an answer is another's."""
    if asked != answered:
        raise RuntimeError(f"asked {asked[:16]!r}, answered {answered[:16]!r}")


def in_threads(call: Callable[[bytes], bytes], seconds: float, callers: int) -> list[float]:
    """Let each caller be a thread."""
    ends_at = time.monotonic() + seconds

    def run(caller: int) -> list[float]:
        samples: list[float] = []
        number = caller << 32
        while time.monotonic() < ends_at:
            number += 1
            body = body_of(number)
            began_at = time.perf_counter()
            answer = call(body)
            samples.append(time.perf_counter() - began_at)
            require_echo(body, answer)
        return samples

    if callers == 1:
        return run(0)
    with ThreadPoolExecutor(callers) as threads:
        return [sample for samples in threads.map(run, range(callers)) for sample in samples]


def under_way(
    send: Callable[[int, bytes], None],
    receive: Callable[[], tuple[int, bytes]],
    seconds: float,
    callers: int,
) -> list[float]:
    """Keep so many calls under way in one thread; a number leads each answer to its question."""
    ends_at = time.monotonic() + seconds
    asked: dict[int, tuple[bytes, float]] = {}
    samples: list[float] = []
    number = 0

    def ask() -> None:
        nonlocal number
        number += 1
        body = body_of(number)
        asked[number] = body, time.perf_counter()
        send(number, body)

    for _ in range(callers):
        ask()
    while asked:
        which, answer = receive()
        body, began_at = asked.pop(which)
        samples.append(time.perf_counter() - began_at)
        require_echo(body, answer)
        if time.monotonic() < ends_at:
            ask()
    return samples
