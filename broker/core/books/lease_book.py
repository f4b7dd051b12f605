"""What is in flight in one queue: ranges of positions, each under a lease.

Volatile by design: a delivery is no log entry, and a new epoch begins with an empty book.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.core.books.portion import Portion
from broker.core.books.range_map import RangeMap
from broker.core.session import Session
from broker.model.commands import Range


class Lease:
    """One delivery's right to a portion, until ``ends_at``."""

    __slots__ = ("consumer", "ends_at", "order", "portion", "session")

    def __init__(
        self, portion: Portion, session: Session, consumer: int | None, ends_at: int, order: int
    ) -> None:
        self.portion = portion
        self.session = session
        self.consumer = consumer
        self.ends_at = ends_at
        #: Rises with each delivery of the queue: the oldest is what a consumer works on.
        self.order = order


#: So many ranges of one settle are looked up together.
_MANY = 8

#: (first, count, lease): a part of a lease
LeasedPart = tuple[int, int, Lease]


class LeaseBook:
    __slots__ = ("bytes", "ranges", "weighs")

    def __init__(self) -> None:
        self.ranges: RangeMap[Lease] = RangeMap()
        #: True where somebody asks for ``bytes``; otherwise they are not kept.
        self.weighs = False
        self.bytes = 0

    @property
    def messages(self) -> int:
        return self.ranges.positions

    def add(self, lease: Lease, ranges: list[tuple[int, int]]) -> None:
        """Leases a portion, all of which lies in the ``ranges``."""
        self.ranges.add_all(ranges, lease)
        if self.weighs:
            self.bytes += lease.portion.size

    def take(self, session: Session, asked: list[Range]) -> tuple[list[LeasedPart], list[Range]]:
        """Ends the leases that ``session`` holds in the ranges: (taken parts, what is not held)."""
        taken: list[LeasedPart] = []
        lost: list[Range] = []
        if len(asked) >= _MANY:
            taken, asked = self._take_whole(session, asked)
        for first, count, attempts in asked:
            for part in self.held(session, first, count, attempts, lost):
                self._end(part)
                taken.append(part)
        return taken, lost

    def _take_whole(
        self, session: Session, asked: list[Range]
    ) -> tuple[list[LeasedPart], list[Range]]:
        """Ends those that are asked for as they were leased: (these parts, what else is asked)."""
        whole: dict[int, LeasedPart] = {}
        others: list[Range] = []
        find = self.ranges.find
        for each in asked:
            first, count, attempts = each
            found = find(first)
            if (
                found is not None
                and found[0] == count
                and _matches(found[1], session, attempts)
                and first not in whole
            ):
                whole[first] = (first, count, found[1])
            else:
                others.append(each)
        self.ranges.remove_whole(whole)
        taken = list(whole.values())
        if self.weighs:
            self.bytes -= sum(lease.portion.bytes_between(low, size) for low, size, lease in taken)
        return taken, others

    def held(
        self, session: Session, first: int, count: int, attempts: int, lost: list[Range]
    ) -> list[LeasedPart]:
        """The parts of a range under a lease of ``session``; the rest is added to ``lost``."""
        found = self.ranges.find(first)
        if found is not None and found[0] == count and _matches(found[1], session, attempts):
            return [(first, count, found[1])]
        parts = [
            part
            for part in self.ranges.overlapping(first, count)
            if _matches(part[2], session, attempts)
        ]
        lost.extend(_gaps(first, count, attempts, parts))
        return parts

    def take_ended(self, now: int) -> list[LeasedPart]:
        return self._take_where(lambda lease: lease.ends_at <= now)

    def take_of_session(self, session: Session) -> list[LeasedPart]:
        return self._take_where(lambda lease: lease.session is session)

    def _take_where(self, wanted: Callable[[Lease], bool]) -> list[LeasedPart]:
        parts = [part for part in self.ranges if wanted(part[2])]
        for part in parts:
            self._end(part)
        return parts

    def _end(self, part: LeasedPart) -> None:
        first, count, lease = part
        self.ranges.take(first, count)
        if self.weighs:
            self.bytes -= lease.portion.bytes_between(first, count)

    def weigh(self, weighs: bool) -> None:
        """Keeps the bytes of what is leased from now on, or no more."""
        if weighs and not self.weighs:
            self.bytes = sum(
                lease.portion.bytes_between(first, count) for first, count, lease in self.ranges
            )
        self.weighs = weighs

    def prolong(self, by_ms: int) -> None:
        """All leases end later: for that long nobody could have settled."""
        for lease in set(self.ranges.values()):
            lease.ends_at += by_ms

    def next_end(self) -> int | None:
        return min((lease.ends_at for lease in self.ranges.values()), default=None)


def _matches(lease: Lease, session: Session, attempts: int) -> bool:
    return lease.session is session and lease.portion.attempts == attempts


def _gaps(first: int, count: int, attempts: int, parts: list[LeasedPart]) -> list[Range]:
    gaps: list[Range] = []
    low = first
    for start, size, _ in [*parts, (first + count, 0, None)]:
        if start > low:
            gaps.append((low, start - low, attempts))
        low = start + size
    return gaps
