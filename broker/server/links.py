"""Links between brokers: a ROUTER that only receives, a DEALER for each broker that only sends.

    this broker                          another broker
    DEALER to it   ------------------>   its ROUTER
    ROUTER         <------------------   its DEALER to this one

Owns the sockets, and what is dropped when one cannot take more.  Frames are opaque here.
Law: it never waits.  What a link carries may be lost, doubled, delayed and reordered, and those
who speak over it repeat what was not answered.

So a link keeps nothing for a broker that cannot be reached (IMMEDIATE): what waited in a queue
while its reader was away would be stale when he is back, and would come before what is true then.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import zmq

from broker import limits
from broker.cluster.ownership import BrokerRecord
from broker.server.client_socket import bind
from broker.server.logs import log_event

_log = logging.getLogger("broker.server")

_NOBLOCK = zmq.NOBLOCK
_MORE = zmq.SNDMORE | zmq.NOBLOCK
#: Nobody answers a DEALER; whoever does so all the same costs no memory.
_ANSWER_BYTES_MAX = 1_024

#: (now_ms, frames)
Take = Callable[[int, list[bytes]], None]


class _Link(NamedTuple):
    address: str
    dealer: zmq.Socket[bytes]


class Links:
    """``address`` is where this broker, ``own_id``, receives; port 0 takes a free one."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, *, own_id: str
    ) -> None:
        self._context = context
        self._own_id = own_id
        self._router = _open_receiver(context)
        try:
            (self.address,) = bind(self._router, [address])
        except BaseException:
            self._router.close()
            raise
        self.fileno = int(self._router.getsockopt(zmq.FD))
        #: ``links_dropped_<broker>`` counts multiparts that could not go.
        self.counters: Counter[str] = Counter()
        #: False while the ROUTER may have more to hand over.
        self.is_drained = False
        self._discarding = False
        self._links: dict[str, _Link] = {}

    def follow(self, brokers: Mapping[str, BrokerRecord]) -> None:
        """Links to all of ``brokers`` but this one; what it had to others is gone."""
        wanted = {broker: brokers[broker].links for broker in brokers if broker != self._own_id}
        for broker, link in list(self._links.items()):
            if wanted.get(broker) != link.address:
                self._close(broker)
        for broker, address in wanted.items():
            if broker not in self._links:
                self._open(broker, address)

    def has_input(self) -> bool:
        """To be asked right before blocking on ``fileno``, which tells only of changes."""
        return bool(int(self._router.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def receive(self, now_ms: int, take: Take) -> None:
        """Hands a turn's worth of multiparts to ``take``; too long a one is thrown away."""
        left = limits.TURN_BYTES_MAX
        self.is_drained = False
        with contextlib.suppress(zmq.Again):
            for _ in range(limits.TURN_MULTIPARTS_MAX):
                if left <= 0 or (self._discarding and not self._discard()):
                    return
                frames = self._receive_one()
                if frames is not None:
                    left -= sum(map(len, frames))
                    take(now_ms, frames)
            return
        self.is_drained = True

    def send(self, sends: Iterable[tuple[str, list[bytes]]]) -> None:
        """Hands each to libzmq; what cannot go now is dropped and counted."""
        for broker, frames in sends:
            link = self._links.get(broker)
            if link is None or not _send(link.dealer, frames):
                self.counters[f"links_dropped_{broker}"] += 1

    def close(self) -> None:
        for broker in list(self._links):
            self._close(broker)
        self._router.close(linger=0)

    def _open(self, broker: str, address: str) -> None:
        dealer = _open_sender(self._context)
        dealer.setsockopt(zmq.IPV6, "[" in address)
        try:
            dealer.connect(address)
        except zmq.ZMQError as error:
            # The record is another broker's word: a bad one costs that link alone.
            dealer.close()
            reason = error.strerror
            log_event(_log, logging.WARNING, "no link", broker=broker, at=address, reason=reason)
            return
        self._links[broker] = _Link(address, dealer)
        log_event(_log, logging.INFO, "link opened", broker=broker, at=address)

    def _close(self, broker: str) -> None:
        link = self._links.pop(broker)
        link.dealer.close(linger=0)
        log_event(_log, logging.INFO, "link closed", broker=broker, at=link.address)

    def _receive_one(self) -> list[bytes] | None:
        """None for a multipart of too many frames; the rest of it is to be discarded."""
        recv = self._router.recv
        recv(_NOBLOCK)  # The header names the sender.
        frame = recv(_NOBLOCK, False)
        frames = [frame.bytes]
        while frame.more:
            if len(frames) == limits.LINK_FRAMES_MAX:
                self.counters["links_refused"] += 1
                self._discarding = True
                return None
            frame = recv(_NOBLOCK, False)
            frames.append(frame.bytes)
        return frames

    def _discard(self) -> bool:
        """Throws frames of a refused multipart away; True when its last one is gone."""
        for _ in range(limits.LINK_FRAMES_MAX):
            if not self._router.recv(_NOBLOCK, False).more:
                self._discarding = False
                return True
        return False


def _open_receiver(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.MAXMSGSIZE, limits.FRAME_BYTES_MAX)
    router.setsockopt(zmq.RCVHWM, limits.LINK_INPUT_MULTIPARTS_MAX)
    router.setsockopt(zmq.HANDSHAKE_IVL, limits.HANDSHAKE_MAX)
    _watch_the_far_end(router)
    return router


def _open_sender(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.IMMEDIATE, 1)
    dealer.setsockopt(zmq.LINGER, 0)
    dealer.setsockopt(zmq.SNDHWM, limits.LINK_OUTBOX_MULTIPARTS_MAX)
    dealer.setsockopt(zmq.RCVHWM, 1)
    dealer.setsockopt(zmq.MAXMSGSIZE, _ANSWER_BYTES_MAX)
    dealer.setsockopt(zmq.CONNECT_TIMEOUT, limits.LINK_CONNECT_MAX)
    dealer.setsockopt(zmq.HANDSHAKE_IVL, limits.HANDSHAKE_MAX)
    dealer.setsockopt(zmq.RECONNECT_IVL, limits.LINK_RECONNECT_MIN)
    dealer.setsockopt(zmq.RECONNECT_IVL_MAX, limits.LINK_RECONNECT_MAX)
    # A stopped process answers no ping.  With its buffers full none can be sent to it either;
    # then the kernel's own bound on data that is not taken ends the connection.
    dealer.setsockopt(zmq.HEARTBEAT_IVL, limits.LINK_PING_INTERVAL)
    dealer.setsockopt(zmq.HEARTBEAT_TIMEOUT, limits.LINK_STALL_MAX)
    dealer.setsockopt(zmq.TCP_MAXRT, limits.LINK_STALL_MAX)
    _watch_the_far_end(dealer)
    return dealer


def _watch_the_far_end(socket: zmq.Socket[bytes]) -> None:
    """A host that vanished sends no FIN; its descriptor would be held for ever."""
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 5)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 2)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)


def _send(dealer: zmq.Socket[bytes], frames: list[bytes]) -> bool:
    """False when not all of ``frames`` went; the far end then sees none of them.

    A connection that ends between two frames takes the former back and refuses one; libzmq drops
    the rest of that multipart, and has to be given it, or it would drop from the next one.
    """
    send = dealer.send
    is_sent = True
    last = len(frames) - 1
    for index, frame in enumerate(frames):
        try:
            send(frame, _MORE if index < last else _NOBLOCK)
        except zmq.Again:
            if index == 0:
                return False
            is_sent = False
    return is_sent
