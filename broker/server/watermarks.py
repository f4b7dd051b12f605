"""Disk and memory against their marks.

Owns when puts are refused for want of room.  It never frees anything of the broker's: that is
what the settles do, which go on below the mark.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from broker import limits

#: The share of the machine's memory that the broker may use where nothing else is said.
MEMORY_SHARE_PERCENT = 60
#: An alarm ends this share of its mark away from it, so that it does not flap.
_MARGIN_DIVISOR = 16

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")
_OWN_CGROUP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def free_disk_bytes(directory: Path) -> int:
    """What an ordinary user may still write on the directory's file system."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not say (macOS)."""
    if sys.platform != "linux":
        return 0
    return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES


def memory_max_default() -> int:
    """A share of the machine's memory, or of the container's or service's where that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
    return min([total, *_cgroup_limits()]) * MEMORY_SHARE_PERCENT // 100


def _cgroup_limits() -> Iterator[int]:
    """The bounds on memory of the control group (version 2) and of those above it."""
    if not _OWN_CGROUP.is_file():
        return
    name = _OWN_CGROUP.read_text("utf-8").rpartition("::")[2].strip().lstrip("/")
    own = _CGROUPS / name
    for group in (own, *own.parents):
        limit = group / "memory.max"
        if limit.is_file() and (text := limit.read_text("ascii").strip()).isdigit():
            yield int(text)


class Watermarks:
    """Tells the reason of the alarm that is in force, or None."""

    def __init__(
        self,
        *,
        disk_reserve: int,
        memory_max: int,
        free_disk: Callable[[], int],
        resident: Callable[[], int] = resident_bytes,
    ) -> None:
        self._disk_reserve = disk_reserve
        self._memory_max = memory_max
        self._free_disk = free_disk
        self._resident = resident
        self._disk_is_short = False
        self._memory_is_short = False
        #: Bytes of memory at the last look.
        self.resident = 0

    def look(self) -> str | None:
        """Measures both now."""
        free, used = self._free_disk(), self._resident()
        self.resident = used
        disk_mark = self._disk_reserve
        if self._disk_is_short:
            disk_mark += disk_mark // _MARGIN_DIVISOR
        self._disk_is_short = free < disk_mark
        memory_mark = self._memory_max
        if self._memory_is_short:
            memory_mark -= memory_mark // _MARGIN_DIVISOR
        self._memory_is_short = self._memory_max > 0 and used > memory_mark
        if self._disk_is_short:
            return f"disk: {_mib(free)} free, {_mib(self._disk_reserve)} are kept in reserve"
        if self._memory_is_short:
            release_freed_memory()
            return f"memory: {_mib(used)} in use, {_mib(self._memory_max)} allowed"
        return None

    @property
    def memory_is_short(self) -> bool:
        return self._memory_is_short


def release_freed_memory() -> None:
    """Hands what the allocator keeps back to the system.

    glibc keeps freed blocks for later; without this an alarm about memory that nobody uses
    any more might never end.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _mib(size: int) -> str:
    return f"{size // limits.MIB} MiB"
