"""A broker with nothing in it: what bare sockets and a bare RocksDB allow on this machine.

Owns a ROUTER, a RocksDB and one sync thread; a batch is one opaque frame, one record and one
delivery. It has no queues, no leases, no order across consumers, no recovery and no checks, and
must never grow any: it is the ceiling that the real broker is compared with. Law: a batch is
confirmed and delivered only after its write-ahead log is synced.

Frames from clients: [P, sequence, blob] put, [C, credit] consumer, [A, key] acknowledge.
Frames to clients: [sequence] confirm, [key, blob] delivery.
"""

import argparse
import queue
import threading
from collections import deque
from pathlib import Path

import zmq
from rocksdict import DBCompressionType, Options, Rdict, WriteBatch

PUT, CREDIT, ACK = b"P", b"C", b"A"
_TURN_BYTES_MAX = 1 << 20
_STOP_AFTER_IDLE_MS = 600_000

Frames = list[bytes]


class FloorBroker:
    """One queue, one consumer, one loop."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], port: int, data: Path) -> None:
        self._router = context.socket(zmq.ROUTER)
        self._router.set_hwm(0)
        self._router.bind(f"tcp://127.0.0.1:{port}")
        self._synced = context.socket(zmq.PAIR)
        self._synced.bind("inproc://synced")
        self._to_sync: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_syncing = False
        self._db = _open(data)
        self._batch = WriteBatch(raw_mode=True)
        self._answers: list[Frames] = []
        self._unanswered: list[Frames] = []
        self._bodies: list[tuple[bytes, bytes]] = []
        self._unsent: deque[tuple[bytes, bytes]] = deque()
        self._in_sync: list[tuple[bytes, bytes]] = []
        self._consumer = b""
        self._credit = 0
        self._next_key = 0
        threading.Thread(target=self._sync, args=(context,), daemon=True).start()

    def run(self) -> None:
        """Serve until the process is ended, or nobody has come for ten minutes."""
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._synced, zmq.POLLIN)
        while events := dict(poller.poll(_STOP_AFTER_IDLE_MS)):
            if self._router in events:
                self._receive()
            if self._synced in events:
                self._finish_sync()
            if not self._is_syncing and len(self._batch):
                self._begin_sync()
            self._deliver()

    def _receive(self) -> None:
        """Take what waits, up to a turn's worth of bytes."""
        room = _TURN_BYTES_MAX
        while room > 0:
            try:
                sender, kind, first, *rest = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if kind == PUT:
                key = self._next_key.to_bytes(8)
                self._next_key += 1
                self._batch.put(key, rest[0])
                self._answers.append([sender, first])
                self._bodies.append((key, rest[0]))
                room -= len(rest[0])
            elif kind == ACK:
                self._batch.delete(first)
                self._credit += 1
            else:
                self._consumer, self._credit = sender, int.from_bytes(first)

    def _begin_sync(self) -> None:
        self._db.write(self._batch)
        self._batch = WriteBatch(raw_mode=True)
        self._is_syncing = True
        self._in_sync, self._bodies = self._bodies, []
        self._unanswered, self._answers = self._answers, []
        self._to_sync.put(None)

    def _finish_sync(self) -> None:
        self._synced.recv()
        self._is_syncing = False
        for answer in self._unanswered:
            self._router.send_multipart(answer)
        self._unsent.extend(self._in_sync)

    def _deliver(self) -> None:
        while self._unsent and self._credit:
            self._router.send_multipart([self._consumer, *self._unsent.popleft()], copy=False)
            self._credit -= 1

    def _sync(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        done = context.socket(zmq.PAIR)
        done.connect("inproc://synced")
        while True:
            self._to_sync.get()
            self._db.flush_wal(True)
            done.send(b"")


def _open(data: Path) -> Rdict:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(64 << 20)
    options.set_compression_type(DBCompressionType.none())
    return Rdict(str(data / "floor"), options)


def main() -> None:
    """Run the floor broker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    FloorBroker(zmq.Context(), arguments.port, arguments.data).run()


if __name__ == "__main__":
    main()
