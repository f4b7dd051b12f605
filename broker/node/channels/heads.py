"""How far channels are, for those who listen: told while they change, and soon after they rest.

    here      changed channels --(a beat)--> sessions that listen
                                        \\-> Heads to brokers where some do, until they answer

Owns what changed and was not told yet.  Law: what is told of costs by what changed, never by how
many channels or sessions there are.
"""

from __future__ import annotations

from collections.abc import Iterable

from broker import limits
from broker.cluster.messages import Heads
from broker.core.session import Session
from broker.model.replies import Reply
from broker.node.channels.registry import Registry

#: (channel, epoch, sequence of the next message, first sequence where nobody could tell it)
Head = tuple[str, int, int, int | None]
#: (slot, epoch)
Reign = tuple[int, int]
#: What a head adds to a message beside its name.
_HEAD_BYTES = 32
#: Heads of one message to another broker.
_HEADS_PER_MESSAGE = 1_000


class _Peer:
    """What another broker is to hear: by channel or slot, with the number it was sent under."""

    __slots__ = ("heads", "reigns", "sent_at")

    def __init__(self) -> None:
        self.heads: dict[str, tuple[Head, int]] = {}
        self.reigns: dict[int, tuple[Reign, int]] = {}
        self.sent_at: int | None = None


class ChangedHeads:
    def __init__(self) -> None:
        self._heads: dict[str, Head] = {}
        self._reigns: dict[int, Reign] = {}
        #: The first and the last change that was not told yet.
        self._since = 0
        self._changed_at = 0
        self._told_at = 0

    def note(self, head: Head, now: int) -> None:
        self._note_change(now)
        self._heads[head[0]] = head

    def note_reign(self, slot: int, epoch: int, now: int) -> None:
        self._note_change(now)
        self._reigns[slot] = (slot, epoch)

    def _note_change(self, now: int) -> None:
        if not self._heads and not self._reigns:
            self._since = now
        self._changed_at = now

    def next_at(self) -> int | None:
        """Once what changed has come to rest, so that a message is with who listens before its
        head; a second after the first change at the latest."""
        if not self._heads and not self._reigns:
            return None
        rest_at = max(self._changed_at + limits.HEADS_IDLE, self._told_at + limits.HEADS_PAUSE)
        return min(rest_at, self._since + limits.HEADS_EVERY)

    def take_due(self, now: int) -> tuple[list[Head], list[Reign]] | None:
        at = self.next_at()
        if at is None or now < at:
            return None
        heads, self._heads = self._heads, {}
        reigns, self._reigns = self._reigns, {}
        self._told_at = now
        return list(heads.values()), list(reigns.values())


class HeadsForBrokers:
    """Heads on their way to other brokers; each is sent again until it was answered."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}
        self._number = 0

    def follow(self, brokers: list[str]) -> None:
        """Any other than these is gone."""
        for broker in [name for name in self._peers if name not in brokers]:
            del self._peers[broker]

    def note(self, broker: str, heads: Iterable[Head], reigns: Iterable[Reign]) -> None:
        peer = self._peers.setdefault(broker, _Peer())
        for head in heads:
            peer.heads[head[0]] = (head, 0)
        for reign in reigns:
            peer.reigns[reign[0]] = (reign, 0)
        peer.sent_at = None

    def take_due(self, now: int) -> list[tuple[str, Heads]]:
        due: list[tuple[str, Heads]] = []
        for broker, peer in self._peers.items():
            if peer.sent_at is not None and now - peer.sent_at < limits.REPLICA_RETRY:
                continue
            peer.sent_at = now
            due += [(broker, message) for message in self._messages(peer)]
        return due

    def _messages(self, peer: _Peer) -> Iterable[Heads]:
        heads = [head for head, _ in peer.heads.values()]
        reigns = [reign for reign, _ in peer.reigns.values()]
        for index in range(0, max(len(heads), 1), _HEADS_PER_MESSAGE):
            self._number += 1
            part = heads[index : index + _HEADS_PER_MESSAGE]
            for head in part:
                peer.heads[head[0]] = (head, self._number)
            if index == 0:
                peer.reigns = {reign[0]: (reign, self._number) for reign in reigns}
            yield Heads(self._number, part, reigns if index == 0 else [])

    def next_at(self) -> int | None:
        sent = [peer.sent_at for peer in self._peers.values() if peer.sent_at is not None]
        return min(sent) + limits.REPLICA_RETRY if sent else None

    def take_answer(self, broker: str, number: int) -> None:
        peer = self._peers.get(broker)
        if peer is None:
            return
        for name in [name for name, (_, sent) in peer.heads.items() if sent == number]:
            del peer.heads[name]
        for slot in [slot for slot, (_, sent) in peer.reigns.items() if sent == number]:
            del peer.reigns[slot]
        if not peer.heads and not peer.reigns:
            del self._peers[broker]


def push(registry: Registry, heads: Iterable[Head], reigns: list[Reign]) -> list[Reply]:
    """What the sessions of this broker are told: each of its own channels, all of reigns."""
    told: dict[Session, list[Head]] = {}
    for head in heads:
        for session in registry.sessions_of(head[0]):
            told.setdefault(session, []).append(head)
    if reigns:
        for session in registry.sessions:
            told.setdefault(session, [])
    return [
        Reply(session.peer, header)
        for session, mine in told.items()
        for header in _parts(mine, reigns)
    ]


def _parts(heads: list[Head], reigns: list[Reign]) -> Iterable[dict[str, object]]:
    if reigns:
        yield {"re": "heads", "heads": [], "reigns": reigns}
    part: list[list[object]] = []
    size = 0
    for name, epoch, following, start in heads:
        size += len(name) + _HEAD_BYTES
        if part and size > limits.HEADS_BYTES_MAX:
            yield {"re": "heads", "heads": part, "reigns": []}
            part, size = [], len(name) + _HEAD_BYTES
        part.append([name, epoch, following, *([] if start is None else [start])])
    if part:
        yield {"re": "heads", "heads": part, "reigns": []}
