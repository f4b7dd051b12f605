"""beanstalkd over a bare socket, its commands pipelined.

Never uses greenstalk, which waits for the reply to each command. With `-f0` the binlog is synced
after each command that changes it, so one pipeline costs as many syncs as it has commands.
"""

import socket
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO

from bench.bodies import BODY_BYTES
from bench.contender import Consume, Produce, PutOne, depth, missing_of
from bench.machine import has_program, program_version
from bench.processes import Server, free_port, launch, wait_until_listening
from bench.traffic import Load, Sink, Supply

_LEASE_SECONDS = 120
_PUT = f"put 0 0 {_LEASE_SECONDS} {BODY_BYTES}\r\n".encode()
_END = b"\r\n"
_RESERVE_WAITING = b"reserve-with-timeout 1\r\n"
_RESERVE_AT_ONCE = b"reserve-with-timeout 0\r\n"
_RECEIVE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Beanstalkd:
    """The default tube, with a binlog."""

    name: str = "beanstalkd, fsync each"
    durability: str = "binlog, fsync before the reply"
    synced: bool = True
    kind: str = "peer"

    def missing(self) -> str:
        """Name the packages that are not there."""
        return missing_of([(has_program("beanstalkd"), "beanstalkd (Debian)")])

    def version(self) -> str:
        """Return the version of the broker; the client is this file."""
        return program_version("beanstalkd", "-v")

    def start(self, directory: Path) -> Server:
        """Start beanstalkd."""
        port = free_port()
        settings = ["-l", "127.0.0.1", "-p", str(port), "-b", str(directory), "-f0"]
        return wait_until_listening(launch(["beanstalkd", *settings], port, directory))

    def prepare(self, port: int) -> None:
        """Do nothing: the default tube is always there."""

    @contextmanager
    def open_producer(self, port: int, load: Load) -> Iterator[Produce]:
        """Yield a producer that writes a batch of commands at once."""
        with _connected(port) as wire:
            yield lambda supply: _produce(wire, load, supply)

    @contextmanager
    def open_consumer(self, port: int, load: Load) -> Iterator[Consume]:
        """Yield a consumer that deletes a batch together with the next reserves."""
        with _connected(port) as wire:
            yield lambda sink: _consume(wire, load, sink)

    @contextmanager
    def open_waiting_producer(self, port: int) -> Iterator[PutOne]:
        """Yield a call that puts one message."""
        with _connected(port) as wire:

            def put_one(body: bytes) -> None:
                wire.send([_PUT, body, _END])
                wire.expect(b"INSERTED", 1)

            yield put_one


class _Wire:
    """A connection whose replies are read in the order of the commands."""

    def __init__(self, sock: socket.socket, replies: IO[bytes]) -> None:
        self._sock = sock
        self._replies = replies

    def send(self, parts: Iterable[bytes]) -> None:
        self._sock.sendall(b"".join(parts))

    def expect(self, word: bytes, count: int) -> None:
        """Read `count` replies; another one than `word` raises."""
        for _ in range(count):
            line = self._replies.readline()
            if not line.startswith(word):
                raise RuntimeError(f"beanstalkd answered {line!r} where {word!r} was due")

    def reserved(self, count: int) -> list[tuple[bytes, bytes]]:
        """Read `count` replies to reserves and return those that hold an (id, body)."""
        jobs = []
        for _ in range(count):
            words = self._replies.readline().split()
            if words[0] == b"RESERVED":
                body = self._replies.read(int(words[2]) + len(_END))
                jobs.append((words[1], body[: -len(_END)]))
            elif words[0] != b"TIMED_OUT":
                raise RuntimeError(f"beanstalkd answered {words!r} to a reserve")
        return jobs


def _produce(wire: _Wire, load: Load, supply: Supply) -> None:
    outstanding: deque[int] = deque()
    for bodies in supply.batches():
        wire.send(part for body in bodies for part in (_PUT, body, _END))
        outstanding.append(len(bodies))
        if len(outstanding) >= depth(load):
            wire.expect(b"INSERTED", outstanding.popleft())
    wire.expect(b"INSERTED", sum(outstanding))


def _consume(wire: _Wire, load: Load, sink: Sink) -> None:
    reserves = [_RESERVE_WAITING, *[_RESERVE_AT_ONCE] * (load.batch - 1)]
    deletes: list[bytes] = []
    more = True
    while more:
        wire.send(deletes + reserves)
        wire.expect(b"DELETED", len(deletes))
        jobs = wire.reserved(load.batch)
        deletes = [b"delete %b\r\n" % job_id for job_id, _ in jobs]
        if jobs:
            more = sink.take([body for _, body in jobs])
    wire.send(deletes)
    wire.expect(b"DELETED", len(deletes))


@contextmanager
def _connected(port: int) -> Iterator[_Wire]:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with BufferedReader(sock.makefile("rb", buffering=0), _RECEIVE_BYTES) as replies:
            yield _Wire(sock, replies)
