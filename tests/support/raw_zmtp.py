"""A DEALER made of a plain TCP socket, for what no ZeroMQ library would send.

Speaks just enough ZMTP 3.0 with the NULL mechanism: the greeting, READY, and frames.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from types import TracebackType
from typing import Self

from tests.support.waiting import DEADLINE_S

_GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_MORE, _LONG, _COMMAND = 1, 2, 4


class RawDealer:
    def __init__(self, port: int, *, timeout_s: float = DEADLINE_S) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)

    def shake_hands(self, routing_id: bytes = b"") -> Self:
        self.socket.sendall(_GREETING)
        self._receive(len(_GREETING))
        ready = b"\x05READY"
        for name, value in ((b"Socket-Type", b"DEALER"), (b"Identity", routing_id)):
            ready += bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
        self.socket.sendall(bytes([_COMMAND, len(ready)]) + ready)
        size = self._receive(2)[1]
        self._receive(size)
        return self

    def send_frame(self, body: bytes, *, more: bool) -> None:
        """Raises OSError once the far end has cut the connection."""
        self.socket.sendall(frame(body, more=more))

    def read_until_cut(self) -> None:
        """Returns once the far end has closed; TimeoutError when it does not."""
        with contextlib.suppress(ConnectionResetError):
            while self.socket.recv(4_096):
                pass

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _receive(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            part = self.socket.recv(size - len(received))
            assert part, "the far end closed during the handshake"
            received += part
        return received


def frame(body: bytes, *, more: bool) -> bytes:
    """One ZMTP message frame."""
    flags = _MORE if more else 0
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | _LONG]) + struct.pack(">Q", len(body)) + body
