"""How far one of the slot's time indexes was looked at, and when to look again."""

from __future__ import annotations

from collections.abc import Callable

from broker.core.bodies import IndexRow

_ROWS_PER_TURN = 1_000


class IndexCursor:
    """``read(after, count_max)`` gives the index's next rows behind ``after``, in order."""

    __slots__ = ("_read", "at", "seen")

    def __init__(self, read: Callable[[IndexRow | None, int], list[IndexRow]]) -> None:
        self._read = read
        #: When the next row is due; None when the index is not known to have any.
        self.at: int | None = None
        #: Rows up to this one were taken.
        self.seen: IndexRow | None = None

    def expect(self, at: int) -> None:
        if self.at is None or at < self.at:
            self.at = at

    def take(self, now: int) -> list[IndexRow]:
        """The rows that are due, a bounded number a turn."""
        if self.at is None or self.at > now:
            return []
        rows = self._read(self.seen, _ROWS_PER_TURN)
        due = [row for row in rows if row.at <= now]
        if due:
            self.seen = due[-1]
        if len(due) < len(rows):
            self.at = rows[len(due)].at
        else:
            self.at = now if len(rows) == _ROWS_PER_TURN else None
        return due
