"""A disk that fails on demand, for a process of its own (Linux, needs a C compiler).

``env`` goes into the environment of the process; from ``fail_syncs()`` on each fsync of a
write-ahead log in it fails with EIO, from ``fail_writes()`` on each write to one with ENOSPC.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".c")


class FailingDisk:
    """``directory`` takes the compiled shim and its trigger; it is no data directory."""

    def __init__(self, directory: Path) -> None:
        library = directory / "fsync_shim.so"
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True)
        self._trigger = directory / "fsync_shim.trigger"
        self.env = {"LD_PRELOAD": str(library), "FSYNC_SHIM_TRIGGER": str(self._trigger)}

    def fail_syncs(self) -> None:
        self._set("s")

    def fail_writes(self) -> None:
        self._set("w")

    def heal(self) -> None:
        self._trigger.unlink(missing_ok=True)

    def _set(self, fault: str) -> None:
        new = self._trigger.with_suffix(".new")
        new.write_text(fault, "ascii")
        new.replace(self._trigger)
