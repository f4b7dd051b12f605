"""What is proposed for transient queues: entries that no log takes.

They are applied within the turn that proposes them, by the functions that apply committed ones, and
then are forgotten.  Those of a queue whose declaration is not committed wait for that.
"""

from __future__ import annotations

from broker.cluster.slot_log import Proposed
from broker.core.transient.memory_bodies import MemoryBodies
from broker.model.entries import BindingsCarried, Entry, QueueDeclared, QueueDeleted, QueueUpdated

#: A reign's first position, in epochs: no reign puts more than so many messages into one queue, so
#: that a position of a lost message is never given to another.
POSITIONS_PER_EPOCH = 1 << 40

#: What is durable of a transient queue: that it is there, and how.
_LOGGED = (QueueDeclared, QueueUpdated, QueueDeleted, BindingsCarried)


def is_logged(entry: Entry) -> bool:
    return isinstance(entry, _LOGGED)


class TransientLog:
    """``pending`` are the entries to apply, in order, under numbers below 0 in place of an lsn."""

    __slots__ = ("_last", "memory", "pending")

    def __init__(self) -> None:
        self.memory = MemoryBodies()
        self.pending: list[Proposed] = []
        self._last = 0

    def propose(self, entry: Entry, now: int) -> int:
        self._last -= 1
        self.pending.append(Proposed(self._last, now, entry))
        return self._last

    def uncommitted_of(self, number: int) -> list[Entry]:
        return [p.entry for p in self.pending if getattr(p.entry, "number", None) == number]
