"""Moves frames between a session and its sockets, as far as that goes without waiting.

Owns the links that the session wants to have, one for each of its lines, and the ear for what is
published.  It never blocks.  Not
safe for threads.
Law: whatever interrupts it (Ctrl-C too) costs at most the connections, which are then replaced:
what was half done is unconfirmed, and done again.
"""

from __future__ import annotations

import time

import zmq

from broker.client.channels.ear import Ear
from broker.client.line import Line
from broker.client.link import LAST_WORDS_MS, Link
from broker.client.session import Session


def now_ms() -> int:
    """The session's clock; it never falls."""
    return time.monotonic_ns() // 1_000_000


class _Feed:
    """A line of the session, and the link that carries it now."""

    __slots__ = ("line", "link", "number")

    def __init__(self, line: Line) -> None:
        self.line = line
        self.link: Link | None = None
        #: Of the connection that the link is for.
        self.number = 0

    @property
    def is_behind(self) -> bool:
        """True when something was decided that the link does not know of yet."""
        if self.line.connection.number != self.number:
            return True
        return self.link is not None and bool(self.line.exchange.outgoing)


class Pump:
    def __init__(self, session: Session) -> None:
        #: Grows whenever a reply came, or a connection changed.
        self.news = 0
        #: Grows with every link, whose descriptors may have the numbers of the one before.
        self.links = 0
        #: What to wait on: each socket's, then its monitor's; none while there is no link.
        self.fds: tuple[int, ...] = ()
        self._session = session
        self._lines: tuple[Line, ...] = ()
        self._feeds: list[_Feed] = []
        self._ear = Ear(session.subscriptions)
        self._is_running = False

    @property
    def is_dry(self) -> bool:
        """False while more was published than one turn takes: then nobody may sleep."""
        return self._ear.is_dry

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
        """Looks whether the connections still hold; what has arrived is taken first."""
        self._ear.look(readable, now_ms())
        for feed in list(self._feeds):
            link = feed.link
            if link is None or link.fds[1] not in readable or not link.is_broken():
                continue
            self.run()
            if link is feed.link:
                self.news += 1
                self._session.line_lost(feed.line, now_ms(), "the connection is gone")

    def close(self) -> None:
        for feed in self._feeds:
            if feed.link is not None:
                feed.link.close(LAST_WORDS_MS)
        self._feeds = []
        self._ear.close()
        self.fds = ()

    def _run(self) -> None:
        session = self._session
        now = now_ms()
        session.tick(now)
        hearing = session.subscriptions.hearing
        is_listening = session.subscriptions.is_used
        while True:
            if session.lines is not self._lines:
                self._follow_lines()
            for feed in self._feeds:
                self._serve(feed, now)
            if is_listening or hearing.has_changed:
                is_listening = False
                self._listen(now)
            is_behind = hearing.has_changed or any(f.is_behind for f in self._feeds)
            if session.lines is self._lines and not is_behind:
                return

    def _listen(self, now: int) -> None:
        if self._ear.run(now):
            self.news += 1
        if self._ear.has_moved:
            self._ear.has_moved = False
            self._note_fds()

    def _serve(self, feed: _Feed, now: int) -> None:
        """Sends and takes until this line has nothing more."""
        session = self._session
        line = feed.line
        outgoing = line.exchange.outgoing
        while True:
            if line.connection.number != feed.number:
                self._follow(feed, now)
            link = feed.link
            if link is None:
                return
            while outgoing:
                if not link.send(outgoing.popleft()):
                    session.line_lost(line, now, "nobody takes what is sent")
            frames = link.receive()
            if frames is not None:
                self.news += 1
                session.receive(line, frames, now)
            elif not outgoing and line.connection.number == feed.number:
                return

    def _follow_lines(self) -> None:
        """Has a feed for each line; those of lines that are gone are closed."""
        self._lines = self._session.lines
        known = {feed.line: feed for feed in self._feeds}
        self._feeds = [known[line] if line in known else _Feed(line) for line in self._lines]
        for line in known.keys() - set(self._lines):
            self._replace(known[line], None)

    def _follow(self, feed: _Feed, now: int) -> None:
        """Gets the link that the line wants: a fresh one, or none."""
        connection = feed.line.connection
        self._replace(feed, None)
        feed.number = connection.number
        if not connection.needs_socket:
            return
        try:
            link = Link(connection.address)
        except zmq.ZMQError as error:
            self._session.line_lost(feed.line, now, str(error))
            return
        self._replace(feed, link)
        if link.is_broken():
            self._session.line_lost(feed.line, now, "nobody listens")

    def _replace(self, feed: _Feed, link: Link | None) -> None:
        self.news += 1
        former, feed.link = feed.link, link
        if former is not None:
            former.close()
        self._note_fds()

    def _note_fds(self) -> None:
        self.links += 1
        fds = [fd for f in self._feeds if f.link is not None for fd in f.link.fds]
        self.fds = (*fds, *self._ear.fds)
