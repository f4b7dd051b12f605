"""How far a redrive has come, as the broker told it.

Owns what its answers and the queue's stats say of it.  It never asks.
"""

from __future__ import annotations

from typing import Any

#: A redrive that is waited for is asked after so often.
POLL_S = 0.1


class RedriveProgress:
    def __init__(self, queue: str, job: dict[str, Any]) -> None:
        self.queue = queue
        #: What the queue had redriven when this began.
        self._base: int = job["base"]
        #: Messages that have left the queue for where they belong.
        self.moved = 0
        #: Messages that are still to move.
        self.left = 0
        self.running = False
        self.take(job)

    def take(self, job: dict[str, Any]) -> None:
        self.moved = max(self.moved, job.get("moved", 0))
        self.left = job.get("left", 0)
        self.running = bool(job.get("running", False))

    def learn(self, stats: dict[str, Any]) -> None:
        """Stats without a redrive tell that it has come to its end."""
        moved = stats["counters"].get("redriven", 0) - self._base
        self.take({**(stats.get("redrive") or {}), "moved": moved})

    def __repr__(self) -> str:
        state = "running" if self.running else "ended"
        return f"<{type(self).__name__} {self.queue!r} {state} moved={self.moved} left={self.left}>"
