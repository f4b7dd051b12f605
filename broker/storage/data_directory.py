"""A broker's data directory: made once, locked while it is in use, known by its FORMAT file.

    lock      held by the process that uses the directory; dies with it
    FORMAT    line 1: {"version": 1, "broker_id": "..."}   line 2: crc32 of line 1, in hex
    db/       the store

Law: what is there is never erased and never written over.  A directory is made in an order in
which each crash leaves either nothing to read or the whole:

    db.new/ made  ->  FORMAT written  ->  db.new/ renamed to db/

so FORMAT without a store, or a store without FORMAT, is damage.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import zlib
from pathlib import Path
from typing import IO

from broker.errors import (
    DataDamaged,
    DirectoryInUse,
    DirectoryNotWritable,
    DiskFailed,
    DiskFull,
    FormatTooNew,
    ProcessError,
)
from broker.storage.rocks_store import STORE_DIRECTORY, RocksStore

#: Of everything below the directory: keys, records, names of column families.  To change any:
#: 1. Raise this by one and tell in CHANGELOG.md what reads what.
#: 2. Read the former version where FORMAT is read here: rewrite the rows in batches that may be
#:    repeated, sync, and write the new FORMAT last, so that a crash finds the former one.
#: 3. Keep a directory of the former version as a test's data, and open it in a test.
#: The two lines of FORMAT and the place of "version" stay as they are in every version.
#: Version 2 has the column family ``ids``.
FORMAT_VERSION = 2

_BROKER_ID_BYTES = 8


class DataDirectory:
    """A context: while it is entered, no other process uses the directory."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.broker_id = ""
        self._format = self.path / "FORMAT"
        self._store = self.path / STORE_DIRECTORY
        self._new_store = self._store.with_suffix(".new")
        self._lock: IO[str] | None = None

    def __enter__(self) -> DataDirectory:
        try:
            self._make()
            self._take_lock()
            self._require_whole()
        except OSError as error:
            self.__exit__()
            raise _named(self.path, error) from None
        except ProcessError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def _make(self) -> None:
        missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        for made in missing:
            _sync_directory(made.parent)

    def _take_lock(self) -> None:
        self._lock = (self.path / "lock").open("a+", encoding="ascii")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            raise DirectoryInUse(f"{self.path} is in use by process {holder}") from None
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()

    def _require_whole(self) -> None:
        if not self._format.exists():
            if self._store.exists():
                raise DataDamaged(f"{self._format} is missing beside existing data")
            RocksStore.make(self._new_store)
            self._write_format(os.urandom(_BROKER_ID_BYTES).hex())
        version = self._read_format()
        if not self._store.exists():
            if not self._new_store.exists():
                raise DataDamaged(f"{self._store} is missing beside {self._format.name}")
            self._new_store.rename(self._store)
            _sync_directory(self.path)
        if version < FORMAT_VERSION:
            RocksStore.complete(self._store)
            self._write_format(self.broker_id)

    def _read_format(self) -> int:
        try:
            said, crc = self._format.read_bytes().splitlines()
            if crc.lower() != b"%08x" % zlib.crc32(said):
                raise ValueError("checksum")
            found = json.loads(said)
            version, self.broker_id = int(found["version"]), str(found.get("broker_id", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            text = f"{self._format} is damaged: it does not say what format the data has"
            raise DataDamaged(text) from None
        if version > FORMAT_VERSION:
            raise FormatTooNew(
                f"{self.path} has format {version}, this program reads up to {FORMAT_VERSION}"
            )
        return version

    def _write_format(self, broker_id: str) -> None:
        """All or nothing: the file has its name only once its bytes are on disk."""
        said = json.dumps({"version": FORMAT_VERSION, "broker_id": broker_id}).encode("ascii")
        new = self._format.with_suffix(".new")
        with new.open("wb") as file:
            file.write(b"%b\n%08x\n" % (said, zlib.crc32(said)))
            file.flush()
            os.fsync(file.fileno())
        new.rename(self._format)
        _sync_directory(self.path)


def _sync_directory(path: Path) -> None:
    """Makes the names in ``path`` durable; a file's own fsync does not."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _named(path: Path, error: OSError) -> ProcessError:
    text = f"{path}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(text)
    if error.errno == errno.EIO:
        return DiskFailed(text)
    return DirectoryNotWritable(text)
