"""First in, first out, judged by the four things that a correct queue's history lacks.

An operation takes time, and happens at one instant between its call and its return.  A
history is that of a queue exactly when none of these is found in it (Bouajjani, Emmi, Enea,
Hamza: *On Reducing Linearizability to State Reachability*, 2015):

    1  a value taken that was never put, or put only after it was taken
    2  a value taken twice
    3  a before b into the queue, and b before a out of it (or a never)
    4  "empty" answered while at each instant some value was surely inside
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from broker.testing.verdict import Verdict

NEVER = math.inf


@dataclass(frozen=True, slots=True)
class Operation:
    """A put or a take of ``value``; a take that found nothing has the value None.

    ``returned_at`` is NEVER for a put with no answer, which may yet happen.
    """

    value: str | None
    called_at: float
    returned_at: float


def check_fifo(puts: Sequence[Operation], takes: Sequence[Operation]) -> Verdict:
    """Judge a queue with one order: no priorities, delays or redeliveries.  Values are unique
    among ``puts``."""
    taken = [take for take in takes if take.value is not None]
    empty = [take for take in takes if take.value is None]
    breaches = chain(
        _never_put(puts, taken),
        _twice(taken),
        _inverted(puts, taken),
        _not_empty(puts, taken, empty),
    )
    counts = {"puts": len(puts), "takes": len(taken), "empty": len(empty)}
    return Verdict("fifo", tuple(breaches), counts)


def _never_put(puts: Iterable[Operation], taken: Iterable[Operation]) -> Iterator[str]:
    called_at = {put.value: put.called_at for put in puts}
    for take in taken:
        if called_at.get(take.value, NEVER) > take.returned_at:
            yield f"never put: {take.value}"


def _twice(taken: Iterable[Operation]) -> Iterator[str]:
    seen: set[str | None] = set()
    for take in taken:
        if take.value in seen:
            yield f"twice: {take.value}"
        seen.add(take.value)


def _inverted(puts: Sequence[Operation], taken: Sequence[Operation]) -> Iterator[str]:
    """Walk the puts in the order of their calls; of all that had returned by then, keep the
    one that was taken last.  A value that was surely out before that one was overtook it."""
    take_of = {take.value: take for take in reversed(taken)}

    def out_from(put: Operation) -> float:
        take = take_of.get(put.value)
        return NEVER if take is None else take.called_at

    by_return = sorted(puts, key=lambda put: put.returned_at)
    earlier = 0
    latest: Operation | None = None
    for put in sorted(puts, key=lambda put: put.called_at):
        while by_return[earlier].returned_at < put.called_at:
            candidate = by_return[earlier]
            if latest is None or out_from(candidate) > out_from(latest):
                latest = candidate
            earlier += 1
        take = take_of.get(put.value)
        if latest is not None and take is not None and take.returned_at < out_from(latest):
            yield f"inverted: {put.value} overtook {latest.value}"


def _not_empty(
    puts: Iterable[Operation], taken: Iterable[Operation], empty: Iterable[Operation]
) -> Iterator[str]:
    """A value is surely inside from the return of its put to the call of its take."""
    out_from = {take.value: take.called_at for take in taken}
    inside = sorted(
        (put.returned_at, out_from.get(put.value, NEVER))
        for put in puts
        if put.returned_at < out_from.get(put.value, NEVER)
    )
    for take in empty:
        sure_until = take.called_at
        for start, end in inside:
            if start >= sure_until:
                break
            sure_until = max(sure_until, end)
        if sure_until > take.returned_at:
            yield f"not empty: a take at {take.called_at} found nothing in a queue that held values"
