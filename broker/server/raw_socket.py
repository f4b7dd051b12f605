"""The SUB that raw publishers connect to: messages without a session, without a confirm.

Owns the socket and its bounds.  It never looks into a frame and never answers: a publisher that is
too fast loses messages in its own PUB, which says nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import zmq

from broker import limits
from broker.server.client_socket import bind
from broker.server.connections import Connections
from broker.server.publish_socket import guard_connections

_NOBLOCK = int(zmq.NOBLOCK)
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
#: Frames of a refused multipart that are thrown away in one turn.
_DISCARD_MAX = 10_000

#: (now_ms, frames)
Take = Callable[[int, list[bytes]], None]


class RawSocket:
    """``address`` is where it listens; port 0 takes a free one."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        connections_max: int,
        take: Take,
    ) -> None:
        self._socket = _open(context)
        self._take = take
        try:
            (self.address,) = bind(self._socket, [address])
        except BaseException:
            self._socket.close()
            raise
        self.connections = Connections(self._socket, connections_max)
        self.fileno = int(self._socket.getsockopt(zmq.FD))
        self.counters: Counter[str] = Counter()
        self.is_drained = False
        self._discarding = False

    def has_input(self) -> bool:
        """To be asked right before blocking on ``fileno``, which tells only of changes."""
        return bool(int(self._socket.getsockopt(_EVENTS)) & _POLLIN)

    def receive(self, now_ms: int) -> None:
        """Hands a turn's worth of multiparts on; of too long a one, one frame too many."""
        self.connections.follow()
        left = limits.TURN_BYTES_MAX
        self.is_drained = False
        try:
            for _ in range(limits.TURN_MULTIPARTS_MAX):
                if left <= 0 or (self._discarding and not self._discard()):
                    return
                frames = self._receive_one()
                left -= sum(map(len, frames))
                self._take(now_ms, frames)
        except zmq.Again:
            self.is_drained = True

    def close(self) -> None:
        self.connections.close()
        self._socket.close(linger=0)

    def _receive_one(self) -> list[bytes]:
        recv = self._socket.recv
        frame = recv(_NOBLOCK, False)
        peer = b"%d" % int(frame.get(zmq.SRCFD))
        if peer not in self.connections.heard:
            self.connections.hear(peer, frame)
        frames = [frame.bytes]
        while frame.more:
            if len(frames) == limits.FRAMES_MAX:
                self._discarding = True
                frames.append(b"")
                return frames
            frame = recv(_NOBLOCK, False)
            frames.append(frame.bytes)
        return frames

    def _discard(self) -> bool:
        """Throws frames of a refused multipart away; True when its last one is gone."""
        for _ in range(_DISCARD_MAX):
            if not self._socket.recv(_NOBLOCK, False).more:
                self._discarding = False
                return True
        return False


def _open(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.setsockopt(zmq.MAXMSGSIZE, limits.FRAME_BYTES_MAX)
    socket.setsockopt(zmq.RCVHWM, limits.FANOUT_MULTIPARTS_MAX)
    guard_connections(socket)
    return socket
