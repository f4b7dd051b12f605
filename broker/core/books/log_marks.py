"""Marks of a log's recent past: how far each queue had come at an lsn some way back.

Bodies put after a mark stay when the log is trimmed to it, so that every entry above can still
be sent to a replica with its body.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

_MARKS_PER_KEPT = 4


class Mark(NamedTuple):
    """How far the log was, and the queues that were touched since the mark before."""

    lsn: int
    total_bytes: int
    positions: dict[int, int]


class LogMarks:
    """Marks of the log's recent past, oldest first."""

    def __init__(self, kept_bytes: int) -> None:
        self.kept_bytes = kept_bytes
        #: Bytes written to this log since the start.
        self.written_bytes = 0
        self._marks: deque[Mark] = deque()
        self._touched: dict[int, int] = {}
        self._marked_bytes = 0

    def note(self, size: int) -> None:
        self.written_bytes += size

    def touch(self, number: int, position: int) -> None:
        self._touched[number] = max(self._touched.get(number, 0), position)

    def maybe_mark(self, lsn: int) -> None:
        if self.written_bytes - self._marked_bytes >= self.kept_bytes // _MARKS_PER_KEPT:
            self._marked_bytes = self.written_bytes
            self._marks.append(Mark(lsn, self.written_bytes, self._touched))
            self._touched = {}

    def take(self, lsn_max: int) -> Mark | None:
        """The newest mark that is old enough and not above ``lsn_max``, with all before it."""
        limit = self.written_bytes - self.kept_bytes
        found: Mark | None = None
        positions: dict[int, int] = {}
        while self._marks and self._marks[0].lsn <= lsn_max:
            if self._marks[0].total_bytes > limit:
                break
            found = self._marks.popleft()
            positions.update(found.positions)
        return found and Mark(found.lsn, found.total_bytes, positions)
