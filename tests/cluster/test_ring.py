"""The ring: the same for everyone, even, spread over zones, and still when brokers come and go."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cluster.ownership import Member
from broker.cluster.ring import Ring
from broker.model.slots import slot_of

SLOTS = 64
#: Names for a cluster's brokers; each letter makes another cluster.
CLUSTERS = "nabcdefghijk"

MEMBERS = st.dictionaries(
    st.text("abcxyz019-_", min_size=1, max_size=8),
    st.builds(
        Member, st.sampled_from((1, 50, 100, 300)), st.sampled_from(("", "east", "west", "mid"))
    ),
    max_size=7,
)


def ring_of(*brokers: str, replication: int = 3, slots: int = SLOTS) -> Ring:
    return Ring(dict.fromkeys(brokers, Member()), slots, replication)


def loads(ring: Ring) -> Counter[str]:
    return Counter(broker for slot in range(SLOTS) for broker in ring.targets(slot))


def primaries(ring: Ring) -> Counter[str]:
    return Counter(ring.targets(slot)[0] for slot in range(SLOTS))


def spread(counts: Counter[str]) -> int:
    return max(counts.values()) - min(counts.values())


def arrivals(before: Ring, after: Ring) -> int:
    """Copies that have to be made anew."""
    return sum(len({*after.targets(s)} - {*before.targets(s)}) for s in range(SLOTS))


def test_a_name_keeps_its_slot_for_good() -> None:
    assert [slot_of(name, SLOTS) for name in ("orders", "jobs.eu", "a")] == [13, 19, 47]


def test_the_ring_is_the_same_on_every_broker_and_in_every_version() -> None:
    ring = ring_of("n0", "n1", "n2", "n3")
    assert [ring.targets(slot) for slot in range(4)] == [
        ("n2", "n0", "n1"),
        ("n2", "n3", "n1"),
        ("n3", "n2", "n1"),
        ("n2", "n1", "n3"),
    ]


@given(MEMBERS, st.integers(1, 4), st.randoms(use_true_random=False))
def test_targets_are_distinct_and_do_not_depend_on_the_order_of_members(
    members: dict[str, Member], replication: int, shuffle: Random
) -> None:
    ring = Ring(members, 16, replication)
    mixed = list(members.items())
    shuffle.shuffle(mixed)
    same = Ring(dict(mixed), 16, replication)
    for slot in range(16):
        targets = ring.targets(slot)
        assert targets == same.targets(slot)
        assert len(set(targets)) == len(targets) == min(replication, len(members))


@given(MEMBERS.filter(bool), st.integers(1, 4))
def test_a_zone_gets_another_copy_only_when_no_zone_has_fewer(
    members: dict[str, Member], replication: int
) -> None:
    sizes = Counter(member.zone or f"own {broker}" for broker, member in members.items())
    ring = Ring(members, 16, replication)
    for slot in range(16):
        zones = [members[b].zone or f"own {b}" for b in ring.targets(slot)]
        held = Counter(zones)
        for zone, size in sizes.items():
            assert held[zone] >= min(size, max(held.values()) - 1)


def test_a_draining_broker_is_no_target() -> None:
    members = dict.fromkeys(("a", "b", "c", "d"), Member()) | {"b": Member(draining=True)}
    assert set(loads(Ring(members, SLOTS, 3))) == {"a", "c", "d"}
    assert Ring({}, SLOTS, 3).targets(0) == ()


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7, 8, 9])
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_equal_brokers_differ_by_one_at_most(cluster: str, count: int) -> None:
    ring = ring_of(*(f"{cluster}{n}" for n in range(count)))
    assert spread(primaries(ring)) <= 1
    assert spread(loads(ring)) <= 1


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_what_a_dead_broker_had_is_inherited_by_all_others(cluster: str) -> None:
    ring = ring_of(*(f"{cluster}{n}" for n in range(4)))
    pairs = Counter(ring.targets(slot)[:2] for slot in range(SLOTS))
    assert len(pairs) == 12
    assert max(pairs.values()) <= 8


def test_a_heavier_broker_gets_more_in_proportion() -> None:
    members = {"a": Member(100), "b": Member(100), "c": Member(100), "d": Member(300)}
    assert primaries(Ring(members, SLOTS, 2))["d"] == SLOTS // 2
    assert loads(Ring(members, SLOTS, 2))["d"] == pytest.approx(SLOTS, abs=2)


def test_brokers_of_a_crowded_zone_share_its_copies() -> None:
    members = {"a": Member(zone="east")} | {b: Member(zone="west") for b in ("b", "c", "d")}
    counts = loads(Ring(members, SLOTS, 2))
    assert counts.pop("a") == SLOTS
    assert spread(counts) <= 2


@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_broker_that_joins_moves_little_more_than_its_share(cluster: str, count: int) -> None:
    brokers = [f"{cluster}{n}" for n in range(count + 1)]
    before, after = ring_of(*brokers[:-1]), ring_of(*brokers)
    share = SLOTS * min(3, count + 1) / (count + 1)
    assert share - 1 <= arrivals(before, after) <= 1.5 * share
    moved = sum(before.targets(s)[0] != after.targets(s)[0] for s in range(SLOTS))
    assert moved <= 1.75 * SLOTS / (count + 1)


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_the_fourth_broker_takes_a_quarter_of_the_copies(cluster: str) -> None:
    brokers = [f"{cluster}{n}" for n in range(4)]
    assert arrivals(ring_of(*brokers[:3]), ring_of(*brokers)) == 3 * SLOTS // 4
