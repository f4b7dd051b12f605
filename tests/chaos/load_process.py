"""One producer or consumer in a process of its own, with its history and what it printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.broker_process import ROOT


class LoadProcess:
    """``role`` is a module of this package that takes an endpoint, a history and a seed."""

    def __init__(self, role: str, name: str, directory: Path, endpoint: str, seed: int) -> None:
        self.name = name
        self._err = directory / f"{name}.err"
        history = directory / f"{name}.jsonl"
        command = [sys.executable, "-m", f"tests.chaos.{role}", endpoint, str(history), str(seed)]
        with self._err.open("wb") as err:
            self._process = subprocess.Popen(command, cwd=ROOT, stderr=err)

    def require_running(self) -> None:
        """Raises AssertionError, with what the process said, when it ended by itself."""
        status = self._process.poll()
        assert status is None, f"{self.name} ended with {status}:\n{self._err.read_text()}"

    def end(self, deadline_s: float) -> None:
        """In order: what it has begun is answered before it ends."""
        self._process.terminate()
        status = self._process.wait(deadline_s)
        assert status == 0, f"{self.name} ended with {status}:\n{self._err.read_text()}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
