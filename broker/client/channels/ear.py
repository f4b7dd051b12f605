"""The SUB socket of a client, as the session wants it to be.

Owns the socket.  It never reconnects, and never decides anything: what breaks is told.
Not safe for threads: its user holds a lock.
Law: its descriptors may be waited on after ``run`` has said that the socket is dry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import zmq

from broker.client.codec import Frames
from broker.client.link import Link
from broker.limits import FANOUT_MULTIPARTS_MAX

if TYPE_CHECKING:
    from broker.client.channels.subscriptions import Subscriptions

#: So many multiparts, or bytes of them, are taken before others have their turn.
TURN_MULTIPARTS = 1_000
TURN_BYTES = 4 * 1024 * 1024
#: A connection that says nothing for so long is asked whether it is there.
PING_MS = 5_000
SILENCE_MS = 10_000

_NOBLOCK = int(zmq.NOBLOCK)


class SubLink(Link):
    """A SUB; what is published above its mark is lost, and seen to be."""

    _kind = zmq.SUB
    _receive_hwm = FANOUT_MULTIPARTS_MAX

    def _connect(self, address: str) -> None:
        self._socket.heartbeat_ivl = PING_MS
        self._socket.heartbeat_timeout = SILENCE_MS
        super()._connect(address)

    def subscribe(self, topic: bytes, is_wanted: bool) -> None:
        self._socket.setsockopt(zmq.SUBSCRIBE if is_wanted else zmq.UNSUBSCRIBE, topic)

    def receive_some(self) -> tuple[list[Frames], bool]:
        """What has come, and True when that is all of it."""
        taken: list[Frames] = []
        size = 0
        if not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            return taken, True
        receive = self._socket.recv_multipart
        try:
            while len(taken) < TURN_MULTIPARTS and size < TURN_BYTES:
                frames = receive(_NOBLOCK)
                size += len(frames[-1])
                taken.append(frames)
        except zmq.Again:
            return taken, True
        return taken, False


class Ear:
    """Follows the wishes of ``subscriptions``."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self.fds: tuple[int, ...] = ()
        #: False while there may be more to take: nobody may sleep on the descriptors then.
        self.is_dry = True
        #: True when the socket is another one, until somebody has looked.
        self.has_moved = False
        self._subscriptions = subscriptions
        self._link: SubLink | None = None
        self._number = 0

    def run(self, now: int) -> bool:
        """Takes what there is, as much as one turn allows; True for any news."""
        hearing = self._subscriptions.hearing
        has_news = False
        if hearing.has_changed:
            has_news = True
            self._follow(now)
        if self._link is None:
            return has_news
        taken, self.is_dry = self._link.receive_some()
        receive = self._subscriptions.receive
        for frames in taken:
            receive(frames)
        self._subscriptions.has_read(now)
        return has_news or bool(taken)

    def look(self, readable: list[int], now: int) -> None:
        """Whether the connection still holds."""
        if self._link is not None and self.fds[1] in readable and self._link.is_broken():
            self._subscriptions.ear_lost(now)

    def close(self) -> None:
        link, self._link = self._link, None
        self.has_moved = True
        self.fds = ()
        self.is_dry = True
        if link is not None:
            link.close()

    def _follow(self, now: int) -> None:
        hearing = self._subscriptions.hearing
        hearing.has_changed = False
        if hearing.number != self._number:
            self._number = hearing.number
            self.close()
            if hearing.address:
                self._open(hearing.address, now)
        if self._link is not None:
            while hearing.changes:
                is_wanted, topic = hearing.changes.popleft()
                self._link.subscribe(topic, is_wanted)

    def _open(self, address: str, now: int) -> None:
        try:
            self._link = link = SubLink(address)
        except zmq.ZMQError:
            self._subscriptions.ear_lost(now)
            return
        self.fds = link.fds
