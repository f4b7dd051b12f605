"""What simulated producers and consumers share: connection, session, requests and answers.

It speaks the wire protocol as its document says, with nothing of the shipped client.  Law: a
request that has no answer on its connection has none at all; whoever asked sends it again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import msgpack

from broker.errors import BY_CODE, ConsumerNotFound, NoSession, NotNow, ProtocolError
from broker.testing.history import History
from broker.testing.network import Connection, Frames, Network
from broker.testing.schedule import MS, SECOND, Schedule

SESSION_TIMEOUT_MS = 5_000
_PING_US = 1_500 * MS
_TICK_US = 500 * MS
#: Nothing was heard for so long, or a request has no answer: try elsewhere.
_SILENT_US = 4 * SECOND

Header = dict[str, Any]
Answered = Callable[[Header], None]


class Clients:
    """What all clients of a run are given.  ``complain`` hears of what no broker may do."""

    def __init__(
        self,
        schedule: Schedule,
        network: Network,
        history: History,
        complain: Callable[[str], None],
    ) -> None:
        self.schedule = schedule
        self.network = network
        self.history = history
        self.complain = complain
        #: Queues that are there as they should be; plain ones need no declaration.
        self.declared: set[str] = set()
        self.on_declared: list[Callable[[str], None]] = []
        #: In the second phase clients trust the broker: who is not answered waits for ever.
        self.patient = False


class SimulatedClient:
    """Subclasses say what to do ``in_session`` and with ``delivered`` frames."""

    def __init__(self, name: str, clients: Clients, random: Random) -> None:
        self.name = name
        self.random = random
        self.clients = clients
        self.schedule = clients.schedule
        self._connection: Connection | None = None
        self._session: bytes | None = None
        self._req = 0
        #: Requests with no answer yet: number -> (when it was sent, whose it is).
        self._asked: dict[int, tuple[int, Answered]] = {}
        self._heard_at_us = 0
        self._pinged_at_us = 0
        #: True from ``welcome`` until the session is lost.
        self.has_session = False
        self.is_dead = False
        #: What a frozen client does when it goes on; None while it runs.
        self._held: list[Callable[[], None]] | None = None

    def start(self) -> None:
        delay_us = int(self.random.random() * 200 * MS)
        self.schedule.after(delay_us, f"{self.name} ticks", self._tick)

    # Deaths and pauses

    def die(self) -> None:
        """The process is gone, and says goodbye to nobody."""
        self.is_dead = True
        if self._connection is not None:
            self.clients.network.close(self._connection)
        self._connection = None
        self._forget_requests()

    def freeze(self) -> None:
        """The process stands still; its kernel takes what comes."""
        self._held = []

    def thaw(self) -> None:
        held, self._held = self._held, None
        for go_on in held or ():
            go_on()

    # Connection

    def _tick(self) -> None:
        if self.is_dead:
            return
        now_us = self.schedule.now_us
        label = f"{self.name} ticks"
        self.schedule.after(_TICK_US + int(self.random.random() * 20 * MS), label, self._tick)
        if self._held is not None:
            return
        if self._connection is None:
            self.connect()
        elif self._is_stuck(now_us):
            self.reconnect("waits too long")
        elif now_us - self._pinged_at_us >= _PING_US and self.has_session:
            self._pinged_at_us = now_us
            self.send("ping")
        self.each_tick()

    def _is_stuck(self, now_us: int) -> bool:
        if now_us - self._heard_at_us > _SILENT_US:
            return True
        if self.clients.patient or not self._asked:
            return False
        first_us, _ = next(iter(self._asked.values()))
        return now_us - first_us > _SILENT_US

    def connect(self) -> None:
        brokers = list(self.clients.network.brokers.values())
        connection = self.clients.network.connect(self, self.random.choice(brokers))
        if connection is None:
            return
        self._connection = connection
        self._heard_at_us = self._pinged_at_us = self.schedule.now_us
        self._say_hello()

    def reconnect(self, why: str) -> None:
        self.schedule.note(f"{self.name} reconnects: {why}")
        if self._connection is not None:
            self.clients.network.close(self._connection)
        self._lose()

    def lose_connection(self, connection: Connection) -> None:
        if self._connection is connection:
            self._lose()

    def _lose(self) -> None:
        self._connection = None
        self._forget_requests()
        delay_us = int(self.random.random() * 100 * MS)
        self.schedule.after(delay_us, f"{self.name} connects", self._connect_again)

    def _connect_again(self) -> None:
        if self._connection is None and not self.is_dead:
            self.connect()

    def _forget_requests(self) -> None:
        self.has_session = False
        self._asked.clear()

    def _say_hello(self) -> None:
        self._forget_requests()
        resume = {} if self._session is None else {"resume": self._session}
        fields = {"client": self.name, "timeout_ms": SESSION_TIMEOUT_MS, **resume}
        self.ask(self._welcomed, "hello", **fields)

    def _welcomed(self, header: Header) -> None:
        if header["re"] != "welcome":
            self._refused_hello(header)
            return
        self._session = header["session"]
        self.has_session = True
        self.in_session()

    def _refused_hello(self, header: Header) -> None:
        self.require_retryable(header)
        self.reconnect(header["error"])

    # Requests

    def ask(self, answered: Answered, cmd: str, *frames: bytes, **fields: Any) -> None:
        self._req += 1
        self._asked[self._req] = (self.schedule.now_us, answered)
        self.send(cmd, *frames, req=self._req, **fields)

    def take_request(self, req: int) -> Answered | None:
        """The request that a reply answers; None for one that waits no more."""
        asked = self._asked.pop(req, None)
        return None if asked is None else asked[1]

    def send(self, cmd: str, *frames: bytes, **fields: Any) -> None:
        if self._held is not None:
            self._held.append(partial(self.send, cmd, *frames, **fields))
        elif self._connection is not None:
            header = msgpack.packb({"v": 1, "cmd": cmd, **fields})
            self.clients.network.send_to_broker(self._connection, [header, *frames])

    def receive(self, frames: Frames) -> None:
        if self._held is not None:
            self._held.append(partial(self.receive, frames))
            return
        self._heard_at_us = self.schedule.now_us
        header = msgpack.unpackb(frames[0])
        if header["re"] == "messages":
            self.delivered(header, frames[1:])
        elif header["re"] == "history":
            self.told(header, frames[1:])
        elif header.get("code") == NoSession.code or header["re"] == "closed":
            # The connection was re-made under us, or the broker gave us up.
            if self.has_session:
                self._say_hello()
        elif header.get("req") in self._asked:
            _, answered = self._asked.pop(header["req"])
            answered(header)
        elif header["re"] == "failed" and not _is_crossed(header):
            self.failed(header)

    def require_retryable(self, header: Header) -> bool:
        """Complains of errors that nothing these clients do can cause."""
        kind = BY_CODE[header["code"]]
        if issubclass(kind, NotNow):
            return True
        word = "protocol error" if issubclass(kind, ProtocolError) else "refusal"
        self.clients.complain(f"{self.name} got an unexpected {word}: {header}")
        return False

    # For subclasses

    @property
    def unanswered(self) -> int:
        """What was asked for and has no answer yet, on any connection."""
        return 0

    def in_session(self) -> None:
        """A session has begun: say again what is unconfirmed."""

    def delivered(self, header: Header, frames: Frames) -> None:
        """Messages for a consumer."""

    def told(self, header: Header, frames: Frames) -> None:
        """What a channel's history shows."""

    def failed(self, header: Header) -> None:
        """A command without a number failed."""
        self.require_retryable(header)

    def each_tick(self) -> None:
        """Twice a second, whatever the connection does."""


def _is_crossed(header: Header) -> bool:
    """Credit that was on its way when its consumer's broker was lost; the consume is told so."""
    return header.get("cmd") == "credit" and header.get("code") == ConsumerNotFound.code
