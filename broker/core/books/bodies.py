"""The port through which the core reads what its slot has on disk: committed rows only."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from broker.model.due_chunks import DueChunk
from broker.model.stored_batch import StoredBatch


class IndexRow(NamedTuple):
    """A batch to look at from ``at`` on; rows sort by their fields."""

    at: int
    number: int
    lane: int
    first: int
    length: int


class IdPlace(NamedTuple):
    """Where a message lies that has a certain id of its own."""

    position: int
    lane: int
    put_at: int


class IdBatch(NamedTuple):
    """A stored batch whose messages are found by their ids."""

    first: int
    length: int
    put_at: int


class Bodies(Protocol):
    def read(
        self, number: int, lane: int, first: int, end: int, count_max: int, bytes_max: int
    ) -> list[StoredBatch]:
        """The stored batches of a lane that hold positions of [first, end), in order; ended by the
        first bound reached, at least one batch when there is one.  Raises UnreadableMessage."""

    def read_at(self, number: int, places: list[tuple[int, int]]) -> list[StoredBatch]:
        """The stored batches at (lane, first position), but for those that are missing.  Raises
        UnreadableMessage."""

    def due_chunk(self, row: IndexRow) -> DueChunk | None:
        """What a row of the due index says of a batch whose messages have due times of their
        own."""

    def expiring(self, after: IndexRow | None, count_max: int) -> list[IndexRow]:
        """The next rows of the slot's expiry index behind ``after``, in order."""

    def coming_due(self, after: IndexRow | None, count_max: int) -> list[IndexRow]:
        """The same of the slot's due index; uncommitted rows are among them."""

    def find_ids(self, number: int, hashes: list[bytes]) -> dict[bytes, list[IdPlace]]:
        """Hash of an id -> the messages that have it, settled and uncommitted ones too, in order.
        Raises UnreadableMessage."""

    def id_batches(self, number: int, first: int, count_max: int) -> list[IdBatch]:
        """The next batches with ids at or behind ``first``, in order; uncommitted ones too."""
