"""One node and the sessions of its clients, with nothing in between.

Owns the order in which they are heard, and the time.  It never waits and never looks at a clock.

Law: ``run`` ends when nobody has anything to do at this instant, so what a client sees does not
depend on when it looks.  A write is synced at once: the memory is the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from broker.client.line import Line
from broker.client.session import Session
from broker.node.node import Node
from broker.node.settings import NodeSettings
from broker.server.schedules import Schedules
from broker.storage.memory_store import MemoryStore
from broker.testing.memory.ears import Ear

#: Rounds at one instant; who asks for more never comes to rest.
ROUNDS_MAX = 100_000
_PEER_BYTES = 5


class _Feed:
    """A session's line, and the peer that it is at the node now; None while it is none."""

    __slots__ = ("line", "number", "peer", "session")

    def __init__(self, session: Session, line: Line) -> None:
        self.session = session
        self.line = line
        self.number = 0
        self.peer: bytes | None = None


class World:
    def __init__(self, now_ms: int, draw: Callable[[int], bytes], settings: NodeSettings) -> None:
        self.now_ms = now_ms
        #: Grows with everything that reaches a session.
        self.news = 0
        #: Random bits of all.
        self.draw = draw
        self._settings = settings
        self._store = MemoryStore()
        self._sessions: list[Session] = []
        self._ears: dict[Session, Ear] = {}
        self._feeds: dict[Line, _Feed] = {}
        self._peers: dict[bytes, _Feed] = {}
        self._next_peer = 1
        self._is_running = False
        self._open()

    def attach(self, session: Session) -> None:
        self._sessions.append(session)
        self._ears[session] = Ear(session)

    def detach(self, session: Session) -> None:
        """The client is gone; what it holds goes back."""
        if session in self._sessions:
            self._sessions.remove(session)
            self._ears.pop(session).close(self._node.note_subscription)
            for feed in [f for f in self._feeds.values() if f.session is session]:
                self._hang_up(feed)
                del self._feeds[feed.line]
            self.run()

    def restart(self) -> None:
        """As after ``kill -9``: sessions are lost, and all that was confirmed is there."""
        self._peers.clear()
        self._open()
        for ear in self._ears.values():
            ear.restarted(self.now_ms)
        for feed in list(self._feeds.values()):
            feed.peer = None
            feed.session.line_lost(feed.line, self.now_ms, "the broker was restarted")
        self.run()

    def run(self) -> None:
        """Lets everyone do what is due, and hear what the others have said."""
        if self._is_running:
            return  # The application's own code was called by what runs already.
        self._is_running = True
        try:
            for _ in range(ROUNDS_MAX):
                self._hear_sessions()
                if not self._turn() and not self._has_more():
                    return
        finally:
            self._is_running = False
        raise AssertionError(f"{ROUNDS_MAX} rounds at one instant, and still no rest")

    def advance_to(self, at_ms: int) -> None:
        """Time passes, instant by instant, with all that is due on the way."""
        self.run()
        while (next_at := self.next_at()) is not None and next_at <= at_ms:
            self.now_ms = max(next_at, self.now_ms + 1)
            self.run()
        self.now_ms = max(at_ms, self.now_ms)
        self.run()

    def next_at(self) -> int | None:
        """When anyone has something to do by himself."""
        self._schedules.look(self.now_ms)
        instants = [session.next_at() for session in self._sessions]
        instants += [self._wake_at, self._schedules.next_at()]
        return min((at for at in instants if at is not None), default=None)

    def _open(self) -> None:
        self._node = Node.open(
            self._store, now_ms=self.now_ms, draw=self.draw, settings=self._settings
        )
        self._schedules = Schedules(self._node)
        self._wake_at: int | None = None

    def _hear_sessions(self) -> None:
        for session in self._sessions:
            session.tick(self.now_ms)
            self._ears[session].follow(self._node.note_subscription)
        for feed in list(self._follow()):
            outgoing = feed.line.exchange.outgoing
            while outgoing and feed.peer is not None:
                self._node.receive(self.now_ms, feed.peer, outgoing.popleft())

    def _follow(self) -> Iterator[_Feed]:
        """A feed for each line; a connection made anew is another peer."""
        for session in self._sessions:
            for line in session.lines:
                feed = self._feeds.get(line)
                if feed is None:
                    feed = self._feeds[line] = _Feed(session, line)
                if feed.number != line.connection.number:
                    feed.number = line.connection.number
                    self._hang_up(feed)
                    if line.connection.needs_socket:
                        self._call(feed)
                yield feed

    def _call(self, feed: _Feed) -> None:
        peer = self._next_peer.to_bytes(_PEER_BYTES, "big")
        self._next_peer += 1
        feed.peer = peer
        self._peers[peer] = feed

    def _hang_up(self, feed: _Feed) -> None:
        if feed.peer is not None:
            del self._peers[feed.peer]
            self._node.unreachable(self.now_ms, feed.peer, "gone")
            feed.peer = None

    def _turn(self) -> bool:
        """One turn of the node; True when it wants another at this instant."""
        turn = self._node.finish_turn(self.now_ms)
        self._wake_at = turn.wake_at
        self.news += len(turn.published)
        for ear in self._ears.values():
            ear.hear(turn.published, self.now_ms)
        for peer, frames in turn.sends:
            feed = self._peers.get(peer)
            if feed is None:
                self._node.unreachable(self.now_ms, peer, "gone")
                continue
            self.news += 1
            feed.session.receive(feed.line, frames, self.now_ms)
        if turn.sync is not None:
            self._store.sync()
            self._node.synced(self.now_ms, turn.sync)
            return True
        return turn.wake_at is not None and turn.wake_at <= self.now_ms

    def _has_more(self) -> bool:
        """Whether a session has something to send to somebody."""
        return any(feed.peer is not None and feed.line.exchange.outgoing for feed in self._follow())
