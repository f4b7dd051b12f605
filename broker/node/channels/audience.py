"""Who listens to a channel, on all brokers: how many, and where its messages are to go.

Owns the interest of each broker as far as it was told, this one's own under "".  What it found of a
channel is remembered until somebody's interest changes, so that a publish costs one look.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from broker import limits
from broker.model.patterns import PatternTrie, topic_of
from broker.node.channels.registry import Key

#: This broker among the others.
HERE = ""
Counted = TypeVar("Counted", int, str)


class Route(NamedTuple):
    topic: bytes
    #: Subscriptions that match: registered ones, and those of the XPUBs beyond them.
    subscriptions: int
    #: True when a subscription that this broker's XPUB holds is a prefix of the topic.
    is_heard_here: bool
    #: The other brokers where somebody listens.
    brokers: tuple[str, ...]
    #: Those of them with sessions that are to be told of heads, HERE among them.
    registered: tuple[str, ...]

    @property
    def is_heard(self) -> bool:
        return self.is_heard_here or bool(self.brokers) or bool(self.registered)


class Audience:
    def __init__(self) -> None:
        #: (broker, pattern) under the pattern
        self._trie: PatternTrie[tuple[str, str]] = PatternTrie()
        #: pattern or prefix -> broker -> count as it was told
        self._told: dict[Key, dict[str, int]] = {}
        #: How many prefixes there are of each length: only those are looked up.
        self._lengths: dict[int, int] = {}
        self._routes: dict[str, Route] = {}
        #: broker -> its patterns
        self._patterns: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._told)

    @property
    def registered(self) -> list[str]:
        """The brokers with registered subscriptions, HERE among them."""
        return list(self._patterns)

    def tell(self, broker: str, key: Key, count: int) -> None:
        """One broker's count for one pattern or prefix is another; 0 for none."""
        told = self._told.get(key)
        if (told.get(broker, 0) if told is not None else 0) == count:
            return
        self._routes.clear()
        if told is None:
            told = self._told[key] = {}
            if isinstance(key, bytes):
                _add(self._lengths, len(key), 1)
        if isinstance(key, str):
            if not count:
                self._trie.remove(key, (broker, key))
                _add(self._patterns, broker, -1)
            elif broker not in told:
                self._trie.add(key, (broker, key))
                _add(self._patterns, broker, 1)
        if count:
            told[broker] = count
            return
        del told[broker]
        if not told:
            del self._told[key]
            if isinstance(key, bytes):
                _add(self._lengths, len(key), -1)

    def route(self, name: str) -> Route:
        route = self._routes.get(name)
        if route is None:
            if len(self._routes) >= limits.ROUTES_MAX:
                self._routes.clear()
            route = self._routes[name] = self._find(name)
        return route

    def _find(self, name: str) -> Route:
        topic = topic_of(name)
        count = 0
        registered: dict[str, None] = {}
        for broker, pattern in self._trie.match(name):
            registered[broker] = None
            count += self._told[pattern][broker]
        listening = {broker: None for broker in registered if broker != HERE}
        is_heard_here = False
        for length in sorted(self._lengths):
            held = self._told.get(topic[:length]) if length <= len(topic) else None
            for broker, told in held.items() if held is not None else ():
                count += told - 1
                if broker == HERE:
                    is_heard_here = True
                else:
                    listening[broker] = None
        return Route(topic, count, is_heard_here, tuple(listening), tuple(registered))


def _add(counts: dict[Counted, int], key: Counted, number: int) -> None:
    """A count of 0 has no row."""
    counts[key] = counts.get(key, 0) + number
    if not counts[key]:
        del counts[key]
