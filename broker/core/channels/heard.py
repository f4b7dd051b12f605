"""The last producers of a channel without a history: what each of them published, so that what is
sent again appears once.

Only a few are remembered, newest first, as long as the channel is; there is nothing of them on a
disk.  A channel with a history keeps its producers with it, as a queue does.
"""

from __future__ import annotations

from broker import limits
from broker.core.books.producers import Verdict, Window


class Heard(Window):
    """One producer's window; ``older`` is that of the producer heard before it."""

    __slots__ = ("older", "producer")

    def __init__(self, producer: bytes, older: Heard | None) -> None:
        super().__init__(-1, 0, 0)
        self.producer = producer
        self.older = older


def find_heard(newest: Heard | None, producer: bytes) -> Heard | None:
    while newest is not None and newest.producer != producer:
        newest = newest.older
    return newest


def judge_heard(newest: Heard | None, producer: bytes, sequence: int) -> Verdict:
    """What to do with a publish of a producer; one that is not known is taken as it comes."""
    heard = find_heard(newest, producer)
    if heard is None or sequence > heard.highest:
        return Verdict.NEW
    behind = heard.highest - sequence
    if behind >= limits.SEQUENCE_WINDOW:
        return Verdict.TOO_OLD
    return Verdict.APPLIED if heard.applied >> behind & 1 else Verdict.NEW


def note_heard(newest: Heard | None, producer: bytes, sequence: int) -> Heard:
    """The publish was taken; gives the producers from now on, this one first."""
    if newest is not None and newest.producer == producer:
        heard = newest
    else:
        heard = _take_out(newest, producer) or Heard(producer, None)
        heard.older = newest if newest is not heard else heard.older
        _cut(heard)
    heard.add(sequence, 0)
    return heard


def _take_out(newest: Heard | None, producer: bytes) -> Heard | None:
    """Unlinks a producer that is not the newest."""
    before = newest
    while before is not None and before.older is not None:
        if before.older.producer == producer:
            found = before.older
            before.older = found.older
            return found
        before = before.older
    return None


def _cut(newest: Heard) -> None:
    last = newest
    for _ in range(limits.CHANNEL_PRODUCERS_MAX - 1):
        if last.older is None:
            return
        last = last.older
    last.older = None
