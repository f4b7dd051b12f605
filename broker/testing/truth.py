"""The committed log of every slot, as the first broker that knew of each commit had it.

Owns what is true of the run: which entries are committed, and what they add up to.  It learns from
the brokers' stores and is never written by them.  Law: what is committed never changes, so the
first row that was seen at a place stands for good.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.model import entries
from broker.names import CHANNEL_PREFIX
from broker.testing import insides


class TrueQueue:
    """A queue as the committed entries made it; ``settled`` is a bitmap over all positions,
    ``attempts`` has those that failed once."""

    __slots__ = (*("attempts", "is_durable", "name", "next_position", "number", "settled", "uuid"),)

    def __init__(self, number: int, uuid: bytes, name: str, is_durable: bool) -> None:
        #: The log knows nothing of the messages of a queue that is not.
        self.is_durable = is_durable
        self.number = number
        self.uuid = uuid
        self.name = name
        self.next_position = 0
        self.settled = 0
        self.attempts: dict[int, int] = {}

    def settle(self, first: int, count: int) -> None:
        self.settled |= ((1 << count) - 1) << first

    def is_settled(self, first: int, count: int) -> bool:
        """True when any of the positions is settled."""
        return bool((self.settled >> first) & ((1 << count) - 1))

    @property
    def waiting(self) -> int:
        return self.next_position - self.settled.bit_count()


class TrueSlot:
    """``chains[lsn - 1]`` is the checksum of the log up to that entry, ``epochs`` beside it."""

    __slots__ = ("chains", "epochs", "queues", "seen")

    def __init__(self) -> None:
        self.chains: list[int] = []
        self.epochs: list[int] = []
        self.queues: dict[int, TrueQueue] = {}
        #: (lsn, epoch) -> the checksum of every entry that was ever seen, committed or not
        self.seen: dict[tuple[int, int], int] = {}

    @property
    def commit_lsn(self) -> int:
        return len(self.chains)

    def commit(self, row: bytes) -> None:
        before = self.chains[-1] if self.chains else 0
        entry = insides.entry_of(len(self.chains) + 1, row, before)
        self.chains.append(insides.chain_of(row))
        self.epochs.append(insides.epoch_of(row))
        fold = _FOLDS.get(type(entry))
        if fold is not None:
            fold(self, entry)

    def find(self, name: str) -> TrueQueue | None:
        return next((queue for queue in self.queues.values() if queue.name == name), None)

    @property
    def waiting(self) -> int:
        """Messages that are committed and not settled; nobody takes what a channel keeps."""
        queues = self.queues.values()
        return sum(q.waiting for q in queues if not q.name.startswith(CHANNEL_PREFIX))


def _fold_declared(slot: TrueSlot, entry: entries.QueueDeclared) -> None:
    queue = TrueQueue(entry.number, entry.uuid, entry.name, entry.settings.get("durable", True))
    slot.queues.setdefault(entry.number, queue)


def _fold_deleted(slot: TrueSlot, entry: entries.QueueDeleted) -> None:
    del slot.queues[entry.number]


def _fold_put(slot: TrueSlot, entry: entries.BatchPut) -> None:
    queue = slot.queues[entry.number]
    assert entry.body.first == queue.next_position, "positions are dense"
    queue.next_position += entry.body.count


def _fold_settled(slot: TrueSlot, entry: entries.Settled) -> None:
    for first, count in entry.ranges:
        slot.queues[entry.number].settle(first, count)


def _fold_returned(slot: TrueSlot, entry: entries.Returned) -> None:
    attempts = slot.queues[entry.number].attempts
    for _, first, count, failed in entry.parts:
        attempts.update(dict.fromkeys(range(first, first + count), failed))


def _fold_purged(slot: TrueSlot, entry: entries.Purged) -> None:
    low = 0
    for first, count in [*entry.kept, (entry.up_to, 0)]:
        slot.queues[entry.number].settle(low, max(first - low, 0))
        low = max(low, first + count)


def _fold_departed(slot: TrueSlot, entry: entries.Departed) -> None:
    """What leaves for another queue stays where it is until it is cleared there."""
    for settled in entry.settled:
        _fold_settled(slot, settled)


def _fold_cleared(slot: TrueSlot, entry: entries.Cleared) -> None:
    for first, count in entry.ranges:
        slot.queues[entry.number].settle(first, count)


_FOLDS: dict[type[entries.Entry], Callable[[TrueSlot, Any], None]] = {
    entries.QueueDeclared: _fold_declared,
    entries.QueueDeleted: _fold_deleted,
    entries.BatchPut: _fold_put,
    entries.SharedPut: _fold_put,
    entries.TimedPut: _fold_put,
    entries.Settled: _fold_settled,
    entries.Returned: _fold_returned,
    entries.Purged: _fold_purged,
    entries.Departed: _fold_departed,
    entries.Cleared: _fold_cleared,
}
