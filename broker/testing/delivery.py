"""Checkers of one queue's history: nothing lost, invented or doubled; what is done stays done.

Each takes the events in the order of their instants and gives a verdict.  None of them knows
how the broker works: they know what it promised.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple

from broker.testing.history import Event, Kind
from broker.testing.verdict import Verdict


class Moment(NamedTuple):
    """When something was done to a message, as far as clients can tell.

    When a delivery is noted says little: it may have waited in the consumer.  The reign in
    which it was made comes first: a broker takes no settle of an older reign once it has
    delivered the message to somebody else in its own.  So a delivery of a later reign than the
    settled one was made after the settle, and so was one of the same reign that is noted
    after it.  A settle that was sent again may have been taken in any reign up to ``until``:
    nothing is said of deliveries of the reigns before that one.
    """

    epoch: int
    at_ns: int
    until: int = 0

    def is_before(self, event: Event) -> bool:
        """True when the delivery that is noted was surely made later."""
        return event.epoch >= self.until and (event.epoch, event.at_ns) > (self.epoch, self.at_ns)


def check_total_queue(events: Sequence[Event]) -> Verdict:
    """What was confirmed is delivered, once it is drained; what was never put, or was refused,
    is not; and no message holds two positions, however often its put was sent.

    ``recovered`` counts puts with no answer that were delivered all the same, and
    ``redelivered`` those that came more than once at their one position: both are allowed.
    Raises ValueError when the queue was not drained after the last put: then nothing can be
    said about loss.
    """
    _require_drained(events)
    put = set(_ids(events, Kind.PUT))
    confirmed = set(_ids(events, Kind.CONFIRMED))
    refused = {*_ids(events, Kind.REFUSED), *_ids(events, Kind.KNOWN)}
    positions: dict[str, list[int]] = defaultdict(list)
    for message, position in _positions(events):
        positions[message].append(position)
    doubled = {message: set(found) for message, found in positions.items() if len(set(found)) > 1}
    lost = confirmed - positions.keys()
    unexpected = positions.keys() - put
    risen = refused & positions.keys()
    return Verdict(
        "total queue",
        (
            *(f"lost: {message} was confirmed and never delivered" for message in sorted(lost)),
            *(f"unexpected: {message} was never put" for message in sorted(unexpected)),
            *(f"unexpected: {message} was refused, yet delivered" for message in sorted(risen)),
            *(f"doubled: {m} at positions {sorted(found)}" for m, found in sorted(doubled.items())),
        ),
        {
            "put": len(put),
            "confirmed": len(confirmed),
            "refused": len(refused),
            "delivered": len(positions),
            "recovered": len((put - confirmed - refused) & positions.keys()),
            "redelivered": sum(len(found) > 1 for found in positions.values()),
            "lost": len(lost),
            "unexpected": len(unexpected) + len(risen),
            "doubled": len(doubled),
        },
    )


def check_acked_stays_gone(events: Sequence[Event]) -> Verdict:
    """A message whose acknowledgement was confirmed is never delivered after that."""
    acked: dict[str, Moment] = {}
    for message, _, moment in _settles(events, Kind.ACKED):
        acked.setdefault(message, moment)
    breaches = [
        f"came back: {message}, acknowledged in reign {acked[message].epoch}, to {event.actor}"
        f" in reign {event.epoch}"
        for event in events
        if event.kind is Kind.DELIVERED
        for message in event.ids
        if message in acked and acked[message].is_before(event)
    ]
    return Verdict("acked stays gone", tuple(breaches), {"acked": len(acked)})


def check_attempts(events: Sequence[Event], attempts_max: int | None = None) -> Verdict:
    """A return that was confirmed is counted ever after; and where the queue has a limit, no
    delivery tells of as many failed attempts as that."""
    failed: dict[str, tuple[int, Moment]] = {}
    for message, attempts, moment in _settles(events, Kind.NACKED):
        failed[message] = max(failed.get(message, (0, moment)), (attempts + 1, moment))
    breaches: list[str] = []
    highest = 0
    for event in events:
        if event.kind is not Kind.DELIVERED:
            continue
        for message, attempts in zip(event.ids, event.attempts, strict=True):
            highest = max(highest, attempts)
            told, moment = failed.get(message, (0, Moment(0, 0)))
            if attempts < told and moment.is_before(event):
                breaches.append(f"{message} tells {attempts} attempts, {told} were confirmed")
            if attempts_max is not None and attempts >= attempts_max:
                breaches.append(f"{message} delivered after {attempts} of {attempts_max} attempts")
    return Verdict("attempts", tuple(breaches), {"returned": len(failed), "highest": highest})


def check_producer_order(events: Sequence[Event], exempt: Container[str] = ()) -> Verdict:
    """The messages of one producer have ascending positions in the order of its puts, but for
    ``exempt`` ones: a put that failed and was sent again may stand behind a later one."""
    position_of = dict(_positions(events))
    last: dict[str, tuple[int, str]] = {}
    breaches: list[str] = []
    compared = 0
    for event in events:
        for message in event.ids if event.kind is Kind.PUT else ():
            position = position_of.get(message)
            if position is None or message in exempt:
                continue
            before, earlier = last.get(event.actor, (-1, ""))
            if position <= before:
                breaches.append(
                    f"{event.actor}: {message} at {position} after {earlier} at {before}"
                )
            last[event.actor] = (position, message)
            compared += 1
    return Verdict("producer order", tuple(breaches), {"compared": compared})


def _require_drained(events: Sequence[Event]) -> None:
    last_put = max((event.at_ns for event in events if event.kind is Kind.PUT), default=0)
    if not any(event.kind is Kind.DRAINED and event.at_ns >= last_put for event in events):
        raise ValueError("the queue was not drained after the last put: loss cannot be judged")


def _settles(events: Sequence[Event], kind: Kind) -> Iterator[tuple[str, int, Moment]]:
    """(message, attempts, moment) of each confirmed settle of that kind.

    A consumer may settle with the token of an older reign what it got again in this one: then
    the settle is of this reign.
    """
    reign: dict[tuple[str, str], int] = {}
    for event in events:
        if event.kind is Kind.DELIVERED:
            reign.update(((event.actor, message), event.epoch) for message in event.ids)
        elif event.kind is kind:
            for message, attempts in zip(event.ids, event.attempts, strict=True):
                epoch = max(event.epoch, reign.get((event.actor, message), 0))
                yield message, attempts, Moment(epoch, event.at_ns, event.until)


def _ids(events: Iterable[Event], kind: Kind) -> Iterator[str]:
    return (message for event in events if event.kind is kind for message in event.ids)


def _positions(events: Iterable[Event]) -> Iterator[tuple[str, int]]:
    for event in events:
        if event.kind is Kind.DELIVERED:
            yield from zip(event.ids, event.positions, strict=True)
