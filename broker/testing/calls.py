"""Simulated callers and workers of services, who judge what they see as they see it.

A caller's reply is made of its own body, so that another's is known.  Each call has one end; once
the faults are over it comes by the deadline and the way back.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgpack

from broker.errors import BY_CODE, NotNow
from broker.errors.calls import CallFailed
from broker.testing.client import Clients, Header, SimulatedClient
from broker.testing.network import Frames
from broker.testing.schedule import MS, SECOND

_SERVICES = ("sums", "rates")
_CALL_US = 150 * MS
_TIMEOUT_MS = 1_500
#: The way there and back, and a broker's clock that differs.
_LATE_US = 2 * SECOND
_CONCURRENCY = 3


class Caller(SimulatedClient):
    def __init__(self, name: str, clients: Clients, random: Random) -> None:
        super().__init__(name, clients, random)
        #: req -> (body, when it is late) of the calls of this session.
        self._open: dict[int, tuple[bytes, int]] = {}
        self.answered = 0

    def in_session(self) -> None:
        self._open.clear()
        self._call()

    def _call(self) -> None:
        self._req += 1
        req, body = self._req, f"{self.name} {self._req}".encode()
        late_us = self.schedule.now_us + _TIMEOUT_MS * MS + _LATE_US
        if self.clients.patient:
            self._open[req] = (body, late_us)
        else:
            self._open[req] = (body, 0)
        fields = {"service": self.random.choice(_SERVICES), "timeout_ms": _TIMEOUT_MS}
        self.send("call", body, req=req, idempotent=self.random.random() < 0.5, **fields)
        self._call_later()

    def _call_later(self) -> None:
        delay_us = int(_CALL_US * (0.5 + self.random.random()))
        self.schedule.after(delay_us, f"{self.name} calls", self._call_again, self._session)

    def _call_again(self, session: bytes | None) -> None:
        if self.has_session and session == self._session and not self.is_dead:
            self._call()

    def receive(self, frames: Frames) -> None:
        header = msgpack.unpackb(frames[0])
        if self._held is None and header.get("req") in self._open:
            self._heard_at_us = self.schedule.now_us
            body, _ = self._open.pop(header["req"])
            self._judge(body, header, frames[1:])
        elif self._held is None and header["re"] == "reply":
            self.clients.complain(f"{self.name} got a second end, or another's: {header}")
        else:
            super().receive(frames)

    def _judge(self, body: bytes, header: Header, frames: Frames) -> None:
        if header["re"] == "reply":
            self.answered += 1
            if frames != [b"re " + body]:
                self.clients.complain(f"{self.name} asked {body!r} and was told {frames!r}")
        elif not issubclass(BY_CODE[header["code"]], CallFailed | NotNow):
            super().receive([msgpack.packb(header)])

    def each_tick(self) -> None:
        now_us = self.schedule.now_us
        for body, late_us in self._open.values():
            if late_us and late_us < now_us and self.has_session:
                self.clients.complain(f"the call {body!r} has not ended by its deadline")


class Serving(SimulatedClient):
    """A worker of every service; it answers after a while, and not in the order it was asked."""

    def in_session(self) -> None:
        for number, service in enumerate(_SERVICES):
            fields = {"service": service, "worker": number, "concurrency": _CONCURRENCY}
            self.ask(self._served, "serve", **fields)

    def _served(self, header: Header) -> None:
        if header["re"] == "failed" and self.require_retryable(header):
            self.reconnect(header["error"])

    def receive(self, frames: Frames) -> None:
        header = msgpack.unpackb(frames[0])
        if self._held is None and header["re"] == "request":
            self._heard_at_us = self.schedule.now_us
            delay_us = int(400 * MS * self.random.random())
            args = (self._session, header, frames[1])
            self.schedule.after(delay_us, f"{self.name} answers", self._answer, *args)
        else:
            super().receive(frames)

    def _answer(self, session: bytes | None, header: Header, body: bytes) -> None:
        if self.has_session and session == self._session and not self.is_dead:
            own: dict[str, Any] = {name: header[name] for name in ("service", "worker", "call")}
            self.send("answer", b"re " + body, **own)

    def failed(self, header: Header) -> None:
        """An answer of a call that the slot's former owner gave is refused by name."""
        if header["error"] != "call_not_found":
            super().failed(header)


def make_clients(
    callers: int, clients: Clients, stream: Callable[[str], Random]
) -> list[SimulatedClient]:
    """So many callers, and as many workers."""
    found: list[SimulatedClient] = []
    for number in range(callers):
        found.append(Caller(f"call-{number}", clients, stream(f"call-{number}")))
        found.append(Serving(f"serve-{number}", clients, stream(f"serve-{number}")))
    return found
