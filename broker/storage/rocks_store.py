"""The Store over RocksDB: one column family a Family, one write-ahead log for all.

``write`` is unsynced and holds the interpreter's lock; ``sync`` flushes the log and releases it, so
that a thread can wait for the disk while the loop gathers the next batch.
"""

from __future__ import annotations

import time
from pathlib import Path

from rocksdict import (
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

from broker.errors import DataDamaged, DirectoryInUse, DiskFailed, DiskFull, MsgQueueError
from broker.storage.store import Family, WriteOps

_MIB = 1 << 20
_STALL_LOOK_S = 0.02


class RocksStore:
    def __init__(self, db: Rdict) -> None:
        self._db = db
        names = [family.name.lower() for family in Family]
        self._handles = [db.get_column_family_handle(name) for name in names]
        self._families = [db.get_column_family(name) for name in names]
        self._write_options = WriteOptions()
        self._write_options.sync = False
        self._failure: MsgQueueError | None = None
        self._stalled = False
        self._looked_at = 0.0

    @classmethod
    def open(cls, directory: Path) -> RocksStore:
        families = {family.name.lower(): _options() for family in Family}
        try:
            return cls(Rdict(str(directory / "db"), _options(), column_families=families))
        except Exception as error:
            raise _named(error, opening=True) from None

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

    def scan(
        self, family: Family, low: bytes, high: bytes, count_max: int, bytes_max: int
    ) -> list[tuple[bytes, bytes]]:
        options = ReadOptions()
        options.set_iterate_upper_bound(high)
        rows: list[tuple[bytes, bytes]] = []
        try:
            cursor = self._families[family].iter(options)
            cursor.seek(low)
            while cursor.valid() and len(rows) < count_max and bytes_max > 0:
                value = cursor.value()
                rows.append((cursor.key(), value))
                bytes_max -= len(value)
                cursor.next()
            cursor.status()
        except Exception as error:
            raise _named(error) from None
        return rows

    def last_before(self, family: Family, low: bytes, key: bytes) -> tuple[bytes, bytes] | None:
        try:
            cursor = self._families[family].iter(ReadOptions())
            cursor.seek_for_prev(key)
            cursor.status()
            if cursor.valid() and cursor.key() >= low:
                return cursor.key(), cursor.value()
        except Exception as error:
            raise _named(error) from None
        return None

    def is_stalled(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at >= _STALL_LOOK_S:
            self._looked_at = now
            stopped = self._db.property_int_value("rocksdb.is-write-stopped")
            delayed = self._db.property_int_value("rocksdb.actual-delayed-write-rate")
            self._stalled = bool(stopped or delayed)
        return self._stalled

    def close(self) -> None:
        self._db.close()

    def _require_sound(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: Exception) -> MsgQueueError:
        self._failure = _named(error)
        return self._failure


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_compression_type(DBCompressionType.none())
    options.set_write_buffer_size(128 * _MIB)
    options.set_max_total_wal_size(1024 * _MIB)
    options.set_max_background_jobs(2)
    options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    return options


def _named(error: Exception, opening: bool = False) -> MsgQueueError:
    text = str(error)
    if "No space" in text:
        return DiskFull(text)
    if "Corruption" in text:
        return DataDamaged(text)
    if opening and "lock" in text.lower():
        return DirectoryInUse(text)
    return DiskFailed(text)
