"""Checkers of what queues promise beyond their plain kind; ``delivery.py`` has the plain ones.

Each takes whole histories, queue by queue, and gives a verdict.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from broker.testing.history import Event, Kind
from broker.testing.verdict import Verdict

Histories = Mapping[str, Sequence[Event]]


def _messages(events: Iterable[Event], kind: Kind) -> set[str]:
    return {message for event in events if event.kind is kind for message in event.ids}


def _positions(events: Iterable[Event]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for event in events:
        if event.kind is Kind.DELIVERED:
            for message, position in zip(event.ids, event.positions, strict=True):
                found[message].add(position)
    return found


def check_moved(histories: Histories, source: str, targets: Sequence[str]) -> Verdict:
    """What was confirmed at the source is delivered there or at a target it moved on to, nothing
    comes twice to one of them, and what was acknowledged at one is at none behind it.

    All must be drained.  ``targets`` are in the order in which a message passes them.
    """
    chain = [source, *targets]
    places = {queue: _positions(histories.get(queue, ())) for queue in chain}
    acked = {queue: _messages(histories.get(queue, ()), Kind.ACKED) for queue in chain}
    put = _messages(histories.get(source, ()), Kind.PUT)
    confirmed = _messages(histories.get(source, ()), Kind.CONFIRMED)
    rejected = _messages(histories.get(source, ()), Kind.REJECTED)
    seen = set().union(*places.values())
    behind = set().union(*(places[queue] for queue in targets))
    breaches = [f"lost: {message}" for message in sorted(confirmed - seen)]
    breaches += [f"unexpected: {message}" for message in sorted(seen - put)]
    breaches += [f"rejected and lost: {message}" for message in sorted(rejected - behind)]
    for number, queue in enumerate(chain):
        doubled = sorted(m for m, found in places[queue].items() if len(found) > 1)
        breaches += [f"doubled in {queue}: {m} at {sorted(places[queue][m])}" for m in doubled]
        for later in chain[number + 1 :]:
            risen = sorted(acked[queue] & places[later].keys())
            breaches += [f"acknowledged in {queue}, then in {later}: {m}" for m in risen]
    counts = {"confirmed": len(confirmed), "rejected": len(rejected), "moved": len(behind)}
    return Verdict(f"moved from {source}", tuple(breaches), counts)


def check_transactions(histories: Histories, source: str, target: str) -> Verdict:
    """Each message that was confirmed at the source is at the target, at one position, for
    transactions alone settle it there; a transaction that was refused has put nothing."""
    confirmed = _messages(histories.get(source, ()), Kind.CONFIRMED)
    put = _messages(histories.get(source, ()), Kind.PUT)
    places = _positions(histories.get(target, ()))
    breaches = [f"lost: {message}" for message in sorted(confirmed - places.keys())]
    breaches += [f"unexpected: {message}" for message in sorted(places.keys() - put)]
    breaches += [
        f"doubled: {message} at {sorted(found)}"
        for message, found in sorted(places.items())
        if len(found) > 1
    ]
    return Verdict(f"transactions of {source}", tuple(breaches), {"carried": len(places)})


def check_keys(events: Sequence[Event], key_of: Callable[[str], str]) -> Verdict:
    """A message is handed out only when every earlier one of its key that was handed out is on
    its way to be settled."""
    open_of: dict[str, dict[int, str]] = defaultdict(dict)
    settling: set[str] = set()
    breaches: list[str] = []
    delivered = 0
    for event in events:
        if event.kind is Kind.SETTLING:
            settling.update(event.ids)
        if event.kind is not Kind.DELIVERED:
            continue
        for message, position in zip(event.ids, event.positions, strict=True):
            delivered += 1
            held = open_of[key_of(message)]
            breaches += [
                f"{message} at {position} while {other} at {earlier} is open"
                for earlier, other in held.items()
                if earlier < position and other not in settling
            ]
            held[position] = message
    return Verdict("keys", tuple(breaches), {"delivered": delivered})


def check_ids(events: Sequence[Event], ids: Mapping[str, str]) -> Verdict:
    """Of the messages that were put with one id within the window one is there, and no second."""
    by_id: dict[str, set[str]] = defaultdict(set)
    for message in _positions(events):
        by_id[ids[message]].add(message)
    breaches = [f"{i} came as {sorted(m)}" for i, m in sorted(by_id.items()) if len(m) > 1]
    known = {ids[message] for message in _messages(events, Kind.KNOWN)}
    breaches += [f"{i}: refused as known, and none is there" for i in sorted(known - set(by_id))]
    return Verdict("ids", tuple(breaches), {"ids": len(by_id)})


def check_at_most_once(events: Sequence[Event]) -> Verdict:
    """Nothing is delivered twice, and nothing that nobody put."""
    count: dict[str, int] = defaultdict(int)
    for event in events:
        if event.kind is Kind.DELIVERED:
            for message in event.ids:
                count[message] += 1
    put = _messages(events, Kind.PUT)
    breaches = [f"{message} came {n} times" for message, n in sorted(count.items()) if n > 1]
    breaches += [f"unexpected: {message}" for message in sorted(count.keys() - put)]
    return Verdict("at most once", tuple(breaches), {"delivered": len(count)})


def check_nothing_invented(events: Sequence[Event]) -> Verdict:
    """Where messages may be dropped: none comes that nobody put, or that was refused."""
    places = _positions(events)
    put, refused = _messages(events, Kind.PUT), _messages(events, Kind.REFUSED)
    breaches = [f"unexpected: {message}" for message in sorted(places.keys() - put)]
    breaches += [
        f"refused, yet delivered: {message}" for message in sorted(places.keys() & refused)
    ]
    return Verdict("nothing invented", tuple(breaches), {"delivered": len(places)})
