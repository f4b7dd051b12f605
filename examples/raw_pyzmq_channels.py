"""Channels without a client library: a subscriber, a publisher, and a raw publisher, in frames.

python examples/raw_pyzmq_channels.py [tcp://127.0.0.1:5570 [tcp://127.0.0.1:5573]]
"""

import sys
from typing import Any

import msgpack
import zmq

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"
raw_address = sys.argv[2] if len(sys.argv) > 2 else "tcp://127.0.0.1:5573"

context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
dealer, sub, pub = (context.socket(kind) for kind in (zmq.DEALER, zmq.SUB, zmq.PUB))
for each in (dealer, sub, pub):
    each.linger = 1_000


def ask(command: str, *batch: bytes, **fields: Any) -> Any:
    """Sends a command and gives its answer; what the broker says by itself is passed over."""
    dealer.send_multipart([msgpack.packb({"v": 1, "cmd": command, "req": 1, **fields}), *batch])
    while dealer.poll(5_000):
        header = msgpack.unpackb(dealer.recv_multipart()[0])
        if header.get("req") == 1:
            return header
    sys.exit(f"no broker answers at {address}")


def hear() -> list[bytes]:
    if not sub.poll(5_000):
        sys.exit("nothing comes from the broker's XPUB")
    frames: list[bytes] = sub.recv_multipart()
    return frames


dealer.connect(address)
sub.connect(ask("hello", client="raw subscriber")["channels"][0])
sub.subscribe(b"news.")  # The topics of all channels that news.> matches begin so.
sub.subscribe(b"$sync.1")
ask("subscribe", pattern="news.>", sub=1)
ask("echo", topic=b"$sync.1")
print("subscribed:", hear())

told = ask("publish", msgpack.packb([b"first", b"second"]), channel="news.eu", count=2)
print("published to", told["subscriptions"])
topic, header, batch = hear()
print("heard:", topic, msgpack.unpackb(header)["first"] == told["first"], msgpack.unpackb(batch))

pub.connect(raw_address)
while not sub.poll(50):  # A PUB drops what it sends before it is connected.
    pub.send_multipart([b"news.raw", b"unconfirmed"])
print("raw:", msgpack.unpackb(hear()[-1])[0])
ask("bye")
