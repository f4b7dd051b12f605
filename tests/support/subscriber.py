"""A subscriber made of pyzmq and msgpack alone: a SUB, and a session that asks for echoes."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

import msgpack
import zmq

from tests.support.waiting import DEADLINE_S
from tests.support.wire import WireClient


class Subscriber:
    """``client`` has said hello to the broker whose XPUB listens at ``endpoint``."""

    def __init__(self, client: WireClient, endpoint: str, *, rcvhwm: int = 0) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._client = client
        self._echoes = 0
        #: What came while an echo was waited for.
        self.passed_over: list[list[bytes]] = []
        self.socket = self._context.socket(zmq.SUB)
        self.socket.linger = 0
        self.socket.rcvhwm = rcvhwm
        self.socket.connect(endpoint)

    def subscribe(self, *prefixes: bytes) -> Self:
        """Returns once they are in force."""
        self._echoes += 1
        topic = b"$sync.%d.%d" % (id(self), self._echoes)
        for prefix in (*prefixes, topic):
            self.socket.subscribe(prefix)
        self._await_echo(topic)
        self.socket.unsubscribe(topic)
        return self

    def _await_echo(self, topic: bytes) -> None:
        """Asks again for an echo that did not come: the connection may have been made anew."""
        ends_at = time.monotonic() + DEADLINE_S
        while time.monotonic() < ends_at:
            assert self._client.request("echo", topic=topic).name == "ok"
            while self.socket.poll(1_000):
                frames = self.socket.recv_multipart()
                if frames == [topic]:
                    return
                self.passed_over.append(frames)
        raise TimeoutError("no echo comes")

    def receive(self) -> tuple[str, dict[str, Any], list[Any]]:
        """(channel, header, elements) of the next multipart."""
        topic, header, *_, batch = self._next()
        return topic[:-1].decode(), msgpack.unpackb(header), msgpack.unpackb(batch)

    def _next(self) -> list[bytes]:
        if not self.socket.poll(int(DEADLINE_S * 1_000)):
            raise TimeoutError("nothing comes")
        return self.socket.recv_multipart()

    def close(self) -> None:
        self.socket.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
