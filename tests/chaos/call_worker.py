"""``python -m tests.chaos.call_worker ENDPOINT``: a worker to be killed, by the protocol alone.

It answers ``re BODY`` to each body, and to what begins with ``slow`` nothing before it is told to
stop.  A broker that does not know it any more is greeted anew.
"""

from __future__ import annotations

import sys
from typing import Any

import msgpack
import zmq

SERVICE = "chaos.calls"
CONCURRENCY = 400
_PING_MS = 500


class Worker:
    def __init__(self, endpoint: str) -> None:
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.connect(endpoint)
        self._greet()

    def _say(self, cmd: str, *frames: bytes, **fields: Any) -> None:
        header = {"v": 1, "cmd": cmd, **fields}
        self._socket.send_multipart([msgpack.packb(header), *frames])

    def _greet(self) -> None:
        self._say("hello", req=1, client="worker", timeout_ms=2_000)
        self._say("serve", req=2, service=SERVICE, worker=1, concurrency=CONCURRENCY)

    def run(self) -> None:
        while True:
            if not self._socket.poll(_PING_MS):
                self._say("ping", req=3)
                continue
            header, *frames = self._socket.recv_multipart()
            self._hear(msgpack.unpackb(header), frames)

    def _hear(self, header: dict[str, Any], frames: list[bytes]) -> None:
        if header.get("error") == "no_session":
            self._greet()
        elif header["re"] == "request" and not frames[0].startswith(b"slow"):
            self._say("answer", b"re " + frames[0], call=header["call"], **_OWN)
        elif header["re"] == "call_cancelled" and "call" in header:
            self._say("fail", call=header["call"], error="Stopped", **_OWN)


_OWN = {"service": SERVICE, "worker": 1}

if __name__ == "__main__":
    Worker(sys.argv[1]).run()
