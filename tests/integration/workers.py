"""Worker processes of a test: started, killed, stopped, and ended by their own pids."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.broker_process import ROOT
from tests.support.waiting import wait_until

#: Starts a worker and returns when it serves.
StartWorker = Callable[..., subprocess.Popen[str]]


@contextmanager
def worker_processes() -> Iterator[StartWorker]:
    processes: list[subprocess.Popen[str]] = []

    def start(address: str, service: str, concurrency: int = 1) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.integration.worker", address, service]
        process = subprocess.Popen(
            [*command, str(concurrency)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        return process

    try:
        yield start
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                # One that a test has stopped takes the kill only once it goes on.
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.communicate()


def wait_for_mark(mark: Path, text: str | None = None) -> None:
    """Returns when a worker has begun a request, or has written ``text`` about it."""
    wait_until(
        lambda: mark.exists() and (text is None or mark.read_text() == text),
        text or "a worker has begun",
    )
