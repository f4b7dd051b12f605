"""Moves frames between a session and its socket, as far as that goes without waiting.

Owns the link that the session wants to have.  It never blocks.  Not safe for threads.
Law: whatever interrupts it (Ctrl-C too) costs at most the connection, which is then replaced:
what was half done is unconfirmed, and done again.
"""

from __future__ import annotations

import time

import zmq

from broker.client.link import LAST_WORDS_MS, Link
from broker.client.session import Session


def now_ms() -> int:
    """The session's clock; it never falls."""
    return time.monotonic_ns() // 1_000_000


class Pump:
    def __init__(self, session: Session) -> None:
        #: Grows whenever a reply came, or the connection changed.
        self.news = 0
        #: Grows with every link, whose descriptors may have the numbers of the one before.
        self.links = 0
        self._session = session
        self._link: Link | None = None
        self._number = 0
        self._is_running = False

    @property
    def fds(self) -> tuple[int, ...]:
        """What to wait on: the socket's, then the monitor's; none while there is no link."""
        return self._link.fds if self._link is not None else ()

    def run(self) -> None:
        """Does what is due, sends all, takes all; then the descriptors may be waited on."""
        if self._is_running:
            return  # A finalizer came in between; the run below it goes on with its work.
        self._is_running = True
        try:
            self._run()
        except BaseException:
            self._session.connection_lost(now_ms(), "interrupted")
            raise
        finally:
            self._is_running = False

    def look(self, readable: list[int]) -> None:
        """Looks whether the connection still holds; what has arrived is taken first."""
        link = self._link
        if link is None or link.fds[1] not in readable or not link.is_broken():
            return
        self.run()
        if link is self._link:
            self.news += 1
            self._session.connection_lost(now_ms(), "the connection is gone")

    def close(self) -> None:
        if self._link is not None:
            self._link.close(LAST_WORDS_MS)
            self._link = None

    def _run(self) -> None:
        session = self._session
        connection = session.connection
        now = now_ms()
        session.tick(now)
        while True:
            if connection.number != self._number:
                self._follow(now)
            link = self._link
            if link is None:
                return
            while session.outgoing:
                if not link.send(session.outgoing.popleft()):
                    session.connection_lost(now, "nobody takes what is sent")
            frames = link.receive()
            if frames is not None:
                self.news += 1
                session.receive(frames, now)
            elif not session.outgoing and connection.number == self._number:
                return

    def _follow(self, now: int) -> None:
        """Gets the link that the session wants: a fresh one, or none."""
        connection = self._session.connection
        self.news += 1
        self.links += 1
        if self._link is not None:
            self._link.close()
            self._link = None
        self._number = connection.number
        if not connection.needs_socket:
            return
        try:
            self._link = Link(connection.address)
        except zmq.ZMQError as error:
            self._session.connection_lost(now, str(error))
            return
        if self._link.is_broken():
            self._session.connection_lost(now, "nobody listens")
