"""Entries of a slot's log: what was decided, so that any replica reaches the same state.

An entry says facts, never wishes: applying one cannot be refused and looks at no clock.
``storage/records.py`` gives their bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from broker.model.stored_batch import Extent, StoredBatch


class SettleReason(IntEnum):
    ACKED = 0
    REJECTED = 1
    EXPIRED = 2
    #: Removed before the delivery left (auto_ack).
    TAKEN = 3


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
class QueueDeleted(Entry):
    number: int


@dataclass(slots=True)
class BatchPut(Entry):
    """One stored batch; ``sources`` tell whose puts it holds: (producer, sequence).

    While its turn lasts it is open: ``frames`` are the puts that its batch will be made of.
    """

    number: int
    body: StoredBatch
    sources: list[tuple[bytes, int]] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    lsn: int = 0


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
