"""Redis Streams over a bare socket and hiredis, with several pipelines in flight.

redis-py's own pipelines reach about two thirds of this, so the figure is kind to Redis. Never
deletes what it acknowledged (XDEL and trimming would only slow Redis down), so the work it does is
less than a queue's. The confirm of a pipeline is its replies: with `appendfsync always` they leave
after the fsync, with `everysec` before it.

Redis reads 16 KiB of a connection and then syncs. With `always` the producer therefore has several
connections, which share each sync among more messages at the price of their order; with `everysec`
one is faster.
"""

import importlib.util
import socket
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from bench.bodies import chunks
from bench.contender import (
    QUEUE,
    UNCONFIRMED_MESSAGES,
    Consume,
    Produce,
    PutOne,
    missing_of,
)
from bench.machine import has_program, package_version, program_version
from bench.processes import Server, free_port, launch, wait_until_listening
from bench.traffic import Load, Sink, Supply

_KEY = QUEUE.encode()
_GROUP = b"workers"
_BLOCK_MS = b"20"
_READS_AHEAD = 3
_RECEIVE_BYTES = 1 << 18
_SINGLES_PER_PIPELINE = 1_000
_CONNECTIONS_SYNCED = 4

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
        pipeline = _SINGLES_PER_PIPELINE if load.singly else load.batch
        count = _CONNECTIONS_SYNCED if self.synced else 1
        with ExitStack() as stack:
            wires = [stack.enter_context(_connected(port)) for _ in range(count)]
            yield lambda supply: _produce(wires, pipeline, supply)

    @contextmanager
    def open_consumer(self, port: int, load: Load) -> Iterator[Consume]:
        """Yield a consumer that reads ahead."""
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


def _produce(wires: Sequence[_Wire], pipeline: int, supply: Supply) -> None:
    """Send pipelines over the connections in turn, with as many unanswered as are allowed."""
    unanswered: deque[tuple[_Wire, int]] = deque()
    pipelines_max = max(len(wires), UNCONFIRMED_MESSAGES // pipeline)
    for bodies, wire in zip(chunks(supply.singles(), pipeline), cycle(wires), strict=False):
        wire.send([(b"XADD", _KEY, b"*", b"b", body) for body in bodies])
        unanswered.append((wire, len(bodies)))
        if len(unanswered) >= pipelines_max:
            oldest, count = unanswered.popleft()
            oldest.receive(count)
    for wire, count in unanswered:
        wire.receive(count)


def _consume(wire: _Wire, load: Load, sink: Sink) -> None:
    """Keep some reads under way; the acknowledges of a batch go out with the next read."""
    count = _SINGLES_PER_PIPELINE if load.singly else load.batch
    group = (b"XREADGROUP", b"GROUP", _GROUP, b"one", b"COUNT", str(count).encode())
    read = (*group, b"BLOCK", _BLOCK_MS, b"STREAMS", _KEY, b">")
    acks_before_read = deque([0] * _READS_AHEAD)
    wire.send([read] * _READS_AHEAD)
    more = True
    while more:
        streams = wire.receive(acks_before_read.popleft() + 1)[-1]
        entries = streams[0][1] if streams else []
        acks = _acks([entry_id for entry_id, _ in entries], load)
        if entries:
            more = sink.take([fields[1] for _, fields in entries])
        wire.send([*acks, read])
        acks_before_read.append(len(acks))
    wire.receive(sum(acks_before_read) + len(acks_before_read))


def _acks(ids: list[bytes], load: Load) -> list[Command]:
    if load.singly:
        return [(b"XACK", _KEY, _GROUP, entry_id) for entry_id in ids]
    return [(b"XACK", _KEY, _GROUP, *ids)] if ids else []


@contextmanager
def _connected(port: int) -> Iterator[_Wire]:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield _Wire(sock)
