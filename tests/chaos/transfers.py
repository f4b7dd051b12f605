"""The queues of a run whose messages move: dead letters and redrive, and transactions.

work -- rejected, failed too often, expired --> dead -- redrive --> again
step -- settle and put, at once --> done
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.checkers.history import Recorder

DEAD_LETTERS = ("work", "dead", "again")
STEPS = ("step", "done")
SETTINGS: dict[str, dict[str, Any]] = {
    "work": {
        "dead_letter": "dead",
        "max_attempts": 3,
        "backoff_ms": 50,
        "backoff_max_ms": 200,
    },
    "dead": {},
    "again": {},
    "step": {},
    "done": {},
}


class Recorders:
    """One process's histories, a file a queue: ``NAME@QUEUE.jsonl``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._recorders: dict[str, Recorder] = {}

    def of(self, queue: str) -> Recorder:
        recorder = self._recorders.get(queue)
        if recorder is None:
            path = self._path.with_name(f"{self._path.stem}@{queue}.jsonl")
            recorder = self._recorders[queue] = Recorder(path, self._path.stem)
        return recorder
