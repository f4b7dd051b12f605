"""Something done to a cluster while client processes are at work.

Owns the thread that waits for the clients. Law: a client that ends too early ends the row, with
the client's own reason.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from typing import TypeVar

from bench.sides import Side, run_sides
from bench.traffic import SharedCount

_SECONDS_MAX = 3_600.0
_LOOK_SECONDS = 0.05

T = TypeVar("T")


class Underway:
    """The clients while they are at work."""

    def __init__(self, clients: Future[list[Side]]) -> None:
        self._clients = clients

    def wait_until(self, is_so: Callable[[], bool], what: str, seconds_max: float = 180.0) -> None:
        """Return as soon as the condition holds; raise when it never does."""
        deadline = time.monotonic() + seconds_max
        while not is_so():
            if self._clients.done():
                raise RuntimeError(f"the clients ended before {what}: {_faults(self._clients)}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"not within {seconds_max:g} s: {what}")
            time.sleep(_LOOK_SECONDS)

    def go_on(self, seconds: float, look: Callable[[], object] = lambda: None) -> None:
        """Let the clients work for a time, and look at something meanwhile."""
        ends_at = time.monotonic() + seconds

        def is_over() -> bool:
            look()
            return time.monotonic() >= ends_at

        self.wait_until(is_over, "the time was over", seconds + _LOOK_SECONDS + 60.0)


def run_while(
    clients: Sequence[Callable[[Barrier], Side]], stop: SharedCount, act: Callable[[Underway], T]
) -> tuple[T, list[Side]]:
    """Act while the clients work, tell them to stop, and return what both saw."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_sides, clients, _SECONDS_MAX)
        try:
            acted = act(Underway(running))
        finally:
            stop.value = 1
        sides = running.result()
    if faults := [side.fault for side in sides if side.fault]:
        raise RuntimeError(faults[0])
    return acted, sides


def _faults(clients: Future[list[Side]]) -> str:
    return "; ".join(side.fault for side in clients.result() if side.fault)
