"""All sessions of a broker, and until when silence is not death.

A session ends by ``bye``, by silence, by a new session that resumes it, or when its connection
takes no more replies.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

from broker.core.session import Session


class Sessions:
    """All sessions of a broker, by peer and by id."""

    def __init__(self) -> None:
        self._by_peer: dict[bytes, Session] = {}
        self._by_id: dict[bytes, Session] = {}
        #: (instant to look again, session id); a session that spoke since is put back.
        self._silence: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._by_peer)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_peer.values()))

    def add(self, session: Session) -> None:
        self._by_peer[session.peer] = session
        self._by_id[session.id] = session
        heappush(self._silence, (session.heard_at + session.timeout_ms, session.id))

    def add_inner(self, session: Session) -> None:
        """A session of the broker's own: it is found by its id, and is nobody's to see or end."""
        self._by_id[session.id] = session

    def of_peer(self, peer: bytes) -> Session | None:
        return self._by_peer.get(peer)

    def of_id(self, session_id: bytes) -> Session | None:
        return self._by_id.get(session_id)

    def remove(self, session: Session) -> None:
        session.closed = True
        self._by_peer.pop(session.peer, None)
        self._by_id.pop(session.id, None)

    def take_silent(self, now: int) -> list[Session]:
        """Sessions that have said nothing for their timeout; the caller ends them."""
        silent: list[Session] = []
        while self._silence and self._silence[0][0] <= now:
            _, session_id = heappop(self._silence)
            session = self._by_id.get(session_id)
            if session is None:
                continue
            ends_at = session.heard_at + session.timeout_ms
            if ends_at <= now:
                silent.append(session)
            else:
                heappush(self._silence, (ends_at, session_id))
        return silent

    def next_look_at(self) -> int | None:
        return self._silence[0][0] if self._silence else None
