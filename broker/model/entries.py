"""Entries of a slot's log: what was decided, so that any replica reaches the same state.

An entry says facts, never wishes: applying one cannot be refused and looks at no clock.
``storage/records.py`` gives their bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from broker.model.due_chunks import DueChunk
from broker.model.stored_batch import Extent, StoredBatch


class SettleReason(IntEnum):
    ACKED = 0
    REJECTED = 1
    EXPIRED = 2
    #: Removed before the delivery left (auto_ack).
    TAKEN = 3
    #: Failed as often as the queue allows.
    EXHAUSTED = 4
    #: Gave way to newer ones.
    OVERFLOWED = 5
    #: Taken by another queue.
    MOVED = 6
    #: Taken out by name: cancelled.
    REMOVED = 7


#: lane -> (messages, bytes)
LaneTotals = dict[int, tuple[int, int]]


class Entry:
    """Base of the log's entries."""

    __slots__ = ()


@dataclass(slots=True)
class EpochStart(Entry):
    """The first entry of a reign."""

    epoch: int


@dataclass(slots=True)
class QueueDeclared(Entry):
    number: int
    uuid: bytes
    name: str
    settings: dict[str, Any]


@dataclass(slots=True)
class QueueUpdated(Entry):
    """All settings of the queue from here on."""

    number: int
    settings: dict[str, Any]


@dataclass(slots=True)
class QueueDeleted(Entry):
    number: int


@dataclass(slots=True)
class BatchPut(Entry):
    """One stored batch; ``sources`` tell whose puts it holds: (producer, sequence).

    While its turn lasts it is open: ``frames`` are the puts that its batch will be made of.
    ``ids`` are the hashes by which its messages are found, one after another; b"" where the queue
    does not ask for that.
    """

    number: int
    body: StoredBatch
    sources: list[tuple[bytes, int]] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    lsn: int = 0
    ids: bytes = b""


@dataclass(slots=True)
class TimedPut(BatchPut):
    """A batch whose messages have due times of their own: ``body.due_times``.

    It is stored in ``parts`` of ``step`` messages; parts and ``chunks`` follow from the rest.
    """

    step: int = 1
    parts: list[StoredBatch] = field(default_factory=list)
    chunks: list[DueChunk] = field(default_factory=list)


@dataclass(slots=True)
class PutRepeated(Entry):
    """Puts of which every message was in the queue already, by its id; only their sequences count:
    (producer, sequence)."""

    number: int
    sources: list[tuple[bytes, int]]


@dataclass(slots=True)
class IdsSwept(Entry):
    """Batches whose ids nobody may ask for any more: (first position, count)."""

    number: int
    batches: list[tuple[int, int]]


@dataclass(slots=True)
class Settled(Entry):
    number: int
    reason: SettleReason
    #: (first, count), disjoint
    ranges: list[tuple[int, int]]
    totals: LaneTotals


@dataclass(slots=True)
class ExpirySwept(Entry):
    """The rows of the expiry index up to ``row`` were looked at and go; ``later`` come anew.

    A row is (expires_at, queue number, lane, first position, count).
    """

    row: tuple[int, int, int, int, int]
    later: list[tuple[int, int, int, int, int]]


@dataclass(slots=True)
class Returned(Entry):
    """Messages that came back with a charge or a delay: (extent, first, count, attempts)."""

    number: int
    parts: list[tuple[Extent, int, int, int]]
    not_before: int


@dataclass(slots=True)
class Purged(Entry):
    """All below ``up_to`` is removed but the ``kept`` ranges, which are in flight."""

    number: int
    up_to: int
    kept: list[tuple[int, int]]
    totals: LaneTotals


@dataclass(slots=True)
class LaneSweep:
    """What a trim erases in one lane: runs of positions [low, high) whose batches are all settled.

    ``held`` are the [low, high) below ``swept`` that still have live messages.
    """

    number: int
    lane: int
    swept: int
    runs: list[tuple[int, int]]
    held: list[tuple[int, int]]


@dataclass(slots=True)
class Trimmed(Entry):
    """The log up to ``to_lsn`` goes, and the swept bodies with it.

    ``due`` are delayed batches that are settled, as rows of the due index, which go with their
    bodies: (due_at, queue number, lane, first position, count).
    """

    to_lsn: int
    sweeps: list[LaneSweep]
    due: list[tuple[int, int, int, int, int]]


@dataclass(slots=True)
class ProducersExpired(Entry):
    """Sequence windows that end: (producer, queue number)."""

    keys: list[tuple[bytes, int]]


@dataclass(slots=True)
class InstanceBegun(Entry):
    """A named producer's instance takes over from those before it, in one queue."""

    number: int
    producer: bytes
    instance: int


@dataclass(slots=True, frozen=True)
class Move:
    """Positions of one stored batch on their way to the queue ``target``, as the put with this
    sequence there.

    ``note`` is the packed map of the fields that this put has besides those of the stored batch,
    b"" for none.
    """

    target: str
    sequence: int
    extent: Extent
    first: int
    count: int
    attempts: int
    size: int
    note: bytes


@dataclass(slots=True, frozen=True)
class Share(Move):
    """What a queue gets of a batch that several do: ``uuid`` is that queue's, and no other of its
    name gets it.

    ``mask`` has a bit for each message of the batch that it gets, the first one's the lowest of the
    first byte; b"" stands for all.
    """

    uuid: bytes
    mask: bytes


@dataclass(slots=True)
class SharedPut(BatchPut):
    """A published batch that queues are bound to get; it is stored once, for all of them."""

    shares: list[Share] = field(default_factory=list)


@dataclass(slots=True)
class Bound(Entry):
    """The slot's channels that match the pattern have this binding of a queue from here on.

    ``version`` tells the newest word of a queue's primary: an older one changes nothing.
    """

    pattern: str
    queue: str
    uuid: bytes
    version: int
    selector: list[list[Any]] | None


@dataclass(slots=True)
class Unbound(Entry):
    """They have it no more."""

    pattern: str
    uuid: bytes
    version: int


@dataclass(slots=True)
class BindingsCarried(Entry):
    """Bindings of a queue are, or are no more, with all slots that they concern: (pattern, lsn of
    the entry that changed them)."""

    number: int
    carried: list[tuple[str, int]]


@dataclass(slots=True)
class Departed(Entry):
    """Messages of one queue that will leave it for others; they are unsettled until ``Cleared``.

    A transaction settles messages of other queues with it, and says whose it is: ``sources``
    are (producer, sequence).
    """

    number: int
    moves: list[Move]
    settled: list[Settled] = field(default_factory=list)
    sources: list[tuple[bytes, int]] = field(default_factory=list)


@dataclass(slots=True)
class Cleared(Entry):
    """Moves that the target has taken: the messages are gone from the source for good.

    ``sequences`` are (first, count) in the line to ``target``; ``ranges`` the positions.
    """

    number: int
    target: str
    sequences: list[tuple[int, int]]
    ranges: list[tuple[int, int]]
    totals: LaneTotals


def totals_removed(entry: Entry, number: int) -> LaneTotals:
    """What a queue has less when the entry is applied."""
    if isinstance(entry, Departed):
        totals: LaneTotals = {}
        for settled in entry.settled:
            if settled.number == number:
                for lane, (messages, size) in settled.totals.items():
                    had = totals.get(lane, (0, 0))
                    totals[lane] = (had[0] + messages, had[1] + size)
        return totals
    if isinstance(entry, Settled | Purged | Cleared) and entry.number == number:
        return entry.totals
    return {}
