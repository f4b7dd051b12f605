"""The TCP connections behind the ROUTER: how many there may be, and what each withholds.

A ROUTER has no call that closes one peer, and hands nothing over before a multipart is whole.
Its monitor tells the descriptor of each connection, and a descriptor that is shut down makes
libzmq end the connection and free what it had gathered.  So this module bounds two things
that no socket option does: the number of connections, and the bytes of a multipart that
never ends.

It never reads a message and never closes a descriptor: libzmq owns them.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import zmq

_EVENT = struct.Struct("=HI")
_WATCHED = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_ACCEPT_FAILED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)
_COUNTED = {
    int(zmq.EVENT_ACCEPT_FAILED): "accept_failed",
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "handshake_failed",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "handshake_failed",
}
_NO_LINGER = struct.pack("ii", 1, 0)
#: Where ``tcpi_bytes_received`` (u64) stands in Linux's ``struct tcp_info``.
_BYTES_RECEIVED_OFFSET = 128


@dataclass(slots=True)
class _Connection:
    """``address`` is the far end's; ``since_bytes`` what had come in when it was last heard."""

    address: Any
    peer: bytes | None = None
    since_bytes: int | None = None


class Connections:
    """Follows the monitor of ``router``, or of another socket that listens; ``counters`` tell what
    was refused and cut.  ``forgotten`` hears of each descriptor whose connection is over."""

    def __init__(
        self,
        router: zmq.Socket[bytes],
        connections_max: int,
        forgotten: Callable[[int], None] = lambda _fd: None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._forgotten = forgotten
        #: Hears of each peer whose connection is over; what it sent before may still be unread.
        self.note_gone: Callable[[bytes], None] = lambda _peer: None
        #: Peers that delivered something since the last ``cut_unread``.
        self.heard: set[bytes] = set()
        self._max = connections_max
        address = f"inproc://connections-{id(self)}"
        router.monitor(address, _WATCHED)
        self._monitor = router.context.socket(zmq.PAIR)
        self._monitor.linger = 0
        self._monitor.connect(address)
        self.fileno = int(self._monitor.getsockopt(zmq.FD))
        #: descriptor -> connection, in the order in which they came
        self._open: dict[int, _Connection] = {}
        #: Those that have not delivered a message yet.
        self._silent: dict[int, None] = {}
        self._fd_of: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._open)

    def is_open(self, fd: int) -> bool:
        """False for a connection that is over, when all events are read."""
        return fd in self._open

    def follow(self) -> None:
        """Takes all events that wait; opens beyond the bound push out the longest silent one."""
        while True:
            try:
                frames = self._monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            event, fd = _EVENT.unpack(frames[0])
            if event == zmq.EVENT_ACCEPTED:
                self._accepted(fd)
            elif event == zmq.EVENT_DISCONNECTED:
                self._forget(fd)
            else:
                self.counters[_COUNTED[event]] += 1

    def hear(self, peer: bytes, frame: zmq.Frame) -> None:
        """``peer`` delivered ``frame``; to be called for a peer that is not in ``heard``."""
        if peer not in self._fd_of:
            fd = int(frame.get(zmq.SRCFD))
            connection = self._open.get(fd)
            if connection is None:
                # Its event is not read yet, or it is closed and this came before the end.
                return
            if connection.peer is not None:
                # The descriptor was given out again and the events between are not read yet.
                self._fd_of.pop(connection.peer, None)
            connection.peer = peer
            self._fd_of[peer] = fd
            self._silent.pop(fd, None)
        self.heard.add(peer)

    def cut_unread(self, unread_max: int) -> int:
        """Ends each connection that took in more than ``unread_max`` without a whole multipart.

        To be called when the ROUTER has nothing left to hand over.  Returns how many were cut.
        """
        cut = 0
        for fd, connection in list(self._open.items()):
            received = _received_bytes(fd)
            if connection.since_bytes is None or connection.peer in self.heard:
                connection.since_bytes = received
            elif received - connection.since_bytes > unread_max:
                cut += self._cut(fd, connection)
        self.heard.clear()
        self.counters["cut_unread"] += cut
        return cut

    def cut(self, fd: int, reason: str) -> None:
        """Ends a connection that does what none may do; ``reason`` names the counter."""
        connection = self._open.get(fd)
        if connection is not None:
            self.counters[f"cut_{reason}"] += self._cut(fd, connection)

    def cut_slow(self, peer: bytes) -> None:
        """Ends the connection of a peer whose pipe is full: its session can be told nothing."""
        fd = self._fd_of.get(peer)
        if fd is not None:
            self.counters["cut_slow"] += self._cut(fd, self._open[fd])

    def close(self) -> None:
        self._monitor.close()

    def _accepted(self, fd: int) -> None:
        self._forget(fd)
        connection = _Connection(_address_of(fd))
        self._open[fd] = connection
        self._silent[fd] = None
        if len(self._open) > self._max:
            # The newest is silent itself, so one that works never makes room.
            oldest = next(iter(self._silent))
            self.counters["cut_too_many"] += self._cut(oldest, self._open[oldest])

    def _forget(self, fd: int) -> None:
        connection = self._open.pop(fd, None)
        self._silent.pop(fd, None)
        if connection is not None:
            self._forgotten(fd)
        if connection is not None and connection.peer is not None:
            self._fd_of.pop(connection.peer, None)
            self.heard.discard(connection.peer)
            self.note_gone(connection.peer)

    def _cut(self, fd: int, connection: _Connection) -> bool:
        """Shuts the connection down, unless the descriptor has become another's meanwhile."""
        self._forget(fd)
        if connection.address is None or _address_of(fd) != connection.address:
            return False
        borrowed = _borrow(fd)
        try:
            # Without a linger the close that follows is a reset, and the far end knows at once.
            borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            borrowed.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
        finally:
            borrowed.detach()
        return True


def _borrow(fd: int) -> socket.socket:
    """A socket object over libzmq's descriptor; to be detached, never closed."""
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)


def _address_of(fd: int) -> Any:
    """The far end, or None when the descriptor is no connected socket (any more)."""
    try:
        borrowed = _borrow(fd)
    except OSError:
        return None
    try:
        return borrowed.getpeername()
    except OSError:
        return None
    finally:
        borrowed.detach()


def _received_bytes(fd: int) -> int:
    """What the kernel has taken in from the far end; 0 where it does not say."""
    if sys.platform != "linux":
        return 0
    try:
        borrowed = _borrow(fd)
    except OSError:
        return 0
    try:
        length = _BYTES_RECEIVED_OFFSET + 8
        info = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, length)
    except OSError:
        return 0
    finally:
        borrowed.detach()
    if len(info) < length:
        return 0
    return int.from_bytes(info[_BYTES_RECEIVED_OFFSET:], sys.byteorder)
