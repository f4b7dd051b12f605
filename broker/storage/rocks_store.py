"""The Store over RocksDB: one column family a Family, one write-ahead log for all.

Owns the border to RocksDB: each of its errors leaves here as one of ours.  It never repairs,
and never makes a store where one should have been.

Law: ``write`` is unsynced and holds the interpreter's lock; ``sync`` flushes the log and releases
the lock, so that a thread can wait for the disk while the loop gathers the next batch.  After a
write or a sync has failed every further one is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rocksdict import Rdict, RdictIter, ReadOptions, WriteBatch, WriteOptions

from broker.errors import (
    DataDamaged,
    DirectoryInUse,
    DirectoryNotWritable,
    DiskFailed,
    DiskFull,
    ProcessError,
)
from broker.storage import rocks_options
from broker.storage.record_log import require_sound_logs
from broker.storage.store import Family, WriteOps

#: Where the store lies in a data directory.
STORE_DIRECTORY = "db"

_FIRST_DISTANCE = 16


class RocksStore:
    def __init__(self, db: Rdict) -> None:
        self._db = db
        names = rocks_options.FAMILY_NAMES
        self._handles = [db.get_column_family_handle(name) for name in names]
        self._families = [db.get_column_family(name) for name in names]
        self._write_options = WriteOptions()
        self._write_options.sync = False
        self._failure: ProcessError | None = None
        for family in (Family.LOG, Family.BODY):
            # Holds from the first full buffer on; rocksdict has no option for it.
            self._families[family].set_options(rocks_options.BUFFER_LIMITS)

    @classmethod
    def open(cls, directory: Path) -> RocksStore:
        """The store of a data directory, which must be there and whole."""
        path = directory / STORE_DIRECTORY
        require_sound_logs(path)
        return _open(path, create=False)

    @classmethod
    def make(cls, path: Path) -> None:
        """An empty store in ``path``, on disk when this returns; one that is there is kept."""
        _open(path, create=True).close()

    @classmethod
    def complete(cls, path: Path) -> None:
        """Gives a store of an earlier format the families that it lacks; may be repeated."""
        require_sound_logs(path)
        _open(path, create=False, complete=True).close()

    def write(self, ops: WriteOps) -> None:
        self._require_sound()
        batch = WriteBatch(raw_mode=True)
        handles = self._handles
        put = batch.put
        for kind, family, key, value in ops.ops:
            if kind == WriteOps.PUT:
                put(key, value, handles[family])
            elif kind == WriteOps.DELETE:
                batch.delete(key, handles[family])
            else:
                assert key <= value, "a range ends before it begins"
                batch.delete_range(key, value, handles[family])
        try:
            self._db.write(batch, self._write_options)
        except Exception as error:
            raise self._fail(error) from None

    def sync(self) -> None:
        self._require_sound()
        try:
            self._db.flush_wal(True)
        except Exception as error:
            raise self._fail(error) from None

    def get(self, family: Family, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._families[family].get(key)
        except Exception as error:
            raise _named(error) from None
        return value

    def get_many(self, family: Family, keys: list[bytes]) -> list[bytes | None]:
        try:
            values: Any = self._families[family].get([*keys])
        except Exception as error:
            raise _named(error) from None
        return list(values)

    def scan(
        self, family: Family, low: bytes, high: bytes, count_max: int, bytes_max: int
    ) -> list[tuple[bytes, bytes]]:
        rows: list[tuple[bytes, bytes]] = []
        if count_max <= 0:
            return rows
        try:
            cursor = self._cursor(family, high)
            cursor.seek(low)
            # No call of valid(): a cursor that has ended, or met damage, gives None.
            while (key := cursor.key()) is not None:
                value = cursor.value()
                rows.append((key, value))
                count_max -= 1
                bytes_max -= len(key) + len(value)
                if count_max <= 0 or bytes_max <= 0:
                    break
                cursor.next()
            cursor.status()
        except Exception as error:
            raise _named(error) from None
        return rows

    def find_prefixed(self, family: Family, prefixes: list[bytes]) -> list[tuple[bytes, bytes]]:
        rows: list[tuple[bytes, bytes]] = []
        options = ReadOptions()
        if family is Family.IDS:
            # The filter of each file tells of a prefix that it has not.
            options.set_prefix_same_as_start(True)
        else:
            options.set_total_order_seek(True)
        try:
            cursor = self._families[family].iter(options)
            for prefix in sorted(prefixes):
                cursor.seek(prefix)
                while (key := cursor.key()) is not None and key.startswith(prefix):
                    rows.append((key, cursor.value()))
                    cursor.next()
                cursor.status()
        except Exception as error:
            raise _named(error) from None
        return rows

    def last_before(self, family: Family, low: bytes, key: bytes) -> tuple[bytes, bytes] | None:
        """Looks at the key, then forward from ever farther below it.

        A cursor that goes back (``seek_for_prev``) also passes over all that is erased behind the
        row it finds, 1 us a row: a tenth of a second where a backlog of small rows was consumed.
        """
        if key < low:
            return None
        value = self.get(family, key)
        if value is not None:
            return key, value
        found = None
        try:
            cursor = self._cursor(family, key)
            for start in _starts_below(low, key):
                cursor.seek(start)
                while (row := cursor.key()) is not None:
                    found = row
                    cursor.next()
                cursor.status()
                if found is not None:
                    break
        except Exception as error:
            raise _named(error) from None
        if found is None:
            return None
        value = self.get(family, found)
        assert value is not None
        return found, value

    def is_stalled(self) -> bool:
        look = self._db.property_int_value
        return bool(look("rocksdb.is-write-stopped") or look("rocksdb.actual-delayed-write-rate"))

    def close(self) -> None:
        """Moves what is in memory to table files, so that the next start replays no log."""
        # What is still held, by an error's traceback too, would keep the database open and locked.
        parts = [*self._families, self._db]
        del self._families, self._handles, self._db
        errors = []
        for part in parts:
            try:
                part.close()
            except Exception as error:
                errors.append(_named(error))
        # After a failure there is nothing to add: it was raised when it happened.
        if errors and self._failure is None:
            raise errors[0]

    def _cursor(self, family: Family, high: bytes) -> RdictIter:
        """Ends before ``high``: unbounded it would go on over all that is erased behind.

        There is no bound below; in rocksdict 0.3.29 setting one sets the upper bound.
        """
        options = ReadOptions()
        options.set_iterate_upper_bound(high)
        # All keys in order, also where the family's filter knows keys by their prefix.
        options.set_total_order_seek(True)
        return self._families[family].iter(options)

    def _require_sound(self) -> None:
        if self._failure is not None:
            raise type(self._failure)(f"the store is not used after: {self._failure.text}")

    def _fail(self, error: Exception) -> ProcessError:
        """Two of the same: the one that is kept is never raised and so holds no traceback."""
        self._failure = _named(error)
        return _named(error)


def _starts_below(low: bytes, key: bytes) -> Iterator[bytes]:
    """Keys 16, 256, 4 096 ... below ``key``, read as a number; the last one is ``low``."""
    number, distance = int.from_bytes(key, "big"), _FIRST_DISTANCE
    while distance <= number:
        start = (number - distance).to_bytes(len(key), "big")
        if start <= low:
            break
        yield start
        distance *= _FIRST_DISTANCE
    yield low


def _open(path: Path, *, create: bool, complete: bool = False) -> RocksStore:
    cache = rocks_options.block_cache()
    families = {
        rocks_options.FAMILY_NAMES[family]: rocks_options.family_options(family, cache)
        for family in Family
    }
    options = rocks_options.database_options(create=create)
    options.create_missing_column_families(create or complete)
    try:
        return RocksStore(Rdict(str(path), options, column_families=families))
    except Exception as error:
        raise _named_at_open(path, error) from None


#: What RocksDB's text says of a full disk, by the reason.
_NO_SPACE = ("No space left on device", "Disk quota exceeded")
_REFUSED = ("Permission denied", "Read-only file system", "Operation not permitted")


def _named(error: Exception) -> ProcessError:
    """Ours for one of rocksdict's, all of which are plain Exceptions with RocksDB's text."""
    text = str(error)
    if any(reason in text for reason in _NO_SPACE):
        return DiskFull(text)
    if text.startswith("Corruption"):
        return DataDamaged(text)
    return DiskFailed(text)


def _named_at_open(path: Path, error: Exception) -> ProcessError:
    text = str(error)
    if "lock hold by current process" in text or "While lock file" in text:
        return DirectoryInUse(f"another process uses {path}: {text}")
    if any(reason in text for reason in _REFUSED):
        return DirectoryNotWritable(f"{path} cannot be written: {text}")
    # A file that the others name is missing, or names something that is not there.
    if text.startswith("Invalid argument") or "No such file or directory" in text:
        return DataDamaged(f"{path} is damaged: {text}")
    return _named(error)
