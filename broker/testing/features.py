"""What the queues of a run can do besides the plain ones, and what its clients ask of them.

A feature is some queues with settings of their own.  Owns which there are, what their producers
put, and which checkers judge them.  Law: what a message asks for follows from its put alone, so
that a put that is sent again is the same put.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import msgpack

from broker.testing.channel_settings import CHANNELS
from broker.testing.clock import EPOCH_MS

#: feature -> queue -> settings
FEATURES: dict[str, dict[str, dict[str, Any]]] = {
    # Rejected, failed and expired messages go to ``dead``, and from there to ``again``.
    "dead letters": {
        "work": {
            "dead_letter": "dead",
            "max_attempts": 3,
            "backoff_ms": 100,
            "backoff_max_ms": 500,
        },
        "dead": {},
        "again": {},
    },
    # Consumers of ``step`` settle and put to ``done`` at once.
    "transactions": {"step": {}, "done": {}},
    "keys": {"keyed": {"ordering": "key", "backoff_ms": 100, "backoff_max_ms": 500}},
    "ids": {"once": {"dedup": "window", "dedup_window_ms": 600_000}},
    "delays": {"later": {}},
    "gets": {"auto": {}},
    "overflow": {"scrap": {"max_messages": 12, "overflow": "drop_oldest"}},
    "memory": {"memory": {"durable": False}},
    "channels": CHANNELS,
    # Bound to channels that a publisher of their own publishes on.
    "bindings": {"wide": {}, "narrow": {}},
}
BOUND = ("wide", "narrow")
#: Filled by the brokers or by other consumers, and by no producer.
TARGETS = frozenset({"dead", "again", "done"})
#: Taken by gets with ``auto_ack``, and by no consumer.
TAKEN_AT_MOST_ONCE = frozenset({"auto"})
#: What was confirmed may be gone: each loses by what it is for.
LOSSY = frozenset({"auto", "scrap", "memory"})
_KEYS = 6
_REUSED_IDS = 0.3


#: Bounds on the flow of a queue, of which it may have one besides.
_FLOWS: tuple[dict[str, Any], ...] = (
    {"max_in_flight": 3},
    {"exclusive": True},
    {"max_per_second": 40},
)
_WITH_A_FLOW = 0.3


def draw_features(random: Random) -> dict[str, dict[str, Any]]:
    """queue -> settings: of no feature in half of the runs, else of one to three."""
    if random.random() < 0.5:
        return {}
    return settings_of(random.sample(sorted(FEATURES), random.randint(1, 3)), random)


def settings_of(features: Iterable[str], random: Random) -> dict[str, dict[str, Any]]:
    settings = {name: dict(made) for each in features for name, made in FEATURES[each].items()}
    for queue, made in settings.items():
        has_flow = queue not in TAKEN_AT_MOST_ONCE and queue not in CHANNELS
        if has_flow and random.random() < _WITH_A_FLOW:
            made.update(random.choice(_FLOWS))
    return settings


def key_of(message: str) -> str:
    """The ordering key of a message, which its id tells."""
    return f"k{int(message.rpartition('.')[2]) % _KEYS}"


class Dresser:
    """Gives puts the fields and columns that their queue is there for."""

    def __init__(self, random: Random) -> None:
        self._random = random
        #: message -> the application's id that it was put with
        self.ids: dict[str, str] = {}

    def dress(
        self, queue: str, messages: list[str], now_us: int
    ) -> tuple[dict[str, Any], tuple[bytes, ...]]:
        """(header fields, the columns frame if there is one)"""
        random = self._random
        if queue == "keyed":
            return {}, (msgpack.packb({"keys": [key_of(message) for message in messages]}),)
        if queue == "once":
            return {}, (msgpack.packb({"ids": [self._draw_id(m) for m in messages]}),)
        if queue == "later":
            return self._delay(len(messages), now_us)
        if queue == "work" and random.random() < 0.3:
            return {"ttl_ms": random.choice([500, 2_000]), "priority": random.randint(0, 9)}, ()
        return {}, ()

    def shares_id(self, message: str) -> bool:
        """True for a message that another one's id may have kept out."""
        own = self.ids.get(message)
        return own is not None and sum(other == own for other in self.ids.values()) > 1

    def _draw_id(self, message: str) -> str:
        random = self._random
        is_reused = bool(self.ids) and random.random() < _REUSED_IDS
        drawn = random.choice(list(self.ids.values())) if is_reused else message
        self.ids[message] = drawn
        return drawn

    def _delay(self, count: int, now_us: int) -> tuple[dict[str, Any], tuple[bytes, ...]]:
        random = self._random
        if random.random() < 0.5:
            return {"delay_ms": random.randint(0, 4_000)}, ()
        now_ms = EPOCH_MS + now_us // 1_000
        instants = [now_ms + random.randint(-500, 4_000) for _ in range(count)]
        return {}, (msgpack.packb({"at_ms": instants}),)
