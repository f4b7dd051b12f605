"""The coordination service that brokers of a simulated cluster talk to."""

from __future__ import annotations

import pytest

from broker.testing.etcd_model import Compacted, EtcdModel
from broker.testing.schedule import SECOND, Schedule


class World:
    def __init__(self) -> None:
        self.schedule = Schedule()
        self.etcd = EtcdModel(self.schedule)

    def pass_time(self, us: int) -> None:
        until_us = self.schedule.now_us + us
        waited = self.schedule.at(until_us, "waited", lambda: None)
        while waited.action is not None:
            self.schedule.step()


def test_a_swap_succeeds_at_the_revision_that_it_names_and_at_no_other() -> None:
    etcd = World().etcd
    first = etcd.put("/k", "a")
    done, row = etcd.swap("/k", first.revision, "b")
    assert done
    assert row is not None
    assert row.value == "b"
    refused, stored = etcd.swap("/k", first.revision, "c")
    assert not refused
    assert stored == row


def test_a_swap_of_a_key_that_is_not_there_names_revision_0() -> None:
    etcd = World().etcd
    assert etcd.swap("/k", 7, "a") == (False, None)
    assert etcd.swap("/k", 0, "a")[0]


def test_a_lease_that_is_kept_alive_lives_and_one_that_is_not_takes_its_keys_with_it() -> None:
    world = World()
    etcd = world.etcd
    lease = etcd.grant(2 * SECOND)
    etcd.put("/alive", "yes", lease)
    for _ in range(3):
        world.pass_time(SECOND)
        assert etcd.keep_alive(lease)
    world.pass_time(3 * SECOND)
    assert etcd.get("/alive") is None
    assert not etcd.keep_alive(lease)


def test_the_history_tells_every_change_after_a_revision_and_deletions_too() -> None:
    world = World()
    etcd = world.etcd
    etcd.put("/a", 1)
    seen = etcd.revision
    etcd.put("/b", 2, etcd.grant(SECOND))
    world.pass_time(2 * SECOND)
    told = [(written.key, written.value) for written in etcd.since(seen)]
    assert told == [("/b", 2), ("/b", None)]
    assert etcd.since(etcd.revision) == []


def test_after_a_compaction_older_revisions_are_not_told() -> None:
    etcd = World().etcd
    etcd.put("/a", 1)
    etcd.put("/a", 2)
    etcd.compact()
    with pytest.raises(Compacted):
        etcd.since(1)
    etcd.put("/a", 3)
    assert [written.value for written in etcd.since(2)] == [3]


def test_while_there_is_no_leader_no_lease_ends_and_a_new_one_counts_anew() -> None:
    world = World()
    etcd = world.etcd
    etcd.put("/alive", "yes", etcd.grant(2 * SECOND))
    world.pass_time(SECOND)
    etcd.lose_leader()
    world.pass_time(60 * SECOND)
    etcd.elect_leader()
    world.pass_time(2 * SECOND - 1)
    assert etcd.get("/alive") is not None
    world.pass_time(SECOND)
    assert etcd.get("/alive") is None
