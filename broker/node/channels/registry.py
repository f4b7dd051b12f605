"""Who listens at this broker: what sessions have registered, and the topics that its XPUB holds.

Owns both, their bounds, and what the others are told of them by key (``note_interest``):

    pattern   registered subscriptions
    prefix    0 when the XPUB holds none, else one more than the subscribers beyond those that the
              registered sessions account for (a session subscribes one prefix once, however many
              of its patterns begin so)

It matches and sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from broker import limits
from broker.core.session import Session
from broker.errors import LimitReached, SubscriptionExists, SubscriptionNotFound
from broker.model.patterns import PatternTrie, topic_prefix

#: A pattern, or the prefix of topics.
Key = str | bytes
Counted = TypeVar("Counted", str, bytes)


class _Subscriber:
    """One session's subscriptions: by number, and how many of them share a pattern or a prefix."""

    __slots__ = ("by_number", "patterns", "prefixes", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.by_number: dict[int, str] = {}
        self.patterns: dict[str, int] = {}
        self.prefixes: dict[bytes, int] = {}


class Registry:
    def __init__(self, note_interest: Callable[[Key, int], None]) -> None:
        self._note_interest = note_interest
        self._subscribers: dict[bytes, _Subscriber] = {}
        self._trie: PatternTrie[Session] = PatternTrie()
        self._patterns: dict[str, int] = {}
        #: Sessions that have a pattern of that prefix.
        self._accounted: dict[bytes, int] = {}
        #: Connections whose subscription of the XPUB it is.
        self._held: dict[bytes, int] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def sessions(self) -> list[Session]:
        return [subscriber.session for subscriber in self._subscribers.values()]

    def sessions_of(self, name: str) -> dict[Session, None]:
        """Those with a subscription that matches the channel; a dict for its order."""
        return dict.fromkeys(self._trie.match(name))

    def subscribe(self, session: Session, number: int, pattern: str) -> None:
        """Raises SubscriptionExists for a number in use, LimitReached."""
        subscriber = self._subscribers.get(session.id) or _Subscriber(session)
        if number in subscriber.by_number:
            raise SubscriptionExists(f"this session already has a subscription {number}")
        if len(subscriber.by_number) >= limits.SUBSCRIPTIONS_PER_SESSION_MAX:
            most = limits.SUBSCRIPTIONS_PER_SESSION_MAX
            raise LimitReached(f"a session has at most {most} subscriptions")
        if self._size >= limits.SUBSCRIPTIONS_MAX:
            raise LimitReached(f"a broker has at most {limits.SUBSCRIPTIONS_MAX} subscriptions")
        self._subscribers[session.id] = subscriber
        subscriber.by_number[number] = pattern
        self._size += 1
        self._trie.add(pattern, session)
        _add(subscriber.patterns, pattern)
        self._note_interest(pattern, _add(self._patterns, pattern))
        prefix = topic_prefix(pattern)
        if _add(subscriber.prefixes, prefix) == 1:
            _add(self._accounted, prefix)
            self._tell_prefix(prefix)

    def require(self, session: Session, number: int) -> str:
        """The pattern; raises SubscriptionNotFound."""
        subscriber = self._subscribers.get(session.id)
        if subscriber is None or number not in subscriber.by_number:
            raise SubscriptionNotFound(f"this session has no subscription {number}")
        return subscriber.by_number[number]

    def unsubscribe(self, session: Session, number: int) -> None:
        self.require(session, number)
        self._remove(self._subscribers[session.id], number)

    def end_session(self, session: Session) -> None:
        subscriber = self._subscribers.get(session.id)
        if subscriber is not None:
            for number in list(subscriber.by_number):
                self._remove(subscriber, number)

    def _remove(self, subscriber: _Subscriber, number: int) -> None:
        pattern = subscriber.by_number.pop(number)
        self._size -= 1
        if not subscriber.by_number:
            del self._subscribers[subscriber.session.id]
        if _take(subscriber.patterns, pattern) == 0:
            self._trie.remove(pattern, subscriber.session)
        self._note_interest(pattern, _take(self._patterns, pattern))
        prefix = topic_prefix(pattern)
        if _take(subscriber.prefixes, prefix) == 0:
            _take(self._accounted, prefix)
            self._tell_prefix(prefix)

    def note_held(self, prefix: bytes, on: bool) -> None:
        """A connection subscribed a prefix at the XPUB, or gave it up."""
        if on:
            _add(self._held, prefix)
        elif prefix in self._held:
            _take(self._held, prefix)
        self._tell_prefix(prefix)

    def _tell_prefix(self, prefix: bytes) -> None:
        held = self._held.get(prefix, 0)
        beyond = max(0, held - self._accounted.get(prefix, 0))
        self._note_interest(prefix, 1 + beyond if held else 0)


def _add(counts: dict[Counted, int], key: Counted) -> int:
    count = counts[key] = counts.get(key, 0) + 1
    return count


def _take(counts: dict[Counted, int], key: Counted) -> int:
    count = counts[key] - 1
    if count:
        counts[key] = count
    else:
        del counts[key]
    return count
