"""MsgQueue itself, through the client that its users import.

Never reaches behind `patterns`. Broker and client can be those of another working tree, which is
how two versions are compared.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from typing import Any

from bench.contender import QUEUE, Consume, Produce, PutOne
from bench.machine import package_version
from bench.processes import Service, free_port, launch, wait_until
from bench.traffic import Dress, Load, Sink, Supply

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (
    *(sys.executable, "-m", "broker"),
    *("--listen", "tcp://127.0.0.1:{port}", "--data", "{data}"),
)
#: Two brokers of one run share no port; a tree that knows of no channels passes over it.
NO_CHANNELS = {"MSGQUEUE_PUBLISH_LISTEN": "", "MSGQUEUE_RAW_LISTEN": ""}
_CONFIRM_SECONDS = 30.0
_TTL_SECONDS = 86_400.0
_PRIORITIES = range(10)


@dataclass(frozen=True, slots=True)
class MsgQueue:
    """One broker of the working tree `tree`; `command` has `{port}` and `{data}` in it."""

    tree: Path = ROOT
    command: tuple[str, ...] = COMMAND
    name: str = "MsgQueue"
    durability: str = "RocksDB write-ahead log, fsync before the confirm"
    synced: bool = True
    kind: str = "ours"

    def missing(self) -> str:
        """Name what this working tree does not have yet."""
        command = [sys.executable, "-c", "import patterns, broker.server.service"]
        done = subprocess.run(command, cwd=self.tree, capture_output=True, check=False)
        return (
            ""
            if done.returncode == 0
            else "a working tree whose broker and patterns can be imported"
        )

    def version(self) -> str:
        """Return the commit and the libraries below."""
        command = ["git", "-C", str(self.tree), "describe", "--always", "--dirty"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        packages = (package_version(name) for name in ("pyzmq", "rocksdict", "msgpack"))
        return f"commit {done.stdout.strip() or 'unknown'}; {', '.join(packages)}"

    def start(self, directory: Path) -> Service:
        """Start the broker and wait for the line that says where it listens."""
        port = free_port()
        data = str(directory / "data")
        command = [part.format(port=port, data=data) for part in self.command]
        server = launch(command, port, directory, cwd=self.tree, env=NO_CHANNELS)
        wait_until(server, lambda: f":{port}".encode() in server.log.read_bytes())
        return server

    def addresses(self, port: int) -> str:
        """Return what a client is given to find the broker."""
        return f"tcp://127.0.0.1:{port}"

    def prepare(self, port: int) -> None:
        """Do nothing: a queue is declared by its first use."""

    @contextmanager
    def open_producer(self, port: int, load: Load) -> Iterator[Produce]:
        """Yield a producer that packs batches itself, or leaves that to the client."""
        with self._connected(port) as client:
            put_all = _put_singly if load.singly else _put_many
            yield lambda supply: put_all(client, load, supply)

    @contextmanager
    def open_consumer(self, port: int, load: Load) -> Iterator[Consume]:
        """Yield a consumer that acknowledges by batch or by message."""
        with self._connected(port) as client:
            take_all = _take_singly if load.singly else _take_batches
            yield lambda sink: take_all(client, load, sink)

    @contextmanager
    def open_waiting_producer(self, port: int) -> Iterator[PutOne]:
        """Yield a call that puts one message and waits."""
        with self._connected(port) as client:
            queue = client.queue(QUEUE)
            yield lambda body: queue.put(body).wait(timeout=_CONFIRM_SECONDS)

    @contextmanager
    def _connected(self, port: int) -> Iterator[Any]:
        """Yield a client of this contender's tree; the process must not have loaded another."""
        sys.path.insert(0, str(self.tree))
        from patterns import Client

        with Client(self.addresses(port)) as client:
            yield client


def _dressings(load: Load) -> Iterator[dict[str, Any]]:
    """Yield the keywords of each list in turn."""
    ttl = {"ttl": _TTL_SECONDS}
    match load.dress:
        case Dress.PLAIN:
            return cycle([{}])
        case Dress.TTL:
            return cycle([ttl])
        case Dress.PRIORITY:
            return ({"priority": priority} for priority in cycle(_PRIORITIES))
        case Dress.HALF:
            each = cycle(_PRIORITIES)
            return ({"priority": next(each), **ttl} if turn % 2 else {} for turn in count())


def _put_many(client: Any, load: Load, supply: Supply) -> None:
    queue = client.queue(QUEUE)
    for bodies, keywords in zip(supply.batches(), _dressings(load), strict=False):
        queue.put_many(bodies, batch=load.batch, **keywords)
    client.flush()


def _put_singly(client: Any, load: Load, supply: Supply) -> None:
    """Put message by message; a dressing is kept for a run of `load.batch` messages."""
    put = client.queue(QUEUE).put
    if load.dress is Dress.PLAIN:
        for body in supply.singles():
            put(body)
    else:
        for bodies, keywords in zip(supply.batches(), _dressings(load), strict=False):
            for body in bodies:
                put(body, **keywords)
    client.flush()


def _take_batches(client: Any, load: Load, sink: Sink) -> None:
    for batch in client.queue(QUEUE).consume_batches(max=load.batch):
        more = sink.take(batch.bodies)
        batch.ack()
        if not more:
            break
    client.flush()


def _take_singly(client: Any, _load: Load, sink: Sink) -> None:
    for message in client.queue(QUEUE).consume():
        more = sink.take_one(message.body)
        message.ack()
        if not more:
            break
    client.flush()
