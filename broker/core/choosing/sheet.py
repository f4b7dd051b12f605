"""One stored batch as a choice sees it: a bit for each message and what became of it.

    ready    waits in the queue's ``back`` book, and may be chosen
    blocked  of the ready: another message of its key goes first
    away     in flight, resting or leaving; kept only where keys are to be held

Bit 0 stands for the batch's first message.  Cost is per batch where bits move together.
"""

from __future__ import annotations

from typing import Any

from broker.limits import DELAYED_LANES
from broker.model.stored_batch import StoredBatch

_POSITION_BITS = 60
_POSITION = (1 << _POSITION_BITS) - 1


def rank_of(number: int, position: int) -> int:
    """An integer that sorts messages as they leave: by immediate lane, then by position."""
    return number << _POSITION_BITS | position


def position_of(rank: int) -> int:
    return rank & _POSITION


def number_of(rank: int) -> int:
    return rank >> _POSITION_BITS


class Sheet:
    """``batch`` is None while only the disk has it; ``keys`` is None where none matter."""

    __slots__ = ("away", "batch", "blocked", "count", "first", "keys", "lane", "rank", "ready")

    def __init__(self, batch: StoredBatch, keys: list[Any] | None) -> None:
        self.lane = batch.lane
        self.first = batch.first
        self.count = batch.count
        self.rank = rank_of(batch.lane % DELAYED_LANES, batch.first)
        self.keys = keys
        self.batch: StoredBatch | None = batch
        self.ready = 0
        self.blocked = 0
        self.away = 0

    @property
    def number(self) -> int:
        """The lane of immediate messages that these are ready in."""
        return self.lane % DELAYED_LANES

    @property
    def open(self) -> int:
        """What may be chosen."""
        return self.ready & ~self.blocked

    def bits(self, first: int, count: int) -> int:
        """The bits of a range of positions, which lies in the batch."""
        return ((1 << count) - 1) << (first - self.first)


def runs_of(bits: int, base: int) -> list[tuple[int, int]]:
    """The runs of set bits as (first position, count); bit 0 stands for ``base``."""
    text = f"{bits:b}"[::-1]
    runs: list[tuple[int, int]] = []
    low = text.find("1")
    while low >= 0:
        end = text.find("0", low)
        if end < 0:
            end = len(text)
        runs.append((base + low, end - low))
        low = text.find("1", end)
    return runs


def lowest(bits: int, count: int) -> int:
    """The ``count`` lowest of the set bits; all where there are fewer."""
    if bits.bit_count() <= count:
        return bits
    low, high = count, bits.bit_length()
    while low < high:
        middle = (low + high) // 2
        if (bits & ((1 << middle) - 1)).bit_count() < count:
            low = middle + 1
        else:
            high = middle
    return bits & ((1 << low) - 1)


def lowest_index(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
