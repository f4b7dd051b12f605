"""One channel in its slot: how far it has come, and what it remembers.

    light   no history: nothing of it is stored, and it is forgotten when nobody uses it
    kept    with a history, in a hidden queue of the slot that nobody takes from

A message's sequence is dense, rises from the channel's first one, and is never given again.
"""

from __future__ import annotations

from collections import deque

from broker import limits
from broker.core.channels.heard import Heard
from broker.model.channel_settings import ChannelSettings


class Channel:
    """``next`` is the sequence that the next message will have; of a kept channel, the next that is
    committed.  100 000 of them are nothing special: what few of them need stands elsewhere."""

    __slots__ = (
        "at",
        "first",
        "heard",
        "history",
        "name",
        "next",
        "sampled",
        "sampled_at",
        "start",
    )

    def __init__(self, name: str, next_sequence: int, now: int) -> None:
        self.name = name
        self.next = next_sequence
        #: ... and the one that it had when this broker began to serve it.
        self.first = next_sequence
        #: The first sequence of its life, where nobody could tell it from the slot's epoch.
        self.start: int | None = None
        #: The last publish.
        self.at = now
        self.heard: Heard | None = None
        self.history: History | None = None
        #: For its rate: when somebody asked last, and what had been published then.
        self.sampled_at = now
        self.sampled = next_sequence

    @property
    def is_kept(self) -> bool:
        return self.history is not None


class Stretch:
    """Messages of a history that are trimmed together: up to ``end``, the newest of ``at``."""

    __slots__ = ("at", "bytes", "end", "messages", "since")

    def __init__(self, since: int) -> None:
        self.end = 0
        self.messages = 0
        self.bytes = 0
        self.since = self.at = since

    def add(self, end: int, messages: int, size: int, at: int) -> None:
        self.end = end
        self.messages += messages
        self.bytes += size
        self.at = at


class History:
    """What a kept channel holds, in stretches: one entry of the log trims a whole one.

        trimmed | head | unread ........ | stretch | stretch | stretch
                ^trimmed_to   ^unread_to                     ^ committed

    Of what earlier reigns left only the sum is known; a ``head`` of it is read when it may have to
    go.  ``messages`` and ``bytes`` are those from ``trimmed_to`` on.
    """

    __slots__ = (
        "bytes",
        "head",
        "messages",
        "number",
        "settings",
        "stretches",
        "trimmed_to",
        "unread_from",
        "unread_to",
    )

    def __init__(self, number: int, settings: ChannelSettings) -> None:
        #: Of the hidden queue.
        self.number = number
        self.settings = settings
        self.begin(0, 0, 0, 0)

    def begin(self, first: int, end: int, messages: int, size: int) -> None:
        """A reign begins with what the queue holds: positions from ``first`` to ``end``."""
        self.trimmed_to = self.unread_from = first
        self.unread_to = end
        self.messages = messages
        self.bytes = size
        self.head: Stretch | None = None
        self.stretches: deque[Stretch] = deque()

    def add(self, end: int, messages: int, size: int, at: int) -> None:
        """A publish is committed."""
        self.messages += messages
        self.bytes += size
        last = self.stretches[-1] if self.stretches else None
        if last is None or self._is_full(last, at):
            last = Stretch(at)
            self.stretches.append(last)
        last.add(end, messages, size, at)

    def forget_unread(self) -> None:
        """What earlier reigns left cannot be read; it is not trimmed, nor held against a bound."""
        listed = self.stretches if self.head is None else [self.head, *self.stretches]
        self.messages = sum(stretch.messages for stretch in listed)
        self.bytes = sum(stretch.bytes for stretch in listed)
        self.trimmed_to = self.unread_from = self.unread_to

    def _is_full(self, stretch: Stretch, now: int) -> bool:
        age_ms = self.settings.history_ms
        return (
            stretch.messages >= self.step_messages
            or stretch.bytes >= self.step_bytes
            or (age_ms is not None and now - stretch.since >= _step(age_ms, limits.TRIM_STEP_MS))
        )

    @property
    def step_messages(self) -> int:
        bound = self.settings.history_messages
        return _step(bound or 0, limits.TRIM_STEP_MESSAGES)

    @property
    def step_bytes(self) -> int:
        return min(_step(self.settings.bytes_max, limits.TRIM_STEP_BYTES), limits.READ_BYTES)

    def may_go(self, stretch: Stretch, now: int) -> bool:
        """True for an oldest stretch that no bound asks to keep: all that is asked for is newer, or
        it is too old."""
        settings = self.settings
        most, age_ms = settings.history_messages, settings.history_ms
        return (
            (most is not None and self.messages - stretch.messages >= most)
            or self.bytes - stretch.bytes >= settings.bytes_max
            or (age_ms is not None and stretch.at < now - age_ms)
        )

    def is_within(self, now: int) -> bool:
        """True where no look at the oldest is needed: all bounds hold."""
        settings = self.settings
        most = settings.history_messages
        return (
            (most is None or self.messages < most + self.step_messages)
            and self.bytes <= settings.bytes_max
            and settings.history_ms is None
        )


def _step(bound: int, least: int) -> int:
    return max(bound // limits.TRIM_STEPS, least)
