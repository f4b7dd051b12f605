"""How long one producer waits while the cluster is disturbed.

It puts into a queue of its own, in the slot of a busy one: what it measures is the slot.
"""

from __future__ import annotations

import time
from itertools import count
from types import TracebackType
from typing import Self

from broker.model.slots import slot_of
from patterns import Client
from tests.support.waiting import DEADLINE_S


class Probe:
    def __init__(self, endpoints: str, slots: int, queue: str) -> None:
        names = (f"probe-{number}" for number in count())
        wanted = slot_of(queue, slots)
        name = next(name for name in names if slot_of(name, slots) == wanted)
        self._client = Client(endpoints, put_timeout=None)
        self._queue = self._client.queue(name)

    def put(self) -> float:
        """Seconds from the put to its confirm."""
        began_at = time.monotonic()
        self._queue.put(b"").wait(DEADLINE_S)
        return time.monotonic() - began_at

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.__exit__(kind, error, trace)
