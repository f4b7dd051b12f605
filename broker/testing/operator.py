"""A simulated operator: declares the queues of the run's features, and meddles with them.

Law: at the end of the load everything that stands still was made to run again.
"""

from __future__ import annotations

from random import Random
from typing import Any

from broker.testing.client import Clients, Header, SimulatedClient
from broker.testing.schedule import MS

_MEDDLES = 0.15


class Operator(SimulatedClient):
    def __init__(
        self, name: str, clients: Clients, random: Random, queues: dict[str, dict[str, Any]]
    ) -> None:
        super().__init__(name, clients, random)
        self._queues = queues
        #: They are told all at once: a message may move from any to any other.
        self._undeclared = set(queues)
        self._paused: set[str] = set()
        self._is_done = False

    @property
    def unanswered(self) -> int:
        return len(self._paused) if self._is_done else 0

    def in_session(self) -> None:
        for queue in self._queues:
            if queue in self._undeclared:
                self._declare(queue)
        if self._is_done:
            self._resume_all()

    def finish(self) -> None:
        """From now on nothing is meddled with."""
        self._is_done = True
        self._resume_all()

    def _declare(self, queue: str) -> None:
        def answered(header: Header) -> None:
            if header["re"] == "ok" and queue in self._undeclared:
                self._undeclared.discard(queue)
                if not self._undeclared:
                    self._tell_declared()
            elif header["re"] != "ok" and self.require_retryable(header):
                self._later(self._declare, queue)

        if self.has_session:
            self.ask(answered, "declare", queue=queue, settings=self._queues[queue])

    def _tell_declared(self) -> None:
        self.clients.declared.update(self._queues)
        for tell in self.clients.on_declared:
            for queue in self._queues:
                tell(queue)

    def _later(self, action: Any, *args: Any) -> None:
        delay_us = int((50 + 300 * self.random.random()) * MS)
        self.schedule.after(delay_us, f"{self.name} tries again", action, *args)

    # Meddling

    def each_tick(self) -> None:
        if self._is_done or not self.has_session or self._undeclared:
            return
        if self.random.random() < _MEDDLES:
            self._meddle(self.random.choice(list(self._queues)))

    def _meddle(self, queue: str) -> None:
        if queue in self._paused:
            self._resume(queue)
        elif queue == "dead":
            self._try("redrive", queue=queue, to="again", max=self.random.randint(1, 5))
        elif queue == "scrap":
            self._try("purge", queue=queue)
        elif self.random.random() < 0.5:
            self._try("browse", queue=queue, max=20)
        elif queue == "later":
            first = self.random.randint(0, 50)
            self._try("reschedule", queue=queue, ranges=[[first, 3]], delay_ms=500)
        else:
            self._paused.add(queue)
            self._try("update", queue=queue, settings={"paused": True})

    def _try(self, cmd: str, **fields: Any) -> None:
        """Whether it happens is left to chance."""
        self.ask(self._tried, cmd, **fields)

    def _tried(self, header: Header) -> None:
        if header["re"] == "failed":
            self.require_retryable(header)

    def _resume_all(self) -> None:
        for queue in sorted(self._paused):
            self._resume(queue)

    def _resume(self, queue: str) -> None:
        def answered(header: Header) -> None:
            if header["re"] == "ok":
                self._paused.discard(queue)
            elif self.require_retryable(header):
                self._later(self._resume, queue)

        if self.has_session:
            self.ask(answered, "update", queue=queue, settings={"paused": False})
