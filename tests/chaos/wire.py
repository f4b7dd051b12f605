"""The protocol in raw frames, so that what the broker sent is seen and not what a library makes
of it.

Follows ``docs/protocol.md`` alone.  It never reconnects by itself: ZeroMQ does, and the broker
then answers ``no_session``.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgpack
import zmq

ANSWER_MS = 60_000


class Received(NamedTuple):
    header: dict[str, Any]
    frames: Sequence[bytes]


class Wire:
    """One DEALER socket.  ``close`` drops what is not sent."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(endpoint)
        self._requests = 0

    def send(self, cmd: str, *frames: bytes, **fields: Any) -> int:
        """Sends a command; the number that its reply will repeat."""
        self._requests += 1
        header = {"v": 1, "cmd": cmd, "req": self._requests, **fields}
        self._socket.send_multipart([msgpack.packb(header), *frames])
        return self._requests

    def receive(self, timeout_ms: int) -> Received | None:
        if not self._socket.poll(timeout_ms):
            return None
        first, *frames = self._socket.recv_multipart()
        return Received(msgpack.unpackb(first), frames)

    def ask(self, cmd: str, *frames: bytes, **fields: Any) -> Received:
        """A command and its reply, for a session with nothing else under way."""
        number = self.send(cmd, *frames, **fields)
        while (received := self.receive(ANSWER_MS)) is not None:
            if received.header.get("req") == number:
                return received
        raise TimeoutError(f"no answer to {cmd}")

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
