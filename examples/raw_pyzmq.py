"""The protocol without a client library: hello, put, get, ack.

python examples/raw_pyzmq.py [tcp://127.0.0.1:5570]
"""

import itertools
import sys
from typing import Any

import msgpack
import zmq

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"

socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
socket.linger = 0
socket.connect(address)
numbers = itertools.count(1)


def ask(command: str, batch: list[Any] | None = None, **fields: Any) -> tuple[Any, list[Any]]:
    """One command and its reply: the header, and the messages if there are any."""
    header = {"v": 1, "cmd": command, "req": next(numbers), **fields}
    frames = [msgpack.packb(header)]
    if batch is not None:
        frames.append(msgpack.packb(batch))
    socket.send_multipart(frames)
    if not socket.poll(5_000):
        sys.exit(f"no broker answers at {address}")
    reply, *rest = socket.recv_multipart()
    answer = msgpack.unpackb(reply)
    if answer["re"] == "failed":
        sys.exit(f"{command}: {answer['error']}: {answer['text']}")
    return answer, msgpack.unpackb(rest[-1]) if rest else []


welcome, _ = ask("hello", client="raw")
print("session", welcome["session"].hex(), "with", welcome["broker"])

bodies = [b"first", b"second"]
placed, _ = ask("put", batch=bodies, queue="raw", count=len(bodies))
print("on disk on", placed["copies"], "broker(s), at position", placed["first"])

delivery, messages = ask("get", queue="raw", max=10, timeout_ms=1_000)
print("got", messages)

ranges = [[run["first"], run["count"], run.get("attempts", 0)] for run in delivery["runs"]]
acked, _ = ask("ack", queue="raw", tag=delivery["tag"], ranges=ranges)
print("acked", acked["count"])

ask("bye")
