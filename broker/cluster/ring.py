"""Slots to the brokers that should hold them.

Each slot has a place on the ring and each broker tokens, in proportion to its weight.  A slot's
targets are the next brokers clockwise, except that a broker that has its share is passed over
(docs/adr/0009).  The ring says what should be, never what is: it does not know who is alive.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TypeVar

from broker.cluster.ownership import Member
from broker.model.slots import place_of

#: Tokens of a broker that has a weight of 100.
TOKENS = 64
CIRCLE = 1 << 64

Name = TypeVar("Name", str, tuple[str, str])


class Ring:
    """Who should hold each slot.  The same members make the same ring, in whatever order.

    Members that drain or weigh nothing are no targets.  With fewer brokers than ``replication``
    each of them holds every slot.  Among three to nine equal brokers, the numbers of primaries,
    and of copies, differ by one at most.  A broker that joins n others, at 64 slots and three
    copies, moves 1.00 (n = 3), 1.13 (4), 1.21 (5) or 1.44 (8) times the least possible.
    """

    def __init__(self, members: Mapping[str, Member], slots: int, replication: int) -> None:
        self._weights = {
            broker: members[broker].weight
            for broker in sorted(members)
            if members[broker].weight > 0 and not members[broker].draining
        }
        # A broker that names no zone is a zone of its own.
        self._zones = {b: (members[b].zone, "" if members[b].zone else b) for b in self._weights}
        self._load = dict.fromkeys(self._weights, 0)
        self._targets: list[list[str]] = [[] for _ in range(slots)]
        copies = min(replication, len(self._weights))
        if copies > 0:
            pairs = sorted(self._distances())
            self._place_copy(pairs, _fill(slots, self._weights, slots))
            shares = self._shares(copies)
            for _ in range(1, copies):
                self._place_copy(pairs, shares)
            self._even_out(pairs, shares)
            self._spread_successors()

    def targets(self, slot: int) -> tuple[str, ...]:
        """Distinct brokers: the primary that should be, then who should follow when it dies."""
        return tuple(self._targets[slot])

    def _distances(self) -> Iterator[tuple[int, int, str]]:
        """From each slot clockwise to each broker's next token."""
        places = [place_of(f"slot {slot}") for slot in range(len(self._targets))]
        for broker, weight in self._weights.items():
            count = max(1, TOKENS * weight // 100)
            tokens = sorted(place_of(f"{broker} {token}") for token in range(count))
            for slot, place in enumerate(places):
                after = tokens[bisect_left(tokens, place) % count]
                yield (after - place) % CIRCLE, slot, broker

    def _place_copy(self, pairs: list[tuple[int, int, str]], shares: dict[str, int]) -> None:
        """One more broker for each slot: over all of them, the nearest pair is served first."""
        open_to = [self._fitting(held) for held in self._targets]
        for _, slot, broker in pairs:
            if broker in open_to[slot] and self._load[broker] < shares[broker]:
                self._take(slot, broker)
                open_to[slot] = []
        # All that fit have their share already: the least laden takes one more.
        for slot, brokers in enumerate(open_to):
            if brokers:
                self._take(slot, min(brokers, key=lambda b: self._load[b] / self._weights[b]))

    def _fitting(self, held: list[str]) -> list[str]:
        """Who may hold the next copy: in the zones that have fewest of this slot so far."""
        copies = Counter(self._zones[broker] for broker in held)
        others = [broker for broker in self._weights if broker not in held]
        fewest = min(copies[self._zones[broker]] for broker in others)
        return [broker for broker in others if copies[self._zones[broker]] == fewest]

    def _even_out(self, pairs: list[tuple[int, int, str]], shares: dict[str, int]) -> None:
        """What a broker has above its share goes to the nearest that lacks some; no primaries."""
        for _, slot, broker in pairs:
            held = self._targets[slot]
            if broker in held or self._load[broker] >= shares[broker]:
                continue
            for laden in held[1:]:
                rest = [other for other in held if other != laden]
                if self._load[laden] > shares[laden] and broker in self._fitting(rest):
                    self._targets[slot] = rest
                    self._load[laden] -= 1
                    self._take(slot, broker)
                    break

    def _take(self, slot: int, broker: str) -> None:
        self._targets[slot].append(broker)
        self._load[broker] += 1

    def _spread_successors(self) -> None:
        """The second target is chosen among those found so that no broker inherits all."""
        heirs: Counter[tuple[str, str]] = Counter()
        for held in self._targets:
            primary, *rest = held
            if rest:
                heir = min(rest, key=lambda b: heirs[primary, b] / self._weights[b])
                heirs[primary, heir] += 1
                held[1:] = [heir, *(broker for broker in rest if broker != heir)]

    def _shares(self, copies: int) -> dict[str, int]:
        """How many slots each broker holds at most, when zones are filled as evenly as copies go.

        Each zone gets a first copy of a slot before any gets a second one, and so on.
        """
        slots = len(self._targets)
        zones: dict[tuple[str, str], dict[str, int]] = {}
        for broker, zone in self._zones.items():
            zones.setdefault(zone, {})[broker] = self._weights[broker]
        of_zone = dict.fromkeys(zones, 0)
        left, turn = slots * copies, 0
        while left > 0:
            open_zones = {z: sum(w.values()) for z, w in zones.items() if len(w) > turn}
            part = min(left, slots * len(open_zones))
            for zone, share in _fill(part, open_zones, slots).items():
                of_zone[zone] += share
            left, turn = left - part, turn + 1
        shares: dict[str, int] = {}
        for zone, brokers in zones.items():
            shares |= _fill(of_zone[zone], brokers, slots)
        return shares


def _fill(total: int, weights: Mapping[Name, int], most: int) -> dict[Name, int]:
    """``total`` in proportion to ``weights``, none above ``most``; what is over by remainders."""
    shares: dict[Name, int] = {}
    left = dict(weights)
    while left:
        weight = sum(left.values())
        full = [name for name in left if total * left[name] >= most * weight]
        if not full:
            shares |= {name: total * left[name] // weight for name in left}
            over = total - sum(shares[name] for name in left)
            by_remainder = sorted(left, key=lambda name: -(total * left[name] % weight))
            return shares | {name: shares[name] + 1 for name in by_remainder[:over]}
        for name in full:
            shares[name] = most
            total -= most
            del left[name]
    return shares
