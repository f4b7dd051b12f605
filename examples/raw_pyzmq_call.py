"""A service without a client library: a worker and a caller, in frames.

python examples/raw_pyzmq_call.py [tcp://127.0.0.1:5570]
"""

import sys
from typing import Any

import msgpack
import zmq

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"

Peer = zmq.Socket[bytes]


def connect(name: str) -> Peer:
    socket: Peer = zmq.Context.instance().socket(zmq.DEALER)
    socket.linger = 1_000
    socket.connect(address)
    send(socket, "hello", req=1, client=name)
    receive(socket)
    return socket


def send(socket: Peer, command: str, *body: bytes, **fields: Any) -> None:
    socket.send_multipart([msgpack.packb({"v": 1, "cmd": command, **fields}), *body])


def receive(socket: Peer) -> tuple[Any, list[bytes]]:
    """The next header, and the body behind it if there is one."""
    if not socket.poll(5_000):
        sys.exit(f"no broker answers at {address}")
    header, *body = socket.recv_multipart()
    return msgpack.unpackb(header), body


worker, caller = connect("raw worker"), connect("raw caller")
send(worker, "serve", req=2, service="raw.upper", worker=1)
print("served:", receive(worker)[0]["re"])

send(caller, "call", b"hello", req=2, service="raw.upper", timeout_ms=2_000)
request, [asked] = receive(worker)
print("asked:", asked, "attempt", request["attempt"])
send(worker, "answer", asked.upper(), service="raw.upper", call=request["call"], worker=1)
print("answered:", receive(caller)[1])

send(caller, "call", b"", req=3, service="raw.nobody", timeout_ms=2_000)
print("nobody:", receive(caller)[0]["error"])
for socket in (worker, caller):
    send(socket, "bye")
