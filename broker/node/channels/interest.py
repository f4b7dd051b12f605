"""How brokers come to know one another's interest, whatever the links between them lose.

    sender                                receiver
    Interest 0..4 of edition 1       -->  begins with nothing; known up to 4
                                     <--  InterestKnown 4
    Interest 4..5                    --x
    Interest 4..7                    -->  continues what is known: up to 7
                                     <--  InterestKnown 7

A change is a count as it is now, so what comes twice does no harm; what does not continue what is
known is answered with how far that goes, and told from there.  What is gone is told of until a new
edition begins, with nothing.  While an edition is told in parts, the former one counts.
"""

from __future__ import annotations

from collections.abc import Callable

from broker import limits
from broker.cluster.messages import Interest, InterestKnown
from broker.node.channels.registry import Key

#: Tells that a broker's count for a key is another.
Note = Callable[[str, Key, int], None]


class OwnInterest:
    """What is told of this broker; ``version`` rises with each change, over editions too."""

    def __init__(self) -> None:
        self.edition = 1
        self.version = 0
        #: key -> (version of its last change, count), in the order of the versions
        self._changes: dict[Key, tuple[int, int]] = {}
        self._gone = 0

    def note(self, key: Key, count: int) -> None:
        known = self._changes.get(key)
        former = known[1] if known is not None else 0
        if former == count:
            return
        self._changes.pop(key, None)
        self.version += 1
        self._changes[key] = (self.version, count)
        if not count:
            self._gone += 1
        elif known is not None and not former:
            self._gone -= 1
        if self._gone > max(limits.INTEREST_GONE_MAX, len(self._changes) // 2):
            self.edition += 1
            self._changes = {key: change for key, change in self._changes.items() if change[1]}
            self._gone = 0

    def since(self, base: int) -> Interest:
        """The oldest changes behind ``base``, as many as one message tells."""
        newer: list[tuple[str | bytes, int]] = []
        versions: list[int] = []
        for key in reversed(self._changes):
            version, count = self._changes[key]
            if version <= base:
                break
            newer.append((key, count))
            versions.append(version)
        newer.reverse()
        most = limits.INTEREST_CHANGES_MAX
        end = self.version if len(newer) <= most else versions[-most]
        return Interest(self.edition, base, end, self.version, newer[:most])


class _Listener:
    """Another broker as it hears of this one's interest."""

    __slots__ = ("edition", "is_whole", "sent_at", "version")

    def __init__(self) -> None:
        #: What it knows; -1 for nothing at all.
        self.edition = 0
        self.version = -1
        #: True when it has known all since it knew nothing.
        self.is_whole = False
        #: When it was told something that it has not answered.
        self.sent_at: int | None = None


class _Heard:
    """What another broker has told of itself."""

    __slots__ = ("boot", "counts", "edition", "version")

    def __init__(self, boot: int, edition: int) -> None:
        self.boot = boot
        self.edition = edition
        self.version = 0
        self.counts: dict[Key, int] = {}


class InterestExchange:
    """``note`` is called with what others listen to, as far as it counts."""

    def __init__(self, own: OwnInterest, boot: int, note: Note) -> None:
        self._own = own
        self._boot = boot
        self._note = note
        self._listeners: dict[str, _Listener] = {}
        self._heard: dict[str, _Heard] = {}
        #: Editions of which not every part has come.
        self._parts: dict[str, _Heard] = {}

    def follow(self, brokers: list[str]) -> None:
        """These are the others that live; what is known of any other is forgotten."""
        for broker in [name for name in self._listeners if name not in brokers]:
            del self._listeners[broker]
        for broker in [name for name in self._heard if name not in brokers]:
            self._replace(broker, None)
        for broker in brokers:
            self._listeners.setdefault(broker, _Listener())

    # This broker's own

    def begin_anew(self, broker: str) -> None:
        """It may know nothing any more: its process may be another."""
        if broker in self._listeners:
            self._listeners[broker] = _Listener()

    def take_due(self, now: int) -> list[tuple[str, Interest]]:
        """What is to be told now, one message for each broker that is behind."""
        own = self._own
        due: list[tuple[str, Interest]] = []
        for broker, listener in self._listeners.items():
            is_same = listener.edition == own.edition
            if is_same and listener.version >= own.version:
                continue
            if listener.sent_at is not None and now - listener.sent_at < limits.REPLICA_RETRY:
                continue
            listener.sent_at = now
            due.append((broker, own.since(max(0, listener.version) if is_same else 0)))
        return due

    def next_at(self) -> int | None:
        """When to tell again what was not answered."""
        own = self._own
        sent = (
            listener.sent_at
            for listener in self._listeners.values()
            if listener.sent_at is not None
            and (listener.edition, listener.version) != (own.edition, own.version)
        )
        return min((at + limits.REPLICA_RETRY for at in sent), default=None)

    def take_answer(self, broker: str, message: InterestKnown) -> None:
        listener = self._listeners.get(broker)
        own = self._own
        if listener is None or (message.boot, message.edition) != (self._boot, own.edition):
            return
        listener.edition = own.edition
        # A late answer tells of less than is known: then some of it is told once more.
        listener.version = message.version
        listener.sent_at = None
        listener.is_whole = listener.is_whole or message.version == own.version

    def unaware(self, version: int) -> list[str]:
        """The brokers that may not know yet what was so in ``version``."""
        return [
            broker
            for broker, listener in self._listeners.items()
            if not listener.is_whole or listener.version < version
        ]

    # The others'

    def take(self, broker: str, boot: int, message: Interest) -> InterestKnown:
        """Takes what another broker tells; the answer."""
        edition = message.edition
        heard = self._heard.get(broker)
        if heard is None or (heard.boot, heard.edition) != (boot, edition):
            heard = self._parts.get(broker)
            if heard is None or (heard.boot, heard.edition) != (boot, edition):
                if message.base:
                    return InterestKnown(boot, edition, 0)
                heard = self._parts[broker] = _Heard(boot, edition)
        counts = self._heard.get(broker) is heard
        if message.base <= heard.version < message.version:
            heard.version = message.version
            for key, count in message.changes:
                heard.counts[key] = count
                if not count:
                    del heard.counts[key]
                if counts:
                    self._note(broker, key, count)
        if not counts and heard.version >= message.newest:
            self._replace(broker, heard)
        return InterestKnown(boot, edition, heard.version)

    def _replace(self, broker: str, heard: _Heard | None) -> None:
        """What the broker told of itself before counts no more."""
        self._parts.pop(broker, None)
        former = self._heard.pop(broker, None)
        now = heard.counts if heard is not None else {}
        if former is not None:
            for key in former.counts.keys() - now.keys():
                self._note(broker, key, 0)
        if heard is not None:
            self._heard[broker] = heard
            for key, count in now.items():
                self._note(broker, key, count)
