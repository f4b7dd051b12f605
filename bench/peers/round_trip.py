"""The bare round trip, with and without one fdatasync: the floor under a confirmed put.

Never keeps anything that could be consumed, so it stands in the latency row only.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import zmq

from bench.contender import PutOne
from bench.machine import package_version
from bench.processes import Server, free_port, launch, wait_until_listening

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """A DEALER that sends one body and waits for the answer of `bench.echo`."""

    synced: bool
    kind: str = "floor"

    @property
    def name(self) -> str:
        """The name in the tables."""
        return f"floor: bare round trip{' + one fdatasync' if self.synced else ''}"

    @property
    def durability(self) -> str:
        """What an answer says."""
        return "fdatasync before the answer" if self.synced else "none"

    def missing(self) -> str:
        """Need nothing beyond the product's own dependencies."""
        return ""

    def version(self) -> str:
        """Return the version of what it stands on."""
        return f"{package_version('pyzmq')}, libzmq {zmq.zmq_version()}"

    def start(self, directory: Path) -> Server:
        """Start the echo server."""
        port = free_port()
        command = [sys.executable, "-m", "bench.echo", "--port", str(port)]
        if self.synced:
            command += ["--sync", str(directory / "log")]
        return wait_until_listening(launch(command, port, directory, cwd=_ROOT))

    def prepare(self, port: int) -> None:
        """Do nothing: there is no queue."""

    @contextmanager
    def open_waiting_producer(self, port: int) -> Iterator[PutOne]:
        """Yield a call that makes one round trip."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        with context, context.socket(zmq.DEALER) as dealer:
            dealer.connect(f"tcp://127.0.0.1:{port}")

            def put_one(body: bytes) -> None:
                dealer.send(body)
                dealer.recv()

            yield put_one
