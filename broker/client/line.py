"""One broker of several: the connection to it and what is under way there.

Owns how long it is worth waiting for.  It never picks a broker: ``Routing`` does.
"""

from __future__ import annotations

from broker.client.connection import Connection, Draw
from broker.client.exchange import Exchange

#: A queue waits so long for its own broker before it takes the detour over another.
PATIENCE_MS = 500
#: A line that no queue needs is closed after so long; its goodbye may take so long to leave.
UNUSED_MS = 30_000
GOODBYE_MS = 1_000


class Line:
    """``broker`` is the id that must answer; "" takes whichever does."""

    def __init__(
        self, broker: str, addresses: list[str], name: str, timeout_ms: int, draw: Draw
    ) -> None:
        self.broker = broker
        self.exchange = Exchange()
        self.connection = Connection(self.exchange, addresses, name, timeout_ms, draw)
        #: True while queues may wait for it to become ready.
        self.is_promising = True
        #: Since when no queue needs it; None while one does.
        self.unused_since: int | None = None
        #: True once it has said goodbye.
        self.is_leaving = False
        self._patience_ends_at: int | None = None
        self._has_served = False

    @property
    def is_ready(self) -> bool:
        return self.exchange.ready

    def serves(self, broker: str) -> bool:
        return not self.is_leaving and broker in (self.broker, self.connection.broker)

    def admit(self) -> None:
        """Queues may use it from now on."""
        self.exchange.ready = self._has_served = True

    def lost(self, now: int) -> None:
        """One that worked is likely to be back soon; one that never did is waited for once."""
        if self._has_served:
            self.is_promising = True
            self._patience_ends_at = now + PATIENCE_MS
        self._has_served = False

    def maybe_lose_patience(self, now: int) -> bool:
        """True once, when its queues have waited long enough."""
        if self.is_ready or not self.is_promising:
            return False
        if self._patience_ends_at is None:
            self._patience_ends_at = now + PATIENCE_MS
        self.is_promising = now < self._patience_ends_at
        return not self.is_promising

    def say_goodbye(self) -> None:
        self.exchange.tell({"cmd": "bye"})
        self.exchange.ready = False
        self.is_leaving = True

    def next_at(self) -> int | None:
        at = self.connection.next_at()
        instants = [at] if at is not None else []
        if self.is_promising and not self.is_ready and self._patience_ends_at is not None:
            instants.append(self._patience_ends_at)
        if self.unused_since is not None:
            instants.append(self.unused_since + UNUSED_MS + (GOODBYE_MS if self.is_leaving else 0))
        return min(instants, default=None)
