"""A broker's data directory: made, locked, and known by its FORMAT file."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import IO

from broker.errors import DataDamaged, DirectoryInUse, DirectoryNotWritable, FormatTooNew

FORMAT_VERSION = 1


class DataDirectory:
    """A context: while it is entered, no other process uses the directory."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.broker_id = ""
        self._lock: IO[str] | None = None

    def __enter__(self) -> DataDirectory:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("w")
        except OSError as error:
            raise DirectoryNotWritable(f"{self.path}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DirectoryInUse(f"another process uses {self.path}") from None
        self._read_format()
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def _read_format(self) -> None:
        file = self.path / "FORMAT"
        if not file.exists():
            if (self.path / "db").exists():
                raise DataDamaged(f"{file} is missing beside existing data")
            self._write_format(file)
        try:
            found = json.loads(file.read_text())
            version, self.broker_id = int(found["version"]), str(found["broker_id"])
        except (ValueError, KeyError, TypeError):
            raise DataDamaged(f"{file} does not say what format the data has") from None
        if version > FORMAT_VERSION:
            raise FormatTooNew(f"{self.path} has format {version}, we read {FORMAT_VERSION}")

    def _write_format(self, file: Path) -> None:
        new = file.with_suffix(".new")
        new.write_text(json.dumps({"version": FORMAT_VERSION, "broker_id": os.urandom(8).hex()}))
        new.replace(file)
