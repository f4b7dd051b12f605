"""The Store in memory, with a disk's failures on demand: for tests and simulators.

Owns rows in key order and an undo journal of all that is not synced.  It never does I/O, has
no thread and draws nothing: whoever holds it says what a crash takes and which call fails.

Law: after ``crash`` the rows are those of a prefix of the written batches, and every synced
batch is among them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from broker.errors import ProcessError
from broker.storage.store import Family, WriteOps

#: What stood at a key before a batch: None where there was nothing.
_Undo = tuple[Family, bytes, bytes | None]


class _Rows:
    """One family: a dictionary, and its keys in order.

    Keys mostly grow, and an append at the end of the list is quick; any other place costs a move
    of the keys behind it.
    """

    __slots__ = ("keys", "values")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.values: dict[bytes, bytes] = {}

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.values:
            if not self.keys or key > self.keys[-1]:
                self.keys.append(key)
            else:
                insort(self.keys, key)
        self.values[key] = value

    def delete(self, key: bytes) -> None:
        if self.values.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]

    def take_range(self, low: bytes, high: bytes) -> list[tuple[bytes, bytes]]:
        """Removes low <= key < high and gives what it removed."""
        first, end = bisect_left(self.keys, low), bisect_left(self.keys, high)
        taken = [(key, self.values.pop(key)) for key in self.keys[first:end]]
        del self.keys[first:end]
        return taken


class MemoryStore:
    def __init__(self) -> None:
        self._families = [_Rows() for _ in Family]
        #: One entry for each unsynced batch, oldest first.
        self._journal: list[list[_Undo]] = []
        self._next_write: ProcessError | None = None
        self._next_sync: ProcessError | None = None
        self._failure: ProcessError | None = None
        #: What ``is_stalled`` answers.
        self.stalled = False

    def write(self, ops: WriteOps) -> None:
        self._require_sound()
        self._maybe_fail(self._next_write)
        undo: list[_Undo] = []
        for kind, family, key, value in ops.ops:
            rows = self._families[family]
            if kind == WriteOps.DELETE_RANGE:
                assert key <= value, "a range ends before it begins"
                undo += [(family, gone, was) for gone, was in rows.take_range(key, value)]
                continue
            undo.append((family, key, rows.values.get(key)))
            if kind == WriteOps.PUT:
                rows.put(key, value)
            else:
                rows.delete(key)
        self._journal.append(undo)

    def sync(self) -> None:
        self.sync_first(len(self._journal))

    def sync_first(self, batches: int) -> None:
        """Ends a sync that began when only the first ``batches`` of the unsynced were written."""
        self._require_sound()
        self._maybe_fail(self._next_sync)
        del self._journal[:batches]

    def get(self, family: Family, key: bytes) -> bytes | None:
        return self._families[family].values.get(key)

    def get_many(self, family: Family, keys: list[bytes]) -> list[bytes | None]:
        return [self.get(family, key) for key in keys]

    def scan(
        self, family: Family, low: bytes, high: bytes, count_max: int, bytes_max: int
    ) -> list[tuple[bytes, bytes]]:
        keys, values = self._families[family].keys, self._families[family].values
        first, end = bisect_left(keys, low), bisect_left(keys, high)
        rows: list[tuple[bytes, bytes]] = []
        for key in keys[first : min(end, first + count_max)]:
            rows.append((key, values[key]))
            bytes_max -= len(key) + len(values[key])
            if bytes_max <= 0:
                break
        return rows

    def find_prefixed(self, family: Family, prefixes: list[bytes]) -> list[tuple[bytes, bytes]]:
        keys, values = self._families[family].keys, self._families[family].values
        rows: list[tuple[bytes, bytes]] = []
        for prefix in sorted(prefixes):
            at = bisect_left(keys, prefix)
            while at < len(keys) and keys[at].startswith(prefix):
                rows.append((keys[at], values[keys[at]]))
                at += 1
        return rows

    def last_before(self, family: Family, low: bytes, key: bytes) -> tuple[bytes, bytes] | None:
        rows = self._families[family]
        at = bisect_right(rows.keys, key) - 1
        if at < 0 or rows.keys[at] < low:
            return None
        return rows.keys[at], rows.values[rows.keys[at]]

    def is_stalled(self) -> bool:
        return self.stalled

    def close(self) -> None:
        """Keeps the rows: they are the disk, and a successor may be given the same store."""

    @property
    def unsynced_batches(self) -> int:
        return len(self._journal)

    def crash(self, keep: int = 0) -> None:
        """Loses every unsynced batch but the first ``keep``; the store is as after a restart."""
        while len(self._journal) > keep:
            for family, key, value in reversed(self._journal.pop()):
                if value is None:
                    self._families[family].delete(key)
                else:
                    self._families[family].put(key, value)
        # A restart moves what it finds from the log to table files: no later crash takes it.
        self._journal.clear()
        self._next_write = self._next_sync = self._failure = None
        self.stalled = False

    def fail_next_write(self, error: ProcessError) -> None:
        """The next ``write`` raises ``error`` (DiskFailed, DiskFull) and changes nothing."""
        self._next_write = error

    def fail_next_sync(self, error: ProcessError) -> None:
        """The next ``sync`` raises ``error``; a crash then loses as much as it likes."""
        self._next_sync = error

    def flip_bit(self, family: Family, key: bytes, bit: int) -> None:
        """Damages the value at ``key``, as a disk would that does not check what it keeps."""
        value = bytearray(self._families[family].values[key])
        value[bit // 8] ^= 1 << bit % 8
        self._families[family].values[key] = bytes(value)

    def _require_sound(self) -> None:
        if self._failure is not None:
            raise type(self._failure)(f"the store is not used after: {self._failure.text}")

    def _maybe_fail(self, error: ProcessError | None) -> None:
        if error is not None:
            self._failure = error
            raise error
