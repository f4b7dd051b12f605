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
#: A line that owes an answer and says nothing is probed after so long; when it says nothing to
#: that either, others are asked who owns what it serves.
PROBE_MS = 750
PROBE_ANSWER_MS = 250


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
        #: True while it does not even answer a probe.
        self.is_silent = False
        self._patience_ends_at: int | None = None
        self._has_served = False
        #: Since when it owes answers, and when it was probed for them; None when not.
        self._owing_since: int | None = None
        self._probed_at: int | None = None

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

    @property
    def works(self) -> bool:
        return self.is_ready and not self.is_silent

    @property
    def is_heard(self) -> bool:
        """Whether it is worth asking, also before queues may use it."""
        return self.connection.is_open and not self.is_silent

    def watch(self, now: int) -> None:
        """Finds out whether a broker that owes an answer is still there; only in a cluster."""
        connection = self.connection
        if not self.is_ready or not self.exchange.owes:
            self._owing_since = self._probed_at = None
        else:
            self._owing_since = now if self._owing_since is None else self._owing_since
            if self._probed_at is not None and connection.heard_at >= self._probed_at:
                self._probed_at = None
            quiet_ms = now - max(self._owing_since, connection.heard_at)
            if self._probed_at is None and quiet_ms >= PROBE_MS:
                self._probed_at = now
                connection.probe()
        probed_at = self._probed_at
        self.is_silent = probed_at is not None and now - probed_at >= PROBE_ANSWER_MS

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
        if self._owing_since is not None and self.exchange.owes and not self.is_silent:
            instants.append(
                max(self._owing_since, self.connection.heard_at) + PROBE_MS
                if self._probed_at is None
                else self._probed_at + PROBE_ANSWER_MS
            )
        return min(instants, default=None)
