"""The Store: what the broker asks of a disk, and nothing more.

Law: ``write`` makes a batch visible at once and atomically; it is durable only after a
``sync`` that began later has returned.  What survives a crash is a prefix of the written
batches.  An I/O error is raised as DiskFailed (DiskFull for no space); after it the store
must not be used again, and the process ends.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol


class Family(IntEnum):
    """The key spaces; ``keys.py`` draws their keys."""

    LOG = 0
    BODY = 1
    DUE = 2
    EXPIRY = 3
    STATE = 4
    IDS = 5


class WriteOps:
    """Operations that become visible and durable together, in the order of the calls."""

    __slots__ = ("bytes", "ops")

    PUT, DELETE, DELETE_RANGE = 0, 1, 2

    def __init__(self) -> None:
        #: (operation, family, key, value | high key | b"")
        self.ops: list[tuple[int, Family, bytes, bytes]] = []
        self.bytes = 0

    def put(self, family: Family, key: bytes, value: bytes) -> None:
        self.ops.append((self.PUT, family, key, value))
        self.bytes += len(key) + len(value)

    def delete(self, family: Family, key: bytes) -> None:
        self.ops.append((self.DELETE, family, key, b""))
        self.bytes += len(key)

    def delete_range(self, family: Family, low: bytes, high: bytes) -> None:
        """Deletes low <= key < high."""
        self.ops.append((self.DELETE_RANGE, family, low, high))
        self.bytes += len(low) + len(high)

    def clear(self) -> None:
        """They were written; others may follow."""
        self.ops = []
        self.bytes = 0

    def __bool__(self) -> bool:
        return bool(self.ops)


class Store(Protocol):
    """Ordered byte keys in families."""

    def write(self, ops: WriteOps) -> None:
        """Apply atomically and make visible; durable only after the next ``sync``."""

    def sync(self) -> None:
        """Make everything written before the call durable.  May run in another thread."""

    def get(self, family: Family, key: bytes) -> bytes | None: ...

    def get_many(self, family: Family, keys: list[bytes]) -> list[bytes | None]:
        """The value of each key, in their order."""

    def scan(
        self, family: Family, low: bytes, high: bytes, count_max: int, bytes_max: int
    ) -> list[tuple[bytes, bytes]]:
        """Rows with low <= key < high in key order, ended by the first bound that is reached
        (at least one row when there is one).  Raises DataDamaged, never stops early."""

    def find_prefixed(self, family: Family, prefixes: list[bytes]) -> list[tuple[bytes, bytes]]:
        """All rows whose key begins with one of ``prefixes``, none of which begins another, in key
        order.  Raises DataDamaged, never stops early."""

    def last_before(self, family: Family, low: bytes, key: bytes) -> tuple[bytes, bytes] | None:
        """The row with the greatest key in low <= row <= key."""

    def is_stalled(self) -> bool:
        """True while a ``write`` might block: the caller then writes nothing."""

    def close(self) -> None: ...
