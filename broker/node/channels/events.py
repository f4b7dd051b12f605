"""What the broker tells of itself on its own channels: ``$sys.<event>``, as JSON.

Owns what is still to be told.  An event that comes again and again is told at once and then once a
second, with its number in ``count``; nothing is made of one that nobody listens to.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import msgpack

from broker import limits
from broker.model.commands import Publish
from broker.names import SYSTEM_CHANNELS
from broker.protocol.batches import array_header

CONTENT_TYPE = "application/json"
#: A value of an event.
Fact = str | int | None


class Events:
    """``is_heard`` tells whether anybody listens to a channel; ``publish`` takes what is told."""

    def __init__(
        self, broker: str, is_heard: Callable[[str], bool], publish: Callable[[Publish], None]
    ) -> None:
        self._broker = broker
        self._is_heard = is_heard
        self._publish = publish
        #: channel -> how often it happened since it was told, and the newest facts
        self._waiting: dict[str, tuple[int, dict[str, Fact]]] = {}
        #: channel -> when it was told; in the order of the instants
        self._told_at: dict[str, int] = {}
        #: Events that were not kept, because too many others waited.
        self.lost = 0

    def note(self, event: str, count: int = 1, **facts: Fact) -> None:
        """``event`` is the channel's name behind ``$sys.``."""
        channel = SYSTEM_CHANNELS + event
        if not self._is_heard(channel):
            return
        before, _ = self._waiting.get(channel, (0, {}))
        if not before and len(self._waiting) >= limits.EVENTS_MAX:
            self.lost += count
            return
        self._waiting[channel] = (before + count, facts)

    def tell_due(self, now: int) -> None:
        if not self._waiting:
            return
        for channel in list(self._told_at):
            if now - self._told_at[channel] < limits.EVENT_EVERY:
                break
            del self._told_at[channel]
        for channel in [name for name in self._waiting if name not in self._told_at]:
            count, facts = self._waiting.pop(channel)
            self._told_at[channel] = now
            told = {"event": channel[len(SYSTEM_CHANNELS) :], "count": count, "at": now}
            body = json.dumps({**told, "broker": self._broker, **facts}).encode()
            batch = array_header(1) + msgpack.packb(body)
            self._publish(Publish(channel=channel, count=1, content_type=CONTENT_TYPE, batch=batch))

    def next_at(self) -> int | None:
        """When the first of those that wait may be told again."""
        if not self._waiting:
            return None
        told = (self._told_at.get(channel, 0) + limits.EVENT_EVERY for channel in self._waiting)
        return min(told)
