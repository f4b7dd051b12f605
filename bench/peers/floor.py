"""The clients of `bench.floor`: a bare DEALER that packs a list of bodies in one frame.

Never retries and never checks. Its figures are a ceiling for the real broker, not a contender.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import msgpack
import zmq

from bench.bodies import chunks
from bench.contender import Consume, Produce, PutOne
from bench.floor import ACK, CREDIT, PUT
from bench.machine import package_version
from bench.processes import Server, free_port, launch, wait_until_listening
from bench.traffic import Load, Sink, Supply

_ROOT = Path(__file__).resolve().parents[2]
_SINGLES_PER_BATCH = 200
_UNCONFIRMED_MESSAGES = 100_000
_CREDIT_BATCHES = 100

Dealer = zmq.Socket[bytes]


@dataclass(frozen=True, slots=True)
class Floor:
    """The bare loop."""

    name: str = "floor: bare sockets and RocksDB"
    durability: str = "write-ahead log, fsync before the confirm"
    synced: bool = True
    kind: str = "floor"

    def missing(self) -> str:
        """Need nothing beyond the product's own dependencies."""
        return ""

    def version(self) -> str:
        """Return the versions of what it stands on."""
        packages = (package_version(name) for name in ("pyzmq", "rocksdict", "msgpack"))
        return f"{', '.join(packages)}, libzmq {zmq.zmq_version()}"

    def start(self, directory: Path) -> Server:
        """Start the bare broker."""
        port = free_port()
        command = [sys.executable, "-m", "bench.floor", "--port", str(port)]
        command += ["--data", str(directory)]
        return wait_until_listening(launch(command, port, directory, cwd=_ROOT))

    def prepare(self, port: int) -> None:
        """Do nothing: there is one queue."""

    @contextmanager
    def open_producer(self, port: int, load: Load) -> Iterator[Produce]:
        """Yield a producer that sends one frame a batch."""
        with _connected(port) as dealer:
            yield lambda supply: _produce(dealer, load, supply)

    @contextmanager
    def open_consumer(self, port: int, load: Load) -> Iterator[Consume]:
        """Yield a consumer that acknowledges each frame."""
        with _connected(port) as dealer:
            yield lambda sink: _consume(dealer, load, sink)

    @contextmanager
    def open_waiting_producer(self, port: int) -> Iterator[PutOne]:
        """Yield a call that puts a batch of one."""
        with _connected(port) as dealer:

            def put_one(body: bytes) -> None:
                dealer.send_multipart([PUT, b"", msgpack.packb([body])])
                dealer.recv()

            yield put_one


def _produce(dealer: Dealer, load: Load, supply: Supply) -> None:
    batches = supply.batches()
    if load.singly:
        batches = chunks(supply.singles(), _SINGLES_PER_BATCH)
    window = max(2, _UNCONFIRMED_MESSAGES // load.batch)
    unconfirmed = 0
    for sequence, bodies in zip(count(), batches, strict=False):
        dealer.send_multipart([PUT, sequence.to_bytes(8), msgpack.packb(bodies)])
        unconfirmed += 1
        if unconfirmed == window:
            dealer.recv()
            unconfirmed -= 1
    for _ in range(unconfirmed):
        dealer.recv()


def _consume(dealer: Dealer, load: Load, sink: Sink) -> None:
    dealer.send_multipart([CREDIT, _CREDIT_BATCHES.to_bytes(4)])
    more = True
    while more:
        key, blob = dealer.recv_multipart()
        bodies = msgpack.unpackb(blob)
        if load.singly:
            for body in bodies:
                more = sink.take_one(body)
        else:
            more = sink.take(bodies)
        dealer.send_multipart([ACK, key])


@contextmanager
def _connected(port: int) -> Iterator[Dealer]:
    context: zmq.Context[Dealer] = zmq.Context()
    with context, context.socket(zmq.DEALER) as dealer:
        dealer.set_hwm(0)
        dealer.connect(f"tcp://127.0.0.1:{port}")
        yield dealer
