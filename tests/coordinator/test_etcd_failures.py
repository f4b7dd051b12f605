"""A real etcd that is away, hangs, loses a member, forgets, or holds what it should not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.cluster.ownership import SlotConfig
from broker.cluster.view import Swap, SwapOutcome
from broker.errors import OtherCluster, UnreadableKey
from broker.server.etcd_client import Compacted, EtcdClient
from broker.server.etcd_endpoint import EtcdAccess, EtcdEndpoint
from broker.server.etcd_keys import create_cluster, encode_value, key_of, prefix_of
from tests.coordinator.places import CONFIG, TENURE_MS, EtcdPlace
from tests.coordinator.watcher import Watcher, owned_by
from tests.support.etcd_process import EtcdProcesses
from tests.support.waiting import wait_until


@pytest.fixture
def lone_etcd(tmp_path: Path) -> Iterator[EtcdProcesses]:
    """One member that the test may harm."""
    with EtcdProcesses(tmp_path) as etcd:
        yield etcd


@pytest.fixture
def three_members(tmp_path: Path) -> Iterator[EtcdProcesses]:
    with EtcdProcesses(tmp_path, members=3) as etcd:
        yield etcd


@pytest.fixture
def lone_place(lone_etcd: EtcdProcesses) -> Iterator[EtcdPlace]:
    place = EtcdPlace(EtcdAccess(lone_etcd.endpoints))
    yield place
    place.close()


@pytest.fixture
def wide_place(three_members: EtcdProcesses) -> Iterator[EtcdPlace]:
    """Its brokers ask the first member as long as that answers."""
    place = EtcdPlace(EtcdAccess(three_members.endpoints), tenure_ms=3 * TENURE_MS)
    yield place
    place.close()


def swap_until_known(seen: Watcher, slot: int, config: SlotConfig) -> None:
    """As a broker does it: after UNKNOWN the same swap again, until it is settled."""
    answer = seen.swap(slot, config)
    while answer.outcome is SwapOutcome.UNKNOWN:
        answer = seen.swap(slot, config)
    assert answer.owned is not None
    assert answer.owned.config == config


@pytest.mark.parametrize("harm", ["kill", "stop"])
def test_brokers_go_on_with_the_other_members_when_one_is_lost(
    three_members: EtcdProcesses, wide_place: EtcdPlace, harm: str
) -> None:
    """A stopped member keeps its connections and its streams open, and says nothing more."""
    with wide_place.open("b1") as one, wide_place.open("b2") as two:
        one.wait_registered("b1")
        two.wait_registered("b2")
        first = three_members.members[0]
        if harm == "kill":
            first.kill()
        else:
            first.stop()
        swap_until_known(one, 1, owned_by("b1"))
        two.wait_slot(1, owned_by("b1"))
        extended = len(one.deadlines)
        one.wait(lambda: len(one.deadlines) > extended + 1, "the tenure extended")
        assert one.failures + two.failures == []


def test_an_answer_that_stays_away_is_unknown_and_settled_by_asking_again(
    lone_etcd: EtcdProcesses, lone_place: EtcdPlace
) -> None:
    member = lone_etcd.members[0]
    with lone_place.open("b1") as seen:
        assert seen.swap(0, owned_by("b1")).outcome is SwapOutcome.DONE
        seen.wait_slot(0, owned_by("b1"))
        member.stop()
        answer = seen.swap(0, owned_by("b1", 2))
        assert answer.outcome is SwapOutcome.UNKNOWN
        member.go_on()
        swap_until_known(seen, 0, owned_by("b1", 2))
        seen.wait_slot(0, owned_by("b1", 2))


def test_all_swaps_that_wait_for_a_stopped_etcd_are_answered(
    lone_etcd: EtcdProcesses, lone_place: EtcdPlace
) -> None:
    with lone_place.open("b1") as seen:
        seen.wait(lambda: len(seen.view.slots) == CONFIG.slots, "the slots")
        lone_etcd.members[0].stop()
        swaps = [
            Swap(slot, owned.revision, owned_by("b1")) for slot, owned in seen.view.slots.items()
        ]
        for swap in swaps:
            seen.coordinator.swap(swap)
        seen.wait(lambda: len(seen.answers) == len(swaps), "all answers")
        assert [swap for swap, _ in seen.answers] == swaps
        assert {answer.outcome for _, answer in seen.answers} == {SwapOutcome.UNKNOWN}


def test_a_broker_closes_while_etcd_hangs(lone_etcd: EtcdProcesses, lone_place: EtcdPlace) -> None:
    with lone_place.open("b1") as seen:
        seen.wait_registered("b1")
        lone_etcd.members[0].stop()
    seen.take()
    wakes = seen.waker.wakes
    lone_etcd.members[0].go_on()
    assert seen.coordinator.take_events() == []
    assert seen.waker.wakes == wakes


def test_a_broker_that_starts_before_etcd_says_so_and_waits(
    lone_etcd: EtcdProcesses, lone_place: EtcdPlace, caplog: pytest.LogCaptureFixture
) -> None:
    member = lone_etcd.members[0]
    member.kill()
    with lone_place.open("b1") as seen:
        wait_until(lambda: "etcd does not answer" in caplog.messages, "the warning")
        assert seen.coordinator.take_events() == []
        lone_etcd.restart(member)
        seen.wait_registered("b1")
        assert "etcd answers again" in caplog.messages


def test_an_etcd_that_comes_back_brings_tenure_and_watch_back(
    lone_etcd: EtcdProcesses, lone_place: EtcdPlace
) -> None:
    member = lone_etcd.members[0]
    with lone_place.open("b1") as seen:
        seen.wait_registered("b1")
        member.kill()
        lone_etcd.restart(member)
        seen.wait(lambda: seen.lists > 1, "listed again")
        extended = len(seen.deadlines)
        seen.wait(lambda: len(seen.deadlines) > extended, "the tenure extended")
        swap_until_known(seen, 3, owned_by("b1"))
        seen.wait_slot(3, owned_by("b1"))


def test_a_watch_from_a_compacted_revision_is_refused_by_name(lone_place: EtcdPlace) -> None:
    client = lone_place.client
    start = client.list_prefix(prefix_of(lone_place.cluster)).revision
    compact(lone_place, turn_revisions(client))
    watch = client.watch(prefix_of(lone_place.cluster), start, silence_ms=TENURE_MS)
    with pytest.raises(Compacted):
        list(watch)


def test_a_broker_lists_again_when_its_watch_is_past_a_compaction(
    lone_place: EtcdPlace, caplog: pytest.LogCaptureFixture
) -> None:
    """Other keys of the same etcd turn the revisions while this cluster is quiet."""
    caplog.set_level(logging.INFO)
    with lone_place.open("b1") as seen:
        seen.wait_registered("b1")
        compact(lone_place, turn_revisions(lone_place.client))
        seen.wait(lambda: seen.lists > 1, "listed again")
        assert "watch fell behind" in caplog.messages
        swap_until_known(seen, 0, owned_by("b1"))
        seen.wait_slot(0, owned_by("b1"))


def test_a_key_that_cannot_be_read_is_named_and_left_out(
    lone_place: EtcdPlace, caplog: pytest.LogCaptureFixture
) -> None:
    overwrite(lone_place, "slots", "1", b'{"replicas": 7')
    with lone_place.open("b1") as seen:
        seen.wait_registered("b1")
        assert 1 not in seen.view.slots
        assert "unreadable key" in caplog.messages
        overwrite(lone_place, "slots", "1", encode_value(owned_by("b9")))
        seen.wait_slot(1, owned_by("b9"))
        overwrite(lone_place, "slots", "1", b"[]")
        swap_until_known(seen, 2, owned_by("b1"))
        seen.wait_slot(2, owned_by("b1"))
        assert seen.view.slots[1].config == owned_by("b9")


def test_a_config_that_cannot_be_read_ends_the_start(lone_place: EtcdPlace) -> None:
    overwrite(lone_place, "config", "", b"\xff")
    with lone_place.open("b1") as seen:
        failure = seen.wait_failure()
    assert isinstance(failure, UnreadableKey)
    assert f"/{lone_place.cluster}/config" in failure.text


def test_a_config_that_becomes_unreadable_stays_what_it_was(lone_place: EtcdPlace) -> None:
    with lone_place.open("b1") as seen:
        seen.wait_registered("b1")
        overwrite(lone_place, "config", "", b"{}")
        compact(lone_place, turn_revisions(lone_place.client))
        seen.wait(lambda: seen.lists > 1, "listed again")
        assert seen.view.config == CONFIG
        assert seen.failures == []


def test_a_cluster_that_was_replaced_under_a_broker_ends_it(lone_place: EtcdPlace) -> None:
    with lone_place.open("b1") as seen:
        seen.wait_registered("b1")
        other = b'{"id":"another","slots":4,"replication":3,"min_isr":2}'
        overwrite(lone_place, "config", "", other)
        assert isinstance(seen.wait_failure(), OtherCluster)


def test_a_cluster_is_made_once_and_made_whole_after_a_half(lone_place: EtcdPlace) -> None:
    client = lone_place.client
    assert not create_cluster(client, lone_place.cluster, CONFIG)
    half = key_of("half", "slots", "0")
    assert client.put_if(half, encode_value(SlotConfig()), 0).is_done
    assert create_cluster(client, "half", CONFIG)
    assert len(client.list_prefix(prefix_of("half")).keys) == 1 + CONFIG.slots


def overwrite(place: EtcdPlace, kind: str, name: str, value: bytes) -> None:
    key = key_of(place.cluster, kind, name)
    found = place.client.get(key)
    assert found is not None
    assert place.client.put_if(key, value, found.revision).is_done


def turn_revisions(client: EtcdClient) -> int:
    """Writes beside every cluster; returns the last revision."""
    revision = 0
    for _ in range(3):
        revision = client.put_if("/elsewhere", b"", revision).revision
    return revision


def compact(place: EtcdPlace, revision: int) -> None:
    endpoint = EtcdEndpoint(place.access.endpoints[0], place.access)
    endpoint.connect()
    endpoint.post("kv/compaction", {"revision": str(revision), "physical": True})
    endpoint.disconnect()
