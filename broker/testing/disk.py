"""One broker's disk: the store in memory, with syncs that take time and crashes that lose.

Owns how long a sync takes and what a crash leaves.  Law: what a finished sync covered survives
every crash; of the rest a prefix does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from broker.errors import DiskFailed, DiskFull
from broker.storage.memory_store import MemoryStore
from broker.storage.store import Family
from broker.testing.schedule import MS


@dataclass(slots=True)
class DiskFaults:
    """Probabilities of one sync, and how slow a slow one is at most."""

    slow: float = 0.0
    slow_us_max: int = 0


class SimulatedDisk:
    """``store`` is what the node is given; the process asks for syncs and tells of crashes."""

    def __init__(self, random: Random, faults: DiskFaults) -> None:
        self.store = MemoryStore()
        #: True once a bit was flipped: what is on it may be refused.
        self.is_damaged = False
        self._random = random
        self._faults = faults
        #: While True every sync is slow: a disk that is dying.
        self.dragging = False

    def sync_us(self) -> int:
        """How long the sync that begins now will take."""
        faults = self._faults
        if self.dragging or (faults.slow and self._random.random() < faults.slow):
            return 20 * MS + int(self._random.random() * faults.slow_us_max)
        return 200 + int(self._random.random() * 800)

    def crash(self, *, keep_all: bool = False) -> int:
        """The process or the power is gone; gives how many unsynced batches were lost."""
        unsynced = self.store.unsynced_batches
        kept = unsynced if keep_all else self._random.randint(0, unsynced)
        self.store.crash(kept)
        return unsynced - kept

    def replace(self) -> None:
        """Another disk, with nothing on it."""
        self.store = MemoryStore()
        self.is_damaged = False

    def flip_bit(self) -> bool:
        """Damages one row of the log; False when there is none."""
        rows = self.store.scan(Family.LOG, b"", b"\xff" * 16, 1 << 20, 1 << 30)
        if not rows:
            return False
        key, value = self._random.choice(rows)
        self.store.flip_bit(Family.LOG, key, self._random.randrange(len(value) * 8))
        self.is_damaged = True
        return True

    def fail_next(self, kind: str) -> None:
        """``sync``: an fsync fails; ``write``: an append does; ``full``: there is no space."""
        _FAILURES[kind](self.store)


_FAILURES: dict[str, Callable[[MemoryStore], None]] = {
    "sync": lambda store: store.fail_next_sync(DiskFailed("a simulated fsync error")),
    "write": lambda store: store.fail_next_write(DiskFailed("a simulated write error")),
    "full": lambda store: store.fail_next_write(DiskFull("a simulated full disk")),
}
