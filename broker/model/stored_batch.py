"""A batch as a queue keeps it: the bytes of the put, and what holds for all of its messages."""

from __future__ import annotations

from array import array
from typing import Any, NamedTuple


class StoredBatch:
    """Positions ``first`` to ``first + count - 1`` of one lane; immutable but for the cache.

    ``properties`` is the packed map {content_type, type} or b"" for none; ``columns`` the
    columns frame or b""; ``batch`` the batch frame.  ``expires_at`` is 0 for never, ``due_at`` 0
    for a message that was not delayed.
    """

    __slots__ = (
        "batch",
        "columns",
        "count",
        "due_at",
        "due_times",
        "expires_at",
        "first",
        "headers",
        "lane",
        "offsets",
        "properties",
        "put_at",
        "read_columns",
        "size",
    )

    def __init__(
        self,
        lane: int,
        first: int,
        count: int,
        put_at: int,
        expires_at: int,
        properties: bytes,
        columns: bytes,
        batch: bytes,
        due_at: int = 0,
    ) -> None:
        self.lane = lane
        self.first = first
        self.count = count
        self.put_at = put_at
        self.expires_at = expires_at
        self.due_at = due_at
        #: Of a batch whose messages have instants of their own: one for each; ``due_at`` is then
        #: the first of them.
        self.due_times: array[int] | None = None
        self.properties = properties
        self.columns = columns
        self.batch = batch
        #: Bytes that count against a queue's and a consumer's limits.
        self.size = len(batch) + len(columns)
        #: Where each element begins; found when the batch is first cut.
        self.offsets: list[int] | None = None
        #: Decoded columns and headers; found by ``core/choosing/reading.py`` when first asked for.
        self.read_columns: dict[str, list[Any]] | None = None
        self.headers: list[dict[str, Any]] | None = None

    @property
    def end(self) -> int:
        return self.first + self.count

    def bytes_between(self, first: int, count: int) -> int:
        """The share of ``size`` that falls on a part; shares of disjoint parts add up exactly."""
        low = first - self.first
        if low == 0 and count == self.count:
            return self.size
        return self.size * (low + count) // self.count - self.size * low // self.count


class Extent(NamedTuple):
    """The positions of one stored batch, without its bytes."""

    lane: int
    first: int
    length: int
