"""The port through which the core reads what its slot has on disk: committed rows only."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from broker.model.stored_batch import StoredBatch


class IndexRow(NamedTuple):
    """A batch to look at from ``at`` on; rows sort by their fields."""

    at: int
    number: int
    lane: int
    first: int
    length: int


class Bodies(Protocol):
    def read(
        self, number: int, lane: int, first: int, end: int, count_max: int, bytes_max: int
    ) -> list[StoredBatch]:
        """The stored batches of a lane that hold positions of [first, end), in order; ended by the
        first bound reached, at least one batch when there is one.  Raises UnreadableMessage."""

    def expiring(self, after: IndexRow | None, count_max: int) -> list[IndexRow]:
        """The next rows of the slot's expiry index behind ``after``, in order."""

    def coming_due(self, after: IndexRow | None, count_max: int) -> list[IndexRow]:
        """The same of the slot's due index; uncommitted rows are among them."""
