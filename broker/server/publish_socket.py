"""The XPUB that subscribers connect to: who subscribes what there, and multiparts out of it.

Owns the socket, each connection's subscriptions and their bounds.  A subscription is looked at
before it is in force (XPUB_MANUAL): one that is too long, or one too many, is refused and counted;
its subscriber cannot be told, for SUB sockets hear nothing but topics.

libzmq tells of every subscription, of the same one of a connection twice too, but gives one up
without a word of whose it was when its connection ends.  So connections are followed by their
descriptors, and what a connection held goes when its end is known.

Law: nothing waits.  What a slow subscriber does not take is dropped for that one alone, and it
sees the gap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import zmq

from broker import limits
from broker.server.client_socket import bind
from broker.server.connections import Connections

_NOBLOCK = int(zmq.NOBLOCK)
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_MORE = zmq.SNDMORE | zmq.NOBLOCK
_TOPIC_BYTES_MAX = limits.NAME_BYTES_MAX + 1
_ON, _OFF = b"\1", b"\0"

#: (prefix of topics, True for its first subscriber of a connection and False for its end)
Note = Callable[[bytes, bool], None]


class PublishSocket:
    """``address`` is where it listens; port 0 takes a free one.  ``note`` hears of subscriptions
    that are in force, each once a connection."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        connections_max: int,
        note: Note,
    ) -> None:
        self._socket = _open(context)
        self._note = note
        try:
            (self.address,) = bind(self._socket, [address])
        except BaseException:
            self._socket.close()
            raise
        self.connections = Connections(self._socket, connections_max, self._forget)
        self.fileno = int(self._socket.getsockopt(zmq.FD))
        self.counters: Counter[str] = Counter()
        self.is_drained = False
        #: descriptor -> the prefixes that its connection holds
        self._held: dict[int, set[bytes]] = {}
        self._size = 0
        #: True while libzmq may take one subscriber for another; see ``_refuse_stranger``.
        self._is_confused = False
        self._send = self._socket.send

    def has_input(self) -> bool:
        """To be asked right before blocking on ``fileno``, which tells only of changes."""
        return bool(int(self._socket.getsockopt(_EVENTS)) & _POLLIN)

    def receive(self) -> None:
        """Takes in a turn's worth of subscriptions."""
        # A descriptor may be that of another connection by now: what has ended is told of first.
        self.connections.follow()
        recv = self._socket.recv
        self.is_drained = False
        try:
            for _ in range(limits.SUBSCRIPTIONS_PER_TURN):
                self._take(recv(_NOBLOCK, False))
        except zmq.Again:
            self.is_drained = True
            self._is_confused = False

    def send(self, published: Iterable[list[bytes]]) -> None:
        """Hands everything to libzmq, which passes on or drops."""
        send = self._send
        sent = 0
        for frames in published:
            for frame in frames[:-1]:
                send(frame, _MORE)
            send(frames[-1], _NOBLOCK)
            sent += 1
        self.counters["fanout_multiparts"] += sent

    def close(self) -> None:
        self.connections.close()
        self._socket.close(linger=0)

    def _take(self, frame: zmq.Frame) -> None:
        data = frame.bytes
        kind, prefix = data[:1], data[1:]
        try:
            fd = int(frame.get(zmq.SRCFD))
        except zmq.ZMQError:
            # The end of a connection, told of in its own way.
            return
        if kind not in (_ON, _OFF) or frame.more:
            self._refuse_stranger(fd)
        elif self._is_confused:
            self.connections.cut(fd, "confused")
        elif kind == _ON:
            self._subscribe(fd, prefix, frame)
        else:
            self._socket.setsockopt(zmq.UNSUBSCRIBE, prefix)
            self._drop(fd, prefix)

    def _refuse_stranger(self, fd: int) -> None:
        """No SUB socket sends messages.  With XPUB_MANUAL libzmq 4.3 counts one as if it were a
        subscription, and takes what waits behind it for another connection's: until nothing
        waits, who subscribes is cut, connects again by itself and subscribes then."""
        self._is_confused = True
        self.counters["subscriptions_malformed"] += 1
        self.connections.cut(fd, "malformed")

    def _subscribe(self, fd: int, prefix: bytes, frame: zmq.Frame) -> None:
        connections = self.connections
        if not connections.is_open(fd):
            connections.follow()
        if not connections.is_open(fd):
            # It is over, and libzmq has forgotten it.
            return
        connections.hear(b"%d" % fd, frame)
        held = self._held.get(fd)
        if held is None:
            held = self._held[fd] = set()
        if prefix in held:
            return
        if len(prefix) > _TOPIC_BYTES_MAX:
            self.counters["subscriptions_too_long"] += 1
            return
        most = limits.SUBSCRIPTIONS_PER_CONNECTION_MAX
        if len(held) >= most or self._size >= limits.SUBSCRIPTIONS_MAX:
            self.counters["subscriptions_too_many"] += 1
            return
        self._socket.setsockopt(zmq.SUBSCRIBE, prefix)
        held.add(prefix)
        self._size += 1
        self._note(prefix, True)

    def _drop(self, fd: int, prefix: bytes) -> None:
        held = self._held.get(fd)
        if held is not None and prefix in held:
            held.discard(prefix)
            self._size -= 1
            self._note(prefix, False)

    def _forget(self, fd: int) -> None:
        for prefix in self._held.pop(fd, ()):
            self._size -= 1
            self._note(prefix, False)


def _open(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """An XPUB with every bound set; they hold for connections made after ``bind``."""
    socket = context.socket(zmq.XPUB)
    socket.setsockopt(zmq.XPUB_MANUAL, 1)
    socket.setsockopt(zmq.SNDHWM, limits.FANOUT_MULTIPARTS_MAX)
    socket.setsockopt(zmq.MAXMSGSIZE, limits.SUBSCRIPTION_FRAME_BYTES_MAX)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.HEARTBEAT_IVL, limits.SUBSCRIBER_PING_INTERVAL)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, limits.SUBSCRIBER_STALL_MAX)
    # With its buffers full no ping reaches it; then the kernel ends what takes nothing.
    socket.setsockopt(zmq.TCP_MAXRT, limits.SUBSCRIBER_STALL_MAX)
    guard_connections(socket)
    return socket


def guard_connections(socket: zmq.Socket[bytes]) -> None:
    """What every socket that strangers connect to has set."""
    socket.setsockopt(zmq.HANDSHAKE_IVL, limits.HANDSHAKE_MAX)
    socket.setsockopt(zmq.BACKLOG, 1_024)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 60)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 20)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
