"""A client made of pyzmq and msgpack alone, as the protocol document describes it.

Owns one DEALER and its request numbers.  It never retries and never hides a reply: a test
sees what the broker sent.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, NamedTuple, Self

import msgpack
import zmq

from tests.support.waiting import DEADLINE_S


class Reply(NamedTuple):
    """The decoded header, and the frames after it as they came."""

    header: dict[str, Any]
    frames: list[bytes]

    @property
    def name(self) -> str:
        """``ok``, ``messages`` ..., or the error's name when the reply is ``failed``."""
        return str(self.header["error"] if self.header["re"] == "failed" else self.header["re"])


class WireClient:
    """Raises TimeoutError where the broker does not answer."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, routing_id: bytes = b""
    ) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.sndhwm = 0
        if routing_id:
            self.socket.routing_id = routing_id
        self.socket.connect(endpoint)
        self._last_request = 0

    def send(self, header: dict[str, Any], *frames: bytes) -> None:
        self.send_frames(msgpack.packb(header), *frames)

    def send_frames(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def receive(self, *, deadline_s: float = DEADLINE_S) -> Reply:
        """The next multipart."""
        if not self.socket.poll(int(deadline_s * 1_000)):
            raise TimeoutError(f"no reply within {deadline_s:g} s")
        header, *frames = self.socket.recv_multipart()
        return Reply(msgpack.unpackb(header), frames)

    def has_reply(self, *, wait_ms: int = 10) -> bool:
        return bool(self.socket.poll(wait_ms))

    def command(self, cmd: str, *frames: bytes, **fields: Any) -> int:
        """Sends a command and returns its request number."""
        self._last_request += 1
        self.send({"v": 1, "cmd": cmd, "req": self._last_request, **fields}, *frames)
        return self._last_request

    def request(self, cmd: str, *frames: bytes, **fields: Any) -> Reply:
        """Sends a command and returns its answer; what came before that is passed over."""
        request = self.command(cmd, *frames, **fields)
        while True:
            reply = self.receive()
            if reply.header.get("req") == request:
                return reply

    def hello(self, **fields: Any) -> Reply:
        reply = self.request("hello", client="test", **fields)
        assert reply.name == "welcome", reply
        return reply

    def put(self, queue: str, bodies: list[bytes], **fields: Any) -> Reply:
        return self.request("put", msgpack.packb(bodies), queue=queue, count=len(bodies), **fields)

    def get(self, queue: str, *, max: int = 100, **fields: Any) -> Reply:  # noqa: A002
        return self.request("get", queue=queue, max=max, **fields)

    def ack_all(self, delivery: Reply) -> Reply:
        """Acknowledges everything that a ``messages`` reply holds."""
        header = delivery.header
        ranges = [[run["first"], run["count"], run.get("attempts", 0)] for run in header["runs"]]
        return self.request("ack", queue=header["queue"], tag=header["tag"], ranges=ranges)

    def close(self) -> None:
        self.socket.close()


def bodies_of(delivery: Reply) -> list[bytes]:
    """The bodies of a ``messages`` reply, whose last frame is their array."""
    assert delivery.name == "messages", delivery
    return [
        element if isinstance(element, bytes) else element[0]
        for element in msgpack.unpackb(delivery.frames[-1])
    ]


class WireClients:
    """Makes clients, and closes them all at the end of the ``with`` block."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._clients: list[WireClient] = []

    def connect(self, endpoint: str, *, routing_id: bytes = b"") -> WireClient:
        """A client that has not said hello."""
        client = WireClient(self._context, endpoint, routing_id)
        self._clients.append(client)
        return client

    def open(self, endpoint: str, **fields: Any) -> WireClient:
        """A client that has said hello, with ``fields``."""
        client = self.connect(endpoint)
        client.hello(**fields)
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for client in self._clients:
            client.close()
        self._context.term()
