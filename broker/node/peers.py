"""The other brokers as this one hears them: what is to be sent to each, and what went missing.

Multiparts of a link are numbered.  Messages of the log are taken in any order; what is forwarded
for clients is a stream that a missing multipart ends.  Whoever sees the end begins a new stream and
says so, and the other side does the same: a session's commands are never taken with a hole.
"""

from __future__ import annotations

from enum import Enum

from broker.cluster.messages import LinkHeader, LinkReset, Message, encode_link
from broker.limits import LINK_HEARTBEAT, LINK_SILENCE_MAX


class Arrival(Enum):
    #: The next multipart of a stream that is known.
    IN_ORDER = "in order"
    #: It begins a stream: what was known of former ones is void.
    NEW_STREAM = "new stream"
    #: Multiparts before it are missing, and the stream ends with them.
    BROKEN = "broken"
    #: Older than what was heard: only its messages of the log count.
    LATE = "late"


class _Peer:
    __slots__ = ("boot", "expected", "heard_at", "is_deaf", "out", "sent_at", "sequence", "stream")

    def __init__(self) -> None:
        #: What is to be sent in this turn.
        self.out: list[Message] = []
        #: Our multiparts' next number, in our stream to it.
        self.sequence = 0
        self.stream = 0
        self.sent_at = 0
        #: What it said last.
        self.boot = 0
        self.expected: tuple[int, int] = (-1, 0)
        self.heard_at: int | None = None
        #: True after a break, until it begins a stream.
        self.is_deaf = False


class Peers:
    def __init__(self, broker: str, incarnation: str, boot: int) -> None:
        self._broker = broker
        self._incarnation = incarnation
        self._boot = boot
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
        if header.boot == peer.boot and (header.stream, header.sequence) < peer.expected:
            return Arrival.LATE
        peer.heard_at = now
        is_known = header.boot == peer.boot and header.stream == peer.expected[0]
        is_next = is_known and header.sequence == peer.expected[1]
        peer.boot = header.boot
        peer.expected = (header.stream, header.sequence + 1)
        if not is_known and header.sequence == 0:
            peer.is_deaf = False
            return Arrival.NEW_STREAM
        if is_next and not peer.is_deaf:
            return Arrival.IN_ORDER
        peer.is_deaf = True
        self._ask_for_stream(peer)
        return Arrival.BROKEN

    def _ask_for_stream(self, peer: _Peer) -> None:
        reset = LinkReset(peer.boot, peer.expected[0])
        if reset not in peer.out:
            peer.out.append(reset)

    def reset(self, broker: str, message: LinkReset) -> bool:
        """It misses some of ours; False when it speaks of a stream that is over."""
        peer = self._peer(broker)
        if message.boot != self._boot or message.stream < peer.stream:
            return False
        self.begin_stream(broker)
        return True

    def begin_stream(self, broker: str) -> None:
        peer = self._peer(broker)
        peer.stream += 1
        peer.sequence = 0

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
                self._boot,
                peer.stream,
                peer.sequence,
            )
            sends.append((broker, encode_link(header, peer.out)))
            peer.out = []
            peer.sequence += 1
            peer.sent_at = now
        for peer in self._peers.values():
            # What is for a broker that is gone is not kept for it.
            peer.out.clear()
        return sends

    def next_heartbeat_at(self, alive: list[str]) -> int | None:
        sent = (self._peer(broker).sent_at for broker in alive)
        return min((at + LINK_HEARTBEAT for at in sent), default=None)
