"""One redrive: what it moves, how far it has come, and how fast it may go on."""

from __future__ import annotations

from typing import Any

from broker import limits
from broker.core.choosing.reading import packed_properties
from broker.core.queue import Queue
from broker.model.commands import Redrive
from broker.model.selector import Selector
from broker.model.stored_batch import StoredBatch


class RedriveJob:
    """``at`` is the position to go on at, in the first of ``lanes``."""

    __slots__ = ("_allowed", "_command", "_lent_at", "at", "end", "lanes", "moved", "next_at")

    def __init__(self, command: Redrive, queue: Queue, now: int) -> None:
        self._command = command
        lanes = [number for number, lane in queue.ledger.lanes.items() if lane.messages]
        self.lanes = sorted(lanes, key=lambda lane: (lane % limits.DELAYED_LANES, lane))
        self.at = 0
        self.end = queue.ledger.next_position
        self.moved = 0
        self.next_at = now
        #: Thousandths of messages that the rate allows, and since when it was last counted.
        self._allowed = 0
        self._lent_at = now

    @property
    def selector(self) -> Selector | None:
        return self._command.selector

    @property
    def left_max(self) -> int:
        return limits.REDRIVE_COUNT if self._command.max is None else self._command.max - self.moved

    def target_of(self, batch: StoredBatch, name: str) -> str | None:
        """Where the batch's messages go; None where nobody knows, or where they are."""
        target = self._command.to
        if target is None:
            target = packed_properties(batch).get("death", {}).get("queue")
        return None if target == name else target

    def allowance(self, now: int) -> int:
        """How many messages may be moved now."""
        most = min(self.left_max, limits.REDRIVE_COUNT)
        rate = self._command.per_second
        if rate is None:
            return most
        earned = self._allowed + rate * (now - self._lent_at)
        # What was not used for a second is not made up for.
        self._allowed = min(earned, rate * limits.SECOND)
        self._lent_at = now
        return min(most, self._allowed // limits.SECOND)

    def note_moved(self, messages: int) -> None:
        self.moved += messages
        self._allowed -= messages * limits.SECOND

    def as_map(self, queue: Queue, *, running: bool) -> dict[str, Any]:
        waiting = queue.ready + queue.resting.positions
        left = waiting if self._command.max is None else min(self.left_max, waiting)
        return {"moved": self.moved, "left": left if running else 0, "running": running}
