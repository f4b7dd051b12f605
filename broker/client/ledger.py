"""Settles gathered for one delivery tag, merged into ranges until they are sent.

Owns what is gathered, which runs may still be settled, and in which session.  It never sends.
Law: what is gathered leaves in ranges that are sorted, merged and disjoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

from broker.client.delivery import HELD, LOST, SETTLED, TAKEN, Part, Range, Run
from broker.errors import LeaseLost
from broker.limits import RANGES_MAX

if TYPE_CHECKING:
    from broker.client.exchange import Exchange
    from broker.client.routes import Route


class SettleKind(NamedTuple):
    """A settling command and the fields that all its ranges share."""

    command: str
    delay_ms: int | None = None
    charge: bool = True


ACK = SettleKind("ack")
REJECT = SettleKind("reject")
#: Back to its place at once, as if it had never been delivered.
GIVE_BACK = SettleKind("nack", delay_ms=0, charge=False)


class Ledger:
    """One tag of one consumer (or of all gets: ``consumer`` is None) in one session.

    ``exchange`` is that session's, which may be another than its queue now uses.
    """

    def __init__(
        self,
        route: Route,
        exchange: Exchange,
        tag: bytes,
        consumer: int | None,
        lease_ms: int | None,
    ) -> None:
        self.queue = route.queue
        self.route = route
        self.exchange = exchange
        self.tag = tag
        self.consumer = consumer
        self.lease_ms = lease_ms
        #: Messages gathered since the last taking.
        self.gathered = 0
        #: How many gathered messages are worth a command.
        self.flush_at = 1
        #: Runs that somebody still holds; a message that nobody can settle needs no care.
        self.runs: WeakSet[Run] = WeakSet()
        #: Those of earlier reigns that may concern the same messages; none on a lone broker.
        self.older: list[Ledger] = []
        #: True when it is one of those to another ledger.
        self.is_outlived = False
        self._acked: list[Range] = []
        # The range that acks are merged into: its first position, the one behind it, attempts.
        self._first = 0
        self._end = -1
        self._attempts = 0
        self._others: dict[SettleKind, list[Range]] = {}

    def ack(self, run: Run, index: int) -> int:
        """Gathers one ack; how many are gathered now, or 0 for a message taken with auto-ack."""
        mark = run.marks[index]
        if mark == TAKEN:
            return 0
        if mark != HELD:
            raise _not_held(mark)
        run.marks[index] = SETTLED
        position = run.first + index
        if position != self._end or run.attempts != self._attempts:
            self._begin(position, run.attempts)
        self._end = position + 1
        gathered = self.gathered = self.gathered + 1
        return gathered

    def settle(self, kind: SettleKind, run: Run, index: int) -> int:
        """As ``ack``, for any kind; raises LeaseLost for what is not held (any more)."""
        if kind is ACK:
            return self.ack(run, index)
        mark = run.marks[index]
        if mark != HELD:
            raise _not_held(mark)
        run.marks[index] = SETTLED
        self._others.setdefault(kind, []).append((run.first + index, 1, run.attempts))
        self.gathered += 1
        return self.gathered

    def settle_parts(self, kind: SettleKind, parts: Iterable[Part]) -> int:
        """Settles what is held of whole parts; how many messages that were."""
        settled = 0
        ranges = self._acked if kind is ACK else self._others.setdefault(kind, [])
        for run, start, stop in parts:
            for first, count, attempts in list(run.held(start, stop)):
                ranges.append((first, count, attempts))
                low = first - run.first
                run.marks[low : low + count] = bytes((SETTLED,)) * count
                settled += count
        self.gathered += settled
        return settled

    def mark_settled(self, parts: Iterable[Part]) -> int:
        """What is held of the parts was settled without being gathered; how many messages."""
        settled = 0
        for run, start, stop in parts:
            for first, count, _ in list(run.held(start, stop)):
                low = first - run.first
                run.marks[low : low + count] = bytes((SETTLED,)) * count
                settled += count
        return settled

    def take(self) -> Iterator[tuple[SettleKind, list[Range]]]:
        """What is gathered, as commands; each has as many ranges as a command may have."""
        self._begin(0, 0)
        self._end = -1
        acked, self._acked = self._acked, []
        others, self._others = self._others, {}
        self.gathered = 0
        for kind, ranges in ((ACK, acked), *others.items()):
            merged = merge(ranges)
            for start in range(0, len(merged), RANGES_MAX):
                yield kind, merged[start : start + RANGES_MAX]

    def waiting(self) -> Iterator[tuple[SettleKind, list[Range]]]:
        """What is gathered, without taking it."""
        yield ACK, self._acked
        if self._end >= 0:
            yield ACK, [(self._first, self._end - self._first, self._attempts)]
        yield from self._others.items()

    def held(self) -> list[Range]:
        """All that is delivered and neither settled nor lost."""
        return merge([held for run in self.runs for held in run.held()])

    def lose(self, ranges: Iterable[Range]) -> int:
        """Marks what is held here of ``ranges`` as lost; how many messages that were."""
        runs = list(self.runs)
        return sum(run.lose(first, count) for first, count, *_ in ranges for run in runs)

    def _begin(self, position: int, attempts: int) -> None:
        if self._end >= 0:
            self._acked.append((self._first, self._end - self._first, self._attempts))
        self._first = position
        self._attempts = attempts


def merge(ranges: list[Range]) -> list[Range]:
    """Sorted, with neighbours of the same attempts joined."""
    merged: list[Range] = []
    for first, count, attempts in sorted(ranges):
        if merged:
            last_first, last_count, last_attempts = merged[-1]
            if last_first + last_count == first and last_attempts == attempts:
                merged[-1] = (last_first, last_count + count, attempts)
                continue
        merged.append((first, count, attempts))
    return merged


def _not_held(mark: int) -> LeaseLost:
    if mark == TAKEN:
        return LeaseLost("the message was taken with auto_ack: there is nothing to settle")
    if mark == LOST:
        return LeaseLost("the message was given to somebody else while the connection was lost")
    return LeaseLost("the message is settled already")
