"""Who put what: sequence windows that make a repeated put exactly one.

For each (producer, queue) the highest sequence applied, and which of the SEQUENCE_WINDOW below
it were.  Windows are durable; what is proposed or was refused is known only in this epoch.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from broker.errors import ProducerExpired, ProducerFenced
from broker.limits import PRODUCER_IDLE, PRODUCERS_PER_SLOT_MAX, SEQUENCE_WINDOW
from broker.model.replies import Reply
from broker.names import BROKERS_PRODUCERS

#: (producer id, queue number)
Key = tuple[bytes, int]
_WINDOW_MASK = (1 << SEQUENCE_WINDOW) - 1


def is_slot(key: Key) -> bool:
    """True for a slot that puts what leaves its queues, and for a recurring schedule.  Its window
    is kept for good, and where there is none the queue is newer than the line to it."""
    return key[0].startswith(BROKERS_PRODUCERS)


class Verdict(Enum):
    NEW = "new"
    APPLIED = "applied"
    PROPOSED = "proposed"
    TOO_OLD = "too old"
    UNKNOWN_PRODUCER = "unknown producer"


class Window:
    """Bit n of ``applied`` stands for the sequence ``highest`` - n, which is -1 before the first.

    ``instance`` is that of a named producer, 0 for another.
    """

    __slots__ = ("applied", "highest", "instance", "used_at")

    def __init__(self, highest: int, applied: int, used_at: int, instance: int = 0) -> None:
        self.highest = highest
        self.applied = applied
        self.used_at = used_at
        self.instance = instance

    def add(self, sequence: int, now: int) -> None:
        ahead = sequence - self.highest
        if ahead > 0:
            # Nothing of the old window is left after so large a step; do not shift by it.
            kept = self.applied << ahead if ahead < SEQUENCE_WINDOW else 0
            self.applied = (kept & _WINDOW_MASK) | 1
            self.highest = sequence
        elif -ahead < SEQUENCE_WINDOW:
            # One further behind was overtaken on its way by a sequence that moved the window.
            self.applied |= 1 << -ahead
        self.used_at = now


class Producers:
    def __init__(self) -> None:
        self.windows: dict[Key, Window] = {}
        self.dirty: set[Key] = set()
        #: The newest instance of each named producer, proposed ones included.
        self.instances: dict[Key, int] = {}
        #: Proposed and not yet committed: sequence -> repeats that wait for the same commit.
        self._proposed: dict[Key, dict[int, list[Reply]]] = {}
        #: Producers whose first put was refused in this epoch; dict for its order.
        self._met: dict[Key, None] = {}
        #: Numbers of the transient queues, whose windows are lost with their messages: no row is
        #: written of them, and a producer that is not known there is new.
        self.volatile: set[int] = set()

    def judge(self, key: Key, sequence: int) -> Verdict:
        """What to do with a put; asked before every other check."""
        proposed = self._proposed.get(key)
        if proposed is not None and sequence in proposed:
            return Verdict.PROPOSED
        window = self.windows.get(key)
        if window is None:
            known = sequence == 0 or proposed is not None or key in self._met or is_slot(key)
            known = known or key[1] in self.volatile
            return Verdict.NEW if known else Verdict.UNKNOWN_PRODUCER
        behind = window.highest - sequence
        if behind < 0:
            return Verdict.NEW
        if behind >= SEQUENCE_WINDOW:
            return Verdict.TOO_OLD
        return Verdict.APPLIED if window.applied >> behind & 1 else Verdict.NEW

    def has_taken(self, key: Key, sequence: int) -> bool:
        """True for a put that is applied, proposed, or too old to tell."""
        return self.judge(key, sequence) not in (Verdict.NEW, Verdict.UNKNOWN_PRODUCER)

    def require_instance(self, key: Key, instance: int | None) -> None:
        """Raises ProducerFenced for a put of an instance that another has taken over from, and
        ProducerExpired for one that is not known (any more)."""
        newest = self.instances.get(key, 0)
        if (instance or 0) < newest:
            raise ProducerFenced(f"instance {newest} of this producer has taken over")
        if instance is not None and instance > newest and key[1] in self.volatile:
            self.instances[key] = instance
        elif (instance or 0) > newest:
            raise ProducerExpired("this queue does not know this instance of the producer")

    def highest(self, key: Key) -> int:
        """The highest sequence of all that was taken or proposed; -1 where there is none."""
        window = self.windows.get(key)
        applied = window.highest if window is not None else -1
        return max(self._proposed.get(key, ()), default=applied)

    def propose_instance(self, key: Key, instance: int) -> None:
        """From now on nothing is taken of the instances before it."""
        self.instances[key] = instance

    def begin_instance(self, key: Key, instance: int, now: int) -> None:
        """A named producer's instance is committed."""
        window = self.windows.setdefault(key, Window(-1, 0, now))
        window.instance = instance
        window.used_at = now
        self.instances[key] = max(self.instances.get(key, 0), instance)
        self.dirty.add(key)

    def propose(self, key: Key, sequence: int) -> None:
        self._proposed.setdefault(key, {})[sequence] = []

    def wait_too(self, key: Key, sequence: int, reply: Reply) -> None:
        """A repeat of a put that is proposed: ``reply`` leaves with its commit."""
        self._proposed[key][sequence].append(reply)

    def refuse(self, key: Key) -> None:
        """A put was refused: its producer is known all the same, so its next sequence is too."""
        if key not in self.windows:
            self._met[key] = None
            if len(self._met) > PRODUCERS_PER_SLOT_MAX:
                del self._met[next(iter(self._met))]

    def apply(self, key: Key, sequence: int, now: int) -> list[Reply]:
        """A put is committed; gives the repeats that waited for it."""
        window = self.windows.get(key)
        if window is None:
            self.windows[key] = Window(sequence, 1, now)
        else:
            window.add(sequence, now)
        self.dirty.add(key)
        proposed = self._proposed.get(key)
        if proposed is None:
            return []
        waiting = proposed.pop(sequence, [])
        if not proposed:
            del self._proposed[key]
        return waiting

    def take_waiting(self) -> list[Reply]:
        """Repeats that wait for a commit which this broker will not see."""
        waiting = [
            r for puts in self._proposed.values() for replies in puts.values() for r in replies
        ]
        self._proposed.clear()
        return waiting

    def idle(self, now: int) -> list[Key]:
        """Clients' windows to end: unused for PRODUCER_IDLE, and the longest unused of too many."""
        clients = [key for key in self.windows if not is_slot(key)]
        by_use = sorted(clients, key=lambda key: (self.windows[key].used_at, key))
        excess = max(len(by_use) - PRODUCERS_PER_SLOT_MAX, 0)
        return [
            key
            for index, key in enumerate(by_use)
            if index < excess or now - self.windows[key].used_at >= PRODUCER_IDLE
        ]

    def expire(self, keys: list[Key]) -> None:
        for key in keys:
            self.windows.pop(key, None)
            self.instances.pop(key, None)
            self.dirty.add(key)

    def forget_queue(self, number: int) -> None:
        self.expire([key for key in self.windows if key[1] == number])
        for key in [key for key in self._proposed if key[1] == number]:
            del self._proposed[key]

    def take_dirty(self) -> dict[Key, list[object] | None]:
        """Rows to write at a checkpoint: key -> row, None to delete it."""
        rows: dict[Key, list[object] | None] = {}
        for key in sorted(self.dirty):
            if key[1] in self.volatile:
                continue
            window = self.windows.get(key)
            if window is None:
                rows[key] = None
            else:
                bits = window.applied.to_bytes(SEQUENCE_WINDOW // 8, "little").rstrip(b"\0")
                named = [window.instance] if window.instance else []
                rows[key] = [window.highest, bits, window.used_at, *named]
        self.dirty.clear()
        return rows

    def load(self, key: Key, row: list[Any]) -> None:
        highest, bits, used_at, *named = row
        window = Window(highest, int.from_bytes(bits, "little"), used_at, *named)
        self.windows[key] = window
        if window.instance:
            self.instances[key] = window.instance
