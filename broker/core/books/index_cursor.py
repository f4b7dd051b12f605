"""How far one of the slot's time indexes was looked at, and when to look again."""

from __future__ import annotations

from collections.abc import Callable

from broker.core.books.bodies import IndexRow

_ROWS_PER_TURN = 1_000


class IndexCursor:
    """``read(after, count_max)`` gives the index's next rows behind ``after``, in order."""

    __slots__ = ("_held_at", "_is_held", "_not_before", "_read", "at", "seen")

    def __init__(self, read: Callable[[IndexRow | None, int], list[IndexRow]]) -> None:
        self._read = read
        #: When the next row is due; None when the index is not known to have any.
        self.at: int | None = None
        #: Rows up to this one were taken.
        self.seen: IndexRow | None = None
        #: Nothing is taken while rows are on their way to the index.
        self._is_held = False
        self._held_at: int | None = None
        self._not_before = 0

    def expect(self, at: int) -> None:
        at = max(at, self._not_before)
        if self._is_held:
            self._held_at = at if self._held_at is None else min(at, self._held_at)
        elif self.at is None or at < self.at:
            self.at = at

    def hold(self) -> None:
        """Takes nothing until ``release``: rows are proposed that come before others."""
        self._is_held = True
        self._held_at, self.at = self.at, None

    def release(self, now: int) -> None:
        """They are committed; they stand in the index when this turn is over."""
        at, self._held_at = self._held_at, None
        self._is_held = False
        self._not_before = now + 1
        if at is not None:
            self.expect(at)

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
