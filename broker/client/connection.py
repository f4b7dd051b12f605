"""When to connect, to whom, and when a connection counts as lost.

Owns the session's life on the wire: hello, welcome, ping, silence, pauses between attempts.
It never opens a socket: the shell keeps one to ``address``, for as long as ``number`` stays.
Law: a connection that is doubtful is replaced, never mended; the new one resumes the session.

    waiting --pause ended--> connecting --welcome--> open
       ^                         |                    |
       +------ no answer --------+------ lost --------+
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

from broker.client.waiters import Waiters
from broker.errors import MsgQueueError

if TYPE_CHECKING:
    from broker.client.codec import Reply
    from broker.client.exchange import Exchange

ATTEMPT_MS = 5_000
PAUSE_MS_MIN = 20
PAUSE_MS_MAX = 1_000

#: That many random bytes.
Draw = Callable[[int], bytes]


class State(Enum):
    WAITING = "waiting"
    CONNECTING = "connecting"
    OPEN = "open"
    CLOSED = "closed"


class Connection:
    def __init__(
        self, exchange: Exchange, addresses: list[str], name: str, timeout_ms: int, draw: Draw
    ) -> None:
        #: Changes whenever the shell must connect anew; what was sent on the old one is void.
        self.number = 0
        self.state = State.WAITING
        #: Called once each when a session has begun.
        self.waiters = Waiters()
        #: Why the last attempt failed, in words.
        self.trouble = ""
        self.session: bytes | None = None
        #: As the welcome told: the broker's id and its cluster; both "" while there is none.
        self.broker = ""
        self.cluster = ""
        #: Where the broker's XPUB is; none when that is off.
        self.channels: list[str] = []
        self._exchange = exchange
        self._addresses = addresses
        self._address_index = 0
        self._name = name
        self._asked_timeout_ms = timeout_ms
        self._timeout_ms = timeout_ms
        self._draw = draw
        self._failures = 0
        #: When the last reply came, whatever it was.
        self.heard_at = 0
        #: When to connect, while waiting; when to ping, while open; else the attempt's end.
        self._next_at = 0

    def use_addresses(self, addresses: list[str]) -> None:
        """Where the next attempts go; a connection that is open stays."""
        if addresses != self._addresses:
            self._addresses = addresses
            self._address_index %= len(addresses)

    @property
    def address(self) -> str:
        return self._addresses[self._address_index]

    @property
    def is_open(self) -> bool:
        return self.state is State.OPEN

    @property
    def needs_socket(self) -> bool:
        return self.state in (State.CONNECTING, State.OPEN)

    def connect(self, now: int) -> None:
        """Begins an attempt: the shell connects a fresh socket and sends the hello."""
        self.number += 1
        self.state = State.CONNECTING
        self._exchange.reset()
        self._next_at = now + ATTEMPT_MS
        fields: dict[str, Any] = {
            "cmd": "hello",
            "client": self._name,
            "timeout_ms": self._asked_timeout_ms,
        }
        if self.session is not None:
            fields["resume"] = self.session
        number = self.number

        def answered(reply: Reply, at: int) -> None:
            if number == self.number:
                self._welcomed(reply, at)

        self._exchange.ask(fields, answered)

    def heard(self, now: int) -> None:
        self.heard_at = now

    def lost(self, now: int, why: str) -> None:
        """Ends this connection; the next address is tried after a pause."""
        if not self.needs_socket:
            return
        self.trouble = f"{self.address}: {why}"
        self.number += 1
        self.broker = self.cluster = ""
        self.state = State.WAITING
        self._exchange.reset()
        self._address_index = (self._address_index + 1) % len(self._addresses)
        pause = min(PAUSE_MS_MIN << min(self._failures, 10), PAUSE_MS_MAX)
        # Half of the pause is random: clients that lost one broker do not come back as one.
        pause = pause // 2 + pause * self._draw(1)[0] // 512
        self._failures += 1
        self._next_at = now + pause

    def tick(self, now: int) -> str | None:
        """What is due by now; gives the reason when the connection must be counted lost."""
        if self.state is State.CLOSED or now < self._next_at:
            return None
        if self.state is State.WAITING:
            self.connect(now)
            return None
        if self.state is State.CONNECTING:
            return "no answer"
        if now - self.heard_at >= self._timeout_ms * 2 // 3:
            return "silent for too long"
        self._ping(now)
        return None

    def next_at(self) -> int | None:
        return None if self.state is State.CLOSED else self._next_at

    def close(self) -> None:
        self.state = State.CLOSED

    def probe(self) -> None:
        """Whoever is there answers at once."""
        self._exchange.ask({"cmd": "ping"}, lambda _reply, _now: None)

    def _ping(self, now: int) -> None:
        self._next_at = now + self._timeout_ms // 3
        self.probe()

    def _welcomed(self, reply: Reply, now: int) -> None:
        error: MsgQueueError | None = reply.error()
        if error is not None:
            self.lost(now, f"{error.name}: {error.text}")
            return
        header = reply.header
        self.session = header["session"]
        self.broker = header.get("broker", "")
        self.cluster = header.get("cluster", "")
        self.channels = list(header.get("channels", ()))
        self._timeout_ms = header.get("timeout_ms", self._asked_timeout_ms)
        self._next_at = now + self._timeout_ms // 3
        self._failures = 0
        self.state = State.OPEN
        self.waiters.tell()
