"""A simulated taker at most once: gets with ``auto_ack``, whose answers may be lost with theirs."""

from __future__ import annotations

from random import Random

import msgpack

from broker.testing.client import Clients, Header, SimulatedClient
from broker.testing.history import Kind
from broker.testing.network import Frames

_TIMEOUT_MS = 700


class Getter(SimulatedClient):
    def __init__(self, name: str, clients: Clients, random: Random, queue: str) -> None:
        super().__init__(name, clients, random)
        self._queue = queue
        clients.on_declared.append(self._begin)

    def in_session(self) -> None:
        self._begin(self._queue)

    def _begin(self, queue: str) -> None:
        if queue == self._queue and queue in self.clients.declared and self.has_session:
            self._get()

    def _get(self) -> None:
        fields = {"queue": self._queue, "max": self.random.randint(1, 5), "auto_ack": True}
        self.ask(self._refused, "get", timeout_ms=_TIMEOUT_MS, **fields)

    def _refused(self, header: Header) -> None:
        if self.require_retryable(header):
            delay_us = int((50 + 300 * self.random.random()) * 1_000)
            self.schedule.after(delay_us, f"{self.name} gets again", self._begin, self._queue)

    def delivered(self, header: Header, frames: Frames) -> None:
        if self.take_request(header["req"]) is None:
            return
        bodies = iter(msgpack.unpackb(frames[-1]))
        for run in header["runs"]:
            ids = [next(bodies).decode() for _ in range(run["count"])]
            positions = list(range(run["first"], run["first"] + run["count"]))
            self.clients.history.record(self._queue, Kind.DELIVERED, self.name, ids, positions)
        self._get()
