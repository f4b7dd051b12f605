"""Bare sockets: frames through our broker, and through a proxy that does nothing else.

Owns the floor of these rows: a ROUTER for callers and a DEALER for workers in one Python loop.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgpack
import zmq

from bench.calling.contender import (
    IDLE_SECONDS,
    SERVICE,
    WAIT_SECONDS,
    CallFor,
    IsOver,
    Work,
    under_way,
)
from bench.calling.msgqueue_calls import BROKER
from bench.machine import package_version
from bench.processes import Server, Service, free_port, launch, wait_until_listening

_ROOT = Path(__file__).resolve().parents[2]
_IDLE_MS = round(IDLE_SECONDS * 1000)
_STOP_AFTER_IDLE_MS = 600_000
_WAIT_MS = round(WAIT_SECONDS * 1000)
Peer = zmq.Socket[bytes]


@dataclass(frozen=True, slots=True)
class MsgQueueFrames:
    """Our broker, spoken to in frames."""

    name: str = "MsgQueue, raw DEALERs"
    kind: str = "ours"
    client: str = "pyzmq and msgpack alone; 16 places a worker"

    def missing(self) -> str:
        """Name what this working tree does not have yet."""
        return BROKER.missing()

    def version(self) -> str:
        """Return the commit and the libraries below."""
        return BROKER.version()

    def start(self, directory: Path) -> Service:
        """Start the broker."""
        return BROKER.start(directory)

    @contextmanager
    def open_worker(self, port: int) -> Iterator[Work]:
        """Yield a worker with 16 places: it takes them one after the other."""
        with _session(port) as socket:
            _send(socket, cmd="serve", req=2, service=SERVICE, worker=1, concurrency=16)
            _receive(socket)

            def work(is_over: IsOver) -> None:
                while not is_over():
                    if not socket.poll(_IDLE_MS):
                        _send(socket, cmd="ping", req=3)
                        _receive(socket)
                        continue
                    header, body = socket.recv_multipart()
                    call = msgpack.unpackb(header)["call"]
                    _send(socket, body, cmd="answer", service=SERVICE, worker=1, call=call)

            yield work

    @contextmanager
    def open_callers(self, port: int) -> Iterator[CallFor]:
        """Yield one socket with so many calls under way."""
        with _session(port) as socket:

            def send(number: int, body: bytes) -> None:
                fields = {"service": SERVICE, "timeout_ms": _WAIT_MS}
                _send(socket, body, cmd="call", req=10 + number, **fields)

            def receive() -> tuple[int, bytes]:
                header, body = socket.recv_multipart()
                return msgpack.unpackb(header)["req"] - 10, body

            yield lambda seconds, callers: under_way(send, receive, seconds, callers)


@dataclass(frozen=True, slots=True)
class BareProxy:
    """Workers connect to the port behind the callers' one."""

    name: str = "floor: bare ROUTER-DEALER proxy"
    kind: str = "floor"
    client: str = "pyzmq alone; a Python loop between them"

    def missing(self) -> str:
        """Need nothing beyond the product's own dependencies."""
        return ""

    def version(self) -> str:
        """Return the version of what it stands on."""
        return f"{package_version('pyzmq')}, libzmq {zmq.zmq_version()}"

    def start(self, directory: Path) -> Server:
        """Start the proxy."""
        port = free_port(2)
        command = [sys.executable, "-m", "bench.calling.frames", "--port", str(port)]
        return wait_until_listening(launch(command, port, directory, cwd=_ROOT))

    @contextmanager
    def open_worker(self, port: int) -> Iterator[Work]:
        """Yield a worker that sends everything back."""
        with _connected(port + 1) as socket:

            def work(is_over: IsOver) -> None:
                while not is_over():
                    if socket.poll(_IDLE_MS):
                        socket.send_multipart(socket.recv_multipart())

            yield work

    @contextmanager
    def open_callers(self, port: int) -> Iterator[CallFor]:
        """Yield one socket with so many calls under way."""
        with _connected(port) as socket:

            def send(number: int, body: bytes) -> None:
                socket.send_multipart([number.to_bytes(8, "big"), body])

            def receive() -> tuple[int, bytes]:
                number, body = socket.recv_multipart()
                return int.from_bytes(number, "big"), body

            yield lambda seconds, callers: under_way(send, receive, seconds, callers)


@contextmanager
def _connected(port: int) -> Iterator[Peer]:
    context: zmq.Context[Peer] = zmq.Context()
    with context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.rcvtimeo = _WAIT_MS
        socket.connect(f"tcp://127.0.0.1:{port}")
        yield socket


@contextmanager
def _session(port: int) -> Iterator[Peer]:
    with _connected(port) as socket:
        _send(socket, cmd="hello", req=1, client="bench", timeout_ms=60_000)
        _receive(socket)
        yield socket


def _send(socket: Peer, *body: bytes, **fields: object) -> None:
    socket.send_multipart([msgpack.packb({"v": 1, **fields}), *body])


def _receive(socket: Peer) -> None:
    reply = msgpack.unpackb(socket.recv_multipart()[0])
    if reply["re"] == "failed":
        raise RuntimeError(reply["error"])


def main() -> None:
    """Pass everything on, until nobody has come for ten minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    context: zmq.Context[Peer] = zmq.Context()
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    back.bind(f"tcp://127.0.0.1:{port + 1}")
    front.bind(f"tcp://127.0.0.1:{port}")
    poller = zmq.Poller()
    for socket in (front, back):
        poller.register(socket, zmq.POLLIN)
    while ready := poller.poll(_STOP_AFTER_IDLE_MS):
        for socket, _ in ready:
            (back if socket is front else front).send_multipart(socket.recv_multipart())


if __name__ == "__main__":
    main()
