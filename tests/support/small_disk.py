"""A file system of a few megabytes, for tests that fill it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def can_mount() -> bool:
    return os.geteuid() == 0 and Path("/proc/filesystems").is_file()


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[Path]:
    """A tmpfs of ``size`` (``64m``) on ``directory``; only root may mount one."""
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], check=True
    )
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def resize(directory: Path, size: str) -> None:
    """Gives the file system room, as an operator would who found it full."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(directory)], check=True)
