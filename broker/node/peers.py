"""The other brokers as this one hears them: what is to be sent to each, and what went missing.

Multiparts of a link are numbered.  Messages of the log are taken in any order; what is forwarded
for clients is a stream, common to both directions, that a missing multipart ends.  Whoever sees
that begins the next stream, and the other side follows with the first multipart of it that it
hears: a session's commands and answers are never taken with a hole.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from broker.cluster.messages import LinkHeader, Message, encode_link
from broker.limits import LINK_HEARTBEAT, LINK_SILENCE_MAX

OFFSETS_KEPT = 5


class Arrival(Enum):
    #: The next multipart of the stream.
    IN_ORDER = "in order"
    #: The other side began this stream: what former ones carried is lost.
    RENEWED = "renewed"
    #: Multiparts before it are missing: a new stream begins here.
    BROKEN = "broken"
    #: Of a stream that is over, or heard already: only its messages of the log count.
    LATE = "late"


class _Peer:
    __slots__ = ("boot", "expected", "heard_at", "offsets", "out", "sent_at", "sequence", "stream")

    def __init__(self) -> None:
        #: What is to be sent in this turn.
        self.out: list[Message] = []
        self.stream = 0
        #: The numbers of our next multipart and of the other's.
        self.sequence = 0
        self.expected = 0
        self.sent_at = 0
        #: The other's life; 0 before its first word.
        self.boot = 0
        self.heard_at: int | None = None
        #: Its clock less ours, as the newest multiparts tell it; their way makes it seem behind.
        self.offsets: deque[int] = deque(maxlen=OFFSETS_KEPT)

    def begin(self, stream: int) -> None:
        self.stream = stream
        self.sequence = 0
        self.expected = 0


class Peers:
    def __init__(self, broker: str, incarnation: str, boot: int) -> None:
        self._broker = broker
        self._incarnation = incarnation
        #: Drawn at each start: tells this life of the broker from any other.
        self.boot = boot
        self._peers: dict[str, _Peer] = {}

    def post(self, broker: str, message: Message) -> None:
        self._peer(broker).out.append(message)

    def _peer(self, broker: str) -> _Peer:
        peer = self._peers.get(broker)
        if peer is None:
            peer = self._peers[broker] = _Peer()
        return peer

    def is_up(self, broker: str, now: int) -> bool:
        """True for a broker that was heard of late."""
        peer = self._peers.get(broker)
        return (
            peer is not None
            and peer.heard_at is not None
            and now - peer.heard_at <= LINK_SILENCE_MAX
        )

    def arrive(self, header: LinkHeader, now: int) -> Arrival:
        """Takes note of a multipart."""
        peer = self._peer(header.broker)
        peer.offsets.append(header.now - now)
        if header.boot != peer.boot:
            is_first = peer.boot == 0 and header.sequence == 0 and header.stream >= peer.stream
            peer.boot = header.boot
            if not is_first:
                peer.heard_at = now
                peer.begin(max(peer.stream, header.stream) + 1)
                return Arrival.BROKEN
        if (header.stream, header.sequence) < (peer.stream, peer.expected):
            return Arrival.LATE
        peer.heard_at = now
        arrival = Arrival.IN_ORDER
        if header.stream > peer.stream:
            peer.begin(header.stream)
            arrival = Arrival.RENEWED
        if header.sequence > peer.expected:
            peer.begin(peer.stream + 1)
            return Arrival.BROKEN
        peer.expected += 1
        return arrival

    def begin_stream(self, broker: str) -> None:
        peer = self._peer(broker)
        peer.begin(peer.stream + 1)

    def clocks(self, now: int) -> dict[str, int]:
        """How far the clock of each broker that was heard of late is ahead of ours."""
        return {
            broker: max(peer.offsets)
            for broker, peer in self._peers.items()
            if peer.offsets and self.is_up(broker, now)
        }

    def clock_offset(self, now: int) -> int | None:
        """How far the middle one of the brokers' clocks is ahead of ours; None while no other was
        heard.  Of two clocks nobody can say which is wrong."""
        heard = self.clocks(now)
        if not heard:
            return None
        clocks = sorted([0, *heard.values()])
        return clocks[len(clocks) // 2] if len(clocks) > 2 else 0

    def take_silent(self, now: int) -> list[str]:
        """Brokers that fell silent; each is told once."""
        silent = [
            broker
            for broker, peer in self._peers.items()
            if peer.heard_at is not None and now - peer.heard_at > LINK_SILENCE_MAX
        ]
        for broker in silent:
            self._peers[broker].heard_at = None
        return silent

    def excuse_silence(self, now: int) -> None:
        for peer in self._peers.values():
            if peer.heard_at is not None:
                peer.heard_at = now

    def take(self, cluster: str, alive: list[str], now: int) -> list[tuple[str, list[bytes]]]:
        """One multipart for each broker that is to be told something, or to be kept company."""
        sends: list[tuple[str, list[bytes]]] = []
        for broker in alive:
            peer = self._peer(broker)
            if not peer.out and now - peer.sent_at < LINK_HEARTBEAT:
                continue
            header = LinkHeader(
                cluster,
                self._broker,
                self._incarnation,
                self.boot,
                peer.stream,
                peer.sequence,
                now,
            )
            sends.append((broker, encode_link(header, peer.out)))
            peer.out = []
            peer.sequence += 1
            peer.sent_at = now
        for peer in self._peers.values():
            if peer.out:
                # What is for a broker that is gone is not kept for it, but it has its number, so
                # that the other side sees what it missed.
                peer.out = []
                peer.sequence += 1
        return sends

    def next_heartbeat_at(self, alive: list[str]) -> int | None:
        sent = (self._peer(broker).sent_at for broker in alive)
        return min((at + LINK_HEARTBEAT for at in sent), default=None)
