"""A process that writes numbered batches to a store until it is killed or the disk fails.

    python -m tests.storage.writing_process DIRECTORY

Prints ``synced N`` after each sync that covers the batches up to N.  A failure of the disk is
printed by name, then whether the store took another batch after it, and gives the exit status.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO

from broker.errors import ProcessError
from broker.storage.data_directory import DataDirectory
from broker.storage.rocks_store import RocksStore
from broker.storage.store import Family, Store, WriteOps

ROOT = Path(__file__).resolve().parents[2]
_BATCHES_PER_SYNC = 3


def key_of(number: int) -> bytes:
    return number.to_bytes(8, "big")


def body_of(number: int) -> bytes:
    return key_of(number) * 512


def batch_of(number: int) -> WriteOps:
    """Touches three families, so that half a batch would be seen."""
    ops = WriteOps()
    ops.put(Family.LOG, key_of(number), b"log")
    ops.put(Family.BODY, key_of(number), body_of(number))
    ops.put(Family.STATE, b"newest", key_of(number))
    return ops


def require_prefix(store: Store) -> int:
    """How many batches the store holds; they must be the first ones, each of them whole."""
    log = store.scan(Family.LOG, b"", b"\xff", 1_000_000, 1 << 30)
    bodies = store.scan(Family.BODY, b"", b"\xff", 1_000_000, 1 << 30)
    assert log == [(key_of(number), b"log") for number in range(len(log))]
    assert bodies == [(key_of(number), body_of(number)) for number in range(len(log))]
    assert store.get(Family.STATE, b"newest") == (key_of(len(log) - 1) if log else None)
    return len(log)


@contextmanager
def writing_process(directory: Path, env: Mapping[str, str] | None = None) -> Iterator[Writer]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.storage.writing_process", str(directory)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Writer(process)
        finally:
            process.kill()


class Writer:
    """The process from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self._lines: IO[str] = process.stdout
        #: The newest batch that the process said was synced.
        self.synced = -1

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for_sync(self, of: int) -> None:
        """Returns once the process has synced batch ``of``."""
        while self.synced < of:
            words = self._lines.readline().split()
            assert words[:1] == ["synced"], f"the process said {words}"
            self.synced = int(words[1])

    def kill(self) -> None:
        """SIGKILL; what was said before counts as synced."""
        self._process.kill()
        self._read_out()

    def wait_for_failure(self) -> tuple[int, list[str]]:
        """The exit status, and what was said besides syncs."""
        lines = self._read_out()
        return self._process.wait(), lines

    def _read_out(self) -> list[str]:
        other = []
        for line in self._lines:
            if line.startswith("synced ") and line.endswith("\n"):
                self.synced = int(line.split()[1])
            elif not line.startswith("synced"):
                other.append(line.strip())
        return other


def _write_until_the_end(store: RocksStore) -> None:
    for number in count():
        store.write(batch_of(number))
        if number % _BATCHES_PER_SYNC == _BATCHES_PER_SYNC - 1:
            store.sync()
            print(f"synced {number}", flush=True)


def _main() -> int:
    with DataDirectory(sys.argv[1]) as directory:
        store = RocksStore.open(directory.path)
        try:
            _write_until_the_end(store)
        except ProcessError as error:
            print(error.name)
            status = error.exit_status
        try:
            store.write(batch_of(0))
        except ProcessError:
            print("further writes are refused")
        store.close()
        return status


if __name__ == "__main__":
    sys.exit(_main())
