"""The ROUTER that clients connect to: its options, and multiparts in and out of it.

Law: nothing is dropped without a word.  ROUTER_MANDATORY makes a peer that is gone or too
slow an error here instead of a silent loss, and the caller ends its session.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterable

import zmq

from broker import limits
from broker.errors import AddressInUse, ConfigError
from broker.server.connections import Connections

#: Frames of a refused multipart that are thrown away in one turn.
_DISCARD_MAX = 10_000
# Plain integers: an operation on the enumeration costs more than the call that it is for.
_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.SNDMORE | zmq.NOBLOCK)
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)

#: (now_ms, peer, frames)
Take = Callable[[int, bytes, list[bytes]], None]


def open_router(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """A ROUTER with every bound set; they hold for connections made after ``bind``."""
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.setsockopt(zmq.MAXMSGSIZE, limits.FRAME_BYTES_MAX)
    router.setsockopt(zmq.RCVHWM, limits.INPUT_MULTIPARTS_MAX)
    router.setsockopt(zmq.SNDHWM, limits.OUTBOX_FRAMES_MAX)
    router.setsockopt(zmq.HANDSHAKE_IVL, limits.HANDSHAKE_MAX)
    router.setsockopt(zmq.BACKLOG, 1_024)
    # A host that vanished sends no FIN; its descriptor would be held for ever.
    router.setsockopt(zmq.TCP_KEEPALIVE, 1)
    router.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 60)
    router.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 20)
    router.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    return router


def bind(router: zmq.Socket[bytes], addresses: Iterable[str]) -> list[str]:
    """Binds each; returns where it really listens (port 0 is replaced by the port taken)."""
    bound = []
    for address in addresses:
        # With IPV6 on, libzmq would report 127.0.0.1 in its mapped form.
        router.setsockopt(zmq.IPV6, "[" in address)
        try:
            router.bind(address)
        except zmq.ZMQError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressInUse(f"{address} is in use by another process") from None
            raise ConfigError(f"cannot listen on {address}: {error.strerror}") from None
        bound.append(router.getsockopt_string(zmq.LAST_ENDPOINT))
    return bound


class ClientSocket:
    """Multiparts of clients; bounded per turn, and counted when refused."""

    def __init__(self, router: zmq.Socket[bytes], connections: Connections) -> None:
        self.fileno = int(router.getsockopt(zmq.FD))
        self.counters: Counter[str] = Counter()
        #: False while the ROUTER may have more to hand over.
        self.is_drained = False
        self._connections = connections
        self._discarding = False
        self._receive = router.recv
        self._send = router.send
        self._option = router.getsockopt

    def has_input(self) -> bool:
        """To be asked right before blocking on ``fileno``, which tells only of changes."""
        return bool(int(self._option(_EVENTS)) & _POLLIN)

    def receive(self, now_ms: int, take: Take) -> int:
        """Hands a turn's worth of multiparts to ``take`` and returns their number.

        A multipart of too many frames is handed over with one frame above FRAMES_MAX, an
        empty one, so that its sender gets a named error; the rest of it is thrown away.
        """
        recv, heard, left = self._receive, self._connections.heard, limits.TURN_BYTES_MAX
        self.is_drained = False
        taken = 0
        try:
            while left > 0 and taken < limits.TURN_MULTIPARTS_MAX:
                if self._discarding and not self._discard():
                    break
                peer = recv(_NOBLOCK)
                # A Frame knows whether more follow; asking the socket costs as much again.
                frame = recv(_NOBLOCK, False)
                if peer not in heard:
                    self._connections.hear(peer, frame)
                frames = [frame.bytes]
                while frame.more:
                    if len(frames) == limits.FRAMES_MAX:
                        self._discarding = True
                        frames.append(b"")
                        break
                    frame = recv(_NOBLOCK, False)
                    frames.append(frame.bytes)
                taken += 1
                left -= sum(map(len, frames))
                take(now_ms, peer, frames)
                # Where one came alone, to ask is cheaper than to be refused the next.
                if taken == 1 and not self.has_input():
                    self.is_drained = True
                    break
        except zmq.Again:
            self.is_drained = True
        return taken

    def send(self, sends: Iterable[tuple[bytes, list[bytes]]]) -> dict[bytes, str]:
        """Hands everything to libzmq; returns the peers that cannot take theirs, and why.

        Only the first frame can fail, so a multipart leaves whole or not at all.
        """
        send, failed = self._send, {}
        for peer, frames in sends:
            try:
                send(peer, _MORE)
            except zmq.Again:
                failed[peer] = "too slow to take its replies"
                self._connections.cut_slow(peer)
                continue
            except zmq.ZMQError as error:
                if error.errno != errno.EHOSTUNREACH:
                    raise
                failed[peer] = "the connection is gone"
                continue
            for frame in frames[:-1]:
                send(frame, _MORE)
            send(frames[-1], _NOBLOCK)
        return failed

    def _discard(self) -> bool:
        """Throws frames of a refused multipart away; True when its last one is gone."""
        discarded = 0
        while self._discarding and discarded < _DISCARD_MAX:
            self._discarding = self._receive(_NOBLOCK, False).more
            discarded += 1
        self.counters["frames_discarded"] += discarded
        return not self._discarding
