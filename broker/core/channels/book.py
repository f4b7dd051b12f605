"""The channels of one slot by their names.

Owns which light channels there are, and below which sequence none may begin.  Law: a sequence that
a channel gave in this reign is given by no channel of that name again, whatever is forgotten or
deleted meanwhile.
"""

from __future__ import annotations

from broker import limits
from broker.core.books.ledger import Ledger
from broker.core.books.producers import Verdict
from broker.core.channels.channel import Channel, History
from broker.core.channels.heard import judge_heard
from broker.errors import ChannelNotFound, LimitReached
from broker.limits import CHUNK
from broker.model.channel_settings import read_stored_channel
from broker.names import CHANNEL_PREFIX


class ChannelBook:
    __slots__ = (
        "_sorted",
        "base",
        "ended",
        "floor",
        "light",
        "looked_at",
        "names",
        "sweep_at",
        "to_sweep",
    )

    def __init__(self) -> None:
        self.names: dict[str, Channel] = {}
        #: How many of them are light.
        self.light = 0
        #: The first sequence of this reign in all channels that keep nothing on a disk.
        self.base = 0
        #: New light channels begin here: at the base, or behind what was forgotten.
        self.floor = 0
        #: Where channels that were deleted in this reign have ended, by name; oldest first.
        self.ended: dict[str, int] = {}
        #: Kept channels whose history is to be looked at, by the number of their queue.
        self.looked_at: dict[int, Channel] = {}
        #: When idle light channels are looked for.
        self.sweep_at: int | None = None
        #: Names that are still to be looked at by the sweep that is under way.
        self.to_sweep: list[str] = []
        #: All names in order, while none comes or goes.
        self._sorted: list[str] | None = None

    def begin_reign(self, base: int) -> None:
        """What was in memory alone is gone; the kept ones are told by their queues."""
        self.names = {name: channel for name, channel in self.names.items() if channel.is_kept}
        self.light = 0
        self.base = self.floor = base
        self.ended.clear()
        self.looked_at.clear()
        self.sweep_at = None
        self.to_sweep.clear()
        self._sorted = None

    def find(self, name: str) -> Channel:
        channel = self.names.get(name)
        if channel is None:
            raise ChannelNotFound(f"no channel is called {name!r}")
        return channel

    def add_light(self, name: str, now: int) -> Channel:
        if len(self.names) >= limits.CHANNELS_PER_SLOT_MAX:
            raise LimitReached(f"a slot has at most {limits.CHANNELS_PER_SLOT_MAX} channels")
        first = max(self.floor, self.ended.pop(name, 0))
        channel = Channel(name, first, now)
        if first != self.base:
            channel.start = first
        self.names[name] = channel
        self.light += 1
        self._sorted = None
        if self.sweep_at is None:
            self.sweep_at = now + limits.CHANNEL_SWEEP_EVERY
        return channel

    def forget_light(self, channel: Channel) -> None:
        """It keeps nothing and nobody uses it."""
        self.floor = max(self.floor, channel.next)
        self._remove(channel)

    def add_kept(self, ledger: Ledger) -> Channel:
        """The queue that keeps a channel's history is there; ``begin_kept`` says how far it is."""
        assert ledger.settings.channel is not None
        settings, _ = read_stored_channel(ledger.settings.channel)
        channel = Channel(ledger.name.removeprefix(CHANNEL_PREFIX), 0, 0)
        channel.history = History(ledger.number, settings)
        if channel.name in self.names:
            self._remove(self.names[channel.name])
        self.names[channel.name] = channel
        self._sorted = None
        return channel

    def begin_kept(self, ledger: Ledger, now: int) -> None:
        """From now on this broker serves the channel, which is as far as its queue."""
        channel = self.names[ledger.name.removeprefix(CHANNEL_PREFIX)]
        history, end = channel.history, ledger.next_position
        assert history is not None
        first = ledger.settled.first_live(ledger.settings.first_position)
        history.begin(min(first, end), end, ledger.messages, ledger.bytes)
        channel.next = channel.first = channel.sampled = end
        channel.sampled_at = now
        start = ledger.settings.first_position if history.settings.durable else end
        channel.start = start if start not in (0, self.base) else None
        if ledger.messages:
            self.looked_at[ledger.number] = channel

    def drop_kept(self, channel: Channel) -> None:
        """Its queue is gone; the name may be another channel's by now."""
        assert channel.history is not None
        self.looked_at.pop(channel.history.number, None)
        if self.names.get(channel.name) is channel:
            self._remove(channel)

    def end(self, name: str, next_sequence: int) -> None:
        """A channel is deleted; another one of its name begins behind it."""
        channel = self.names.get(name)
        if channel is not None:
            self._remove(channel)
        self.ended[name] = next_sequence
        if len(self.ended) > limits.CHANNELS_ENDED_MAX:
            first = next(iter(self.ended))
            self.floor = max(self.floor, self.ended.pop(first))

    def first_kept(self, name: str) -> int:
        """Where a channel begins that gets a history in this reign: 0 for a name that nobody has
        used, else behind all that was published under it."""
        channel = self.names.get(name)
        used = channel.next if channel is not None else self.ended.pop(name, 0)
        return -(-used // CHUNK) * CHUNK

    def _remove(self, channel: Channel) -> None:
        del self.names[channel.name]
        self._sorted = None
        if not channel.is_kept:
            self.light -= 1

    def has_taken(self, name: str, producer: bytes, sequence: int) -> bool:
        """True for a publish on a light channel that is known, or too old to tell."""
        channel = self.names.get(name)
        heard = channel.heard if channel is not None else None
        return judge_heard(heard, producer, sequence) is not Verdict.NEW

    def instants(self, now: int) -> list[int]:
        """When to look at histories and at idle channels again."""
        if self.looked_at:
            return [now]
        return [self.sweep_at] if self.sweep_at is not None else []

    def in_order(self) -> list[str]:
        if self._sorted is None:
            self._sorted = sorted(self.names)
        return self._sorted
