"""Clients of other brokers that work with slots of this one: their sessions as they are here.

A guest is made by the first command that is forwarded for it.  Its own broker vouches for it: it
ends when that broker says so, and when the stream of forwarded commands breaks.
"""

from __future__ import annotations

from broker.cluster.messages import Forward
from broker.core.session import Session
from broker.limits import SESSION_TIMEOUT_MAX

#: The first byte of a guest's peer; a routing id that the ROUTER chose begins with a zero.
GUEST = 1


class Guests:
    def __init__(self) -> None:
        #: broker -> session id -> session
        self._sessions: dict[str, dict[bytes, Session]] = {}
        self._places: dict[bytes, tuple[str, bytes]] = {}

    def of(self, broker: str, message: Forward, now: int) -> Session:
        guests = self._sessions.setdefault(broker, {})
        guest = guests.get(message.session)
        if guest is None:
            peer = bytes((GUEST,)) + broker.encode() + b"\0" + message.session
            guest = Session(message.session, peer, broker, SESSION_TIMEOUT_MAX, now)
            guest.resumes = message.resumes
            guests[message.session] = guest
            self._places[peer] = (broker, message.session)
        guest.heard_at = now
        return guest

    def place_of(self, peer: bytes) -> tuple[str, bytes] | None:
        """(broker, session id) of a guest that is still here."""
        return self._places.get(peer)

    def take(self, broker: str, session_id: bytes) -> Session | None:
        """The guest leaves; the caller gives back what it held."""
        guest = self._sessions.get(broker, {}).pop(session_id, None)
        if guest is not None:
            guest.closed = True
            del self._places[guest.peer]
        return guest

    def take_all(self, broker: str) -> list[Session]:
        ids = list(self._sessions.get(broker, {}))
        return [guest for session_id in ids if (guest := self.take(broker, session_id))]
