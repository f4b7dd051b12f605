"""What moved between two ownership maps, and when a cluster has come to rest."""

from __future__ import annotations

from dataclasses import replace

from bench.cluster.ownership import (
    copies_made,
    held_by,
    is_settled,
    join_copies_min,
    primaries_moved,
)
from broker.cluster.ownership import ReplicaId, SlotConfig


def held(*brokers: str) -> SlotConfig:
    """A slot in sync on each of the brokers, led by the first."""
    replicas = tuple(ReplicaId(broker, "disk-1") for broker in brokers)
    return SlotConfig(replicas, isr=brokers, primary=brokers[0], epoch=1)


THREE = {slot: held("b0", "b1", "b2") for slot in range(4)}


def test_equal_maps_have_moved_nothing() -> None:
    assert copies_made(THREE, dict(THREE)) == 0
    assert primaries_moved(THREE, dict(THREE)) == 0


def test_each_new_place_of_a_copy_counts_once() -> None:
    after = {**THREE, 0: held("b3", "b1", "b2"), 1: held("b0", "b3", "b4")}
    assert copies_made(THREE, after) == 3
    assert primaries_moved(THREE, after) == 1


def test_a_copy_that_is_given_up_costs_nothing() -> None:
    assert copies_made(THREE, {**THREE, 0: held("b0", "b1")}) == 0


def test_an_empty_disk_makes_another_copy() -> None:
    anew = (ReplicaId("b0", "disk-2"), *THREE[0].replicas[1:])
    assert copies_made(THREE, {**THREE, 0: replace(THREE[0], replicas=anew)}) == 1


def test_the_copies_on_a_broker_are_counted() -> None:
    slots = {**THREE, 3: held("b1", "b2", "b3")}
    assert [held_by(slots, broker) for broker in ("b0", "b1", "b3", "b4")] == [3, 4, 1, 0]


def test_a_cluster_is_settled_when_all_slots_are_in_sync_on_running_brokers() -> None:
    brokers = ("b0", "b1", "b2")
    assert is_settled(THREE, brokers, 3)
    assert is_settled({0: held("b0", "b1")}, ("b0", "b1"), 3)


def test_a_cluster_is_not_settled_while_a_copy_is_missing_or_behind_or_elsewhere() -> None:
    brokers = ("b0", "b1", "b2")
    behind = replace(THREE[0], isr=("b0", "b1"))
    assert not is_settled({}, brokers, 3)
    assert not is_settled({0: SlotConfig()}, brokers, 3)
    assert not is_settled({**THREE, 0: behind}, brokers, 3)
    assert not is_settled({**THREE, 0: held("b0", "b1")}, brokers, 3)
    assert not is_settled({**THREE, 0: held("b0", "b1", "b9")}, brokers, 3)


def test_brokers_that_join_need_their_even_share_of_all_copies() -> None:
    assert join_copies_min(slots=60, replication=3, brokers=5, joined=2) == 72
    assert join_copies_min(slots=60, replication=3, brokers=2, joined=1) == 60
