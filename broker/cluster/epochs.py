"""Which reign wrote which part of a log."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable


class EpochTable:
    """(epoch, lsn of its first entry), both ascending; what lies before the first is forgotten."""

    __slots__ = ("_starts",)

    def __init__(self, starts: Iterable[tuple[int, int]] = ()) -> None:
        self._starts = [(epoch, lsn) for epoch, lsn in starts]

    def note(self, epoch: int, lsn: int) -> None:
        """The entry at ``lsn``, behind all that were noted, is of ``epoch``."""
        if not self._starts or epoch != self._starts[-1][0]:
            assert not self._starts or epoch > self._starts[-1][0], "epochs only rise in a log"
            self._starts.append((epoch, lsn))

    def at(self, lsn: int) -> int | None:
        """The epoch of the entry at ``lsn``; None for what is forgotten, 0 for the log's start."""
        if lsn == 0:
            return 0
        index = bisect_right(self._starts, lsn, key=lambda start: start[1])
        return self._starts[index - 1][0] if index else None

    def start_of(self, lsn: int) -> int:
        """The first lsn of the epoch to which the entry at ``lsn`` belongs."""
        index = bisect_right(self._starts, lsn, key=lambda start: start[1])
        return self._starts[index - 1][1] if index else 0

    def cut(self, lsn: int) -> None:
        """Entries above ``lsn`` are gone."""
        while self._starts and self._starts[-1][1] > lsn:
            self._starts.pop()

    def up_to(self, lsn: int) -> list[tuple[int, int]]:
        return [start for start in self._starts if start[1] <= lsn]

    def forget_below(self, lsn: int) -> None:
        """Epochs that end before ``lsn`` are not asked for any more."""
        while len(self._starts) > 1 and self._starts[1][1] <= lsn:
            del self._starts[0]
