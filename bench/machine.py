"""What a reader must know of the machine to judge a figure.

Owns nothing. Never changes anything. Law: what cannot be read is said to be unknown, not guessed.
"""

import datetime
import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any


def describe(data_root: Path) -> dict[str, Any]:
    """Return date, processors, kernel, file system and Python of this run."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpus": os.cpu_count(),
        "cpu_model": _cpu_model(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file_system": file_system(data_root),
        "load_average": round(os.getloadavg()[0], 2),
    }


def package_version(package: str) -> str:
    """Return `name version` of an installed Python package."""
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} (not installed)"


def program_version(*command: str) -> str:
    """Return the first line that a program prints about its version."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"


def has_program(name: str) -> bool:
    """Tell whether a program is on the path."""
    return shutil.which(name) is not None


def file_system(directory: Path) -> str:
    """Return the type of the file system that holds `directory`."""
    resolved = directory.resolve()
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if resolved.is_relative_to(mount) and len(mount) > len(best[0]):
            best = (mount, kind)
    return best[1]


def disk_flushes() -> int:
    """Return how many flushes all disks have completed since the boot.

    It is a witness, not a measurement: other programs' flushes are counted too.
    """
    flushes = 0
    for line in Path("/proc/diskstats").read_text().splitlines():
        fields = line.split()
        is_whole_disk = Path("/sys/block", fields[2]).exists()
        if is_whole_disk and len(fields) >= 19:
            flushes += int(fields[18])
    return flushes


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"
