"""Redis Streams over a bare socket and hiredis, with several pipelines in flight.

redis-py's own pipelines reach about two thirds of this, so the figure is kind to Redis. Never
deletes what it acknowledged (XDEL and trimming would only slow Redis down), so the work it does is
less than a queue's. The confirm of a pipeline is its replies: with `appendfsync always` they leave
after the fsync, with `everysec` before it.
"""

import importlib.util
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.bodies import chunks
from bench.contender import QUEUE, Consume, Produce, PutOne, depth, missing_of
from bench.machine import has_program, package_version, program_version
from bench.processes import Server, free_port, launch, wait_until_listening
from bench.traffic import Load, Sink, Supply

_KEY = QUEUE.encode()
_GROUP = b"workers"
_BLOCK_MS = b"200"
_RECEIVE_BYTES = 1 << 18
_SINGLES_PER_PIPELINE = 1_000

Command = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RedisStreams:
    """A stream with one consumer group."""

    appendfsync: str
    kind: str = "peer"

    @property
    def name(self) -> str:
        """The name in the tables."""
        return f"Redis Streams, appendfsync {self.appendfsync}"

    @property
    def durability(self) -> str:
        """What a confirm says."""
        if self.synced:
            return "append-only file, fsync before the reply"
        return "append-only file, fsync once a second, reply before it"

    @property
    def synced(self) -> bool:
        """Whether a confirm comes after fsync."""
        return self.appendfsync == "always"

    def missing(self) -> str:
        """Name the packages that are not there."""
        return missing_of(
            [
                (has_program("redis-server"), "redis-server (Debian)"),
                (importlib.util.find_spec("hiredis") is not None, "hiredis (PyPI)"),
            ]
        )

    def version(self) -> str:
        """Return the versions of broker and client."""
        server = " ".join(program_version("redis-server", "--version").split()[:3])
        return f"{server}; {package_version('hiredis')}"

    def start(self, directory: Path) -> Server:
        """Start redis-server without snapshots."""
        port = free_port()
        settings = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)]
        settings += ["--appendonly", "yes", "--appendfsync", self.appendfsync, "--save", ""]
        return wait_until_listening(launch(["redis-server", *settings], port, directory))

    def prepare(self, port: int) -> None:
        """Make the stream and its group."""
        with _connected(port) as wire:
            wire.call((b"XGROUP", b"CREATE", _KEY, _GROUP, b"0", b"MKSTREAM"))

    @contextmanager
    def open_producer(self, port: int, load: Load) -> Iterator[Produce]:
        """Yield a producer that sends one pipeline a batch."""
        with _connected(port) as wire:
            yield lambda supply: _produce(wire, load, supply)

    @contextmanager
    def open_consumer(self, port: int, load: Load) -> Iterator[Consume]:
        """Yield a consumer that acknowledges a batch together with the next read."""
        with _connected(port) as wire:
            yield lambda sink: _consume(wire, load, sink)

    @contextmanager
    def open_waiting_producer(self, port: int) -> Iterator[PutOne]:
        """Yield a call that adds one message."""
        with _connected(port) as wire:

            def put_one(body: bytes) -> None:
                wire.call((b"XADD", _KEY, b"*", b"b", body))

            yield put_one


class _Wire:
    """A connection that speaks RESP through hiredis; replies are read in the order of sending."""

    def __init__(self, sock: socket.socket) -> None:
        import hiredis

        self._sock = sock
        self._reader = hiredis.Reader()
        self._pack: Any = hiredis.pack_command

    def send(self, commands: Iterable[Command]) -> None:
        self._sock.sendall(b"".join(map(self._pack, commands)))

    def receive(self, count: int) -> list[Any]:
        """Return the next `count` replies; an error reply raises."""
        replies: list[Any] = []
        while len(replies) < count:
            reply = self._reader.gets()
            if reply is False:
                self._reader.feed(self._sock.recv(_RECEIVE_BYTES))
            elif isinstance(reply, Exception):
                raise reply
            else:
                replies.append(reply)
        return replies

    def call(self, command: Command) -> Any:
        self.send([command])
        return self.receive(1)[0]


def _produce(wire: _Wire, load: Load, supply: Supply) -> None:
    batches = supply.batches()
    if load.singly:
        batches = chunks(supply.singles(), _SINGLES_PER_PIPELINE)
    outstanding: deque[int] = deque()
    for bodies in batches:
        wire.send([(b"XADD", _KEY, b"*", b"b", body) for body in bodies])
        outstanding.append(len(bodies))
        if len(outstanding) >= depth(load):
            wire.receive(outstanding.popleft())
    wire.receive(sum(outstanding))


def _consume(wire: _Wire, load: Load, sink: Sink) -> None:
    count = str(_SINGLES_PER_PIPELINE if load.singly else load.batch).encode()
    group = (b"XREADGROUP", b"GROUP", _GROUP, b"one", b"COUNT", count)
    read = (*group, b"BLOCK", _BLOCK_MS, b"STREAMS", _KEY, b">")
    acks: list[Command] = []
    more = True
    while more:
        wire.send([*acks, read])
        streams = wire.receive(len(acks) + 1)[-1]
        entries = streams[0][1] if streams else []
        ids = [entry_id for entry_id, _ in entries]
        if load.singly:
            acks = [(b"XACK", _KEY, _GROUP, entry_id) for entry_id in ids]
        else:
            acks = [(b"XACK", _KEY, _GROUP, *ids)] if ids else []
        if entries:
            more = sink.take([fields[1] for _, fields in entries])
    wire.send(acks)
    wire.receive(len(acks))


@contextmanager
def _connected(port: int) -> Iterator[_Wire]:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield _Wire(sock)
