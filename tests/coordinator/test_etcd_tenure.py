"""A broker's key in a real etcd: how it comes, how it is lost, who may take it over."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

from broker.cluster.ownership import Member
from broker.errors import BrokerIdInUse
from broker.limits import TENURE_MARGIN
from broker.server.etcd_client import EtcdClient, Stored
from broker.server.etcd_keys import encode_value, key_of
from broker.server.etcd_tenure import Tenure
from tests.coordinator.places import TENURE_MS, EtcdPlace
from tests.coordinator.watcher import record
from tests.support.broker_process import ROOT
from tests.support.waiting import wait_until


def key_in(place: EtcdPlace, broker: str = "b1") -> Stored | None:
    return place.client.get(key_of(place.cluster, "brokers", broker))


def revoke_tenure(place: EtcdPlace, broker: str = "b1") -> int:
    """Takes the lease away, as etcd does when it was not renewed; returns it."""
    stored = key_in(place, broker)
    assert stored is not None
    assert stored.lease
    place.client.revoke(stored.lease)
    return stored.lease


def test_a_killed_process_is_seen_gone_when_its_lease_runs_out(etcd_place: EtcdPlace) -> None:
    with etcd_place.open("b2") as seen, start_holder(etcd_place) as holder:
        seen.wait(lambda: "b1" in seen.view.brokers, "b1 alive")
        holder.kill()
        seen.wait(lambda: "b1" not in seen.view.brokers, "b1 gone")
        assert "b1" in seen.view.members


def test_a_restarted_process_takes_its_former_self_over(etcd_place: EtcdPlace) -> None:
    """The lease of the killed process is so long that nobody waits for its end."""
    etcd_place.tenure_ms = 300_000
    with start_holder(etcd_place) as holder:
        wait_until(lambda: key_in(etcd_place) is not None, "the first process registered")
        former = key_in(etcd_place)
        holder.kill()
    with etcd_place.open("b1") as second:
        second.wait_registered("b1")
        now = key_in(etcd_place)
        assert former is not None
        assert now is not None
        assert now.lease != former.lease
        etcd_place.client.revoke(former.lease)
        assert key_in(etcd_place) == now


def test_the_key_of_a_dead_process_with_another_disk_is_waited_for(etcd_place: EtcdPlace) -> None:
    with start_holder(etcd_place) as holder:
        wait_until(lambda: key_in(etcd_place) is not None, "the first process registered")
        holder.kill()
    with etcd_place.open("b1", incarnation="i2") as second:
        second.wait(lambda: bool(second.deadlines), "registered")
        assert second.failures == []


def test_a_lost_lease_is_replaced_and_the_broker_registers_again(etcd_place: EtcdPlace) -> None:
    with etcd_place.open("b1") as seen, etcd_place.open("b2") as other:
        seen.wait_registered("b1")
        other.wait(lambda: "b1" in other.view.brokers, "b1 alive")
        lost = revoke_tenure(etcd_place)
        other.wait(lambda: "b1" not in other.view.brokers, "b1 gone")
        other.wait(lambda: "b1" in other.view.brokers, "b1 back")
        found = key_in(etcd_place)
        assert found is not None
        assert found.lease != lost


def test_a_key_that_was_deleted_by_hand_is_written_again(etcd_place: EtcdPlace) -> None:
    with etcd_place.open("b1") as seen:
        seen.wait_registered("b1")
        assert etcd_place.client.delete(key_of(etcd_place.cluster, "brokers", "b1"))
        seen.wait(lambda: "b1" not in seen.view.brokers, "the key gone")
        seen.wait(lambda: "b1" in seen.view.brokers, "the key back")


def test_a_process_that_was_taken_over_ends(etcd_place: EtcdPlace) -> None:
    with etcd_place.open("b1") as first:
        first.wait_registered("b1")
        with etcd_place.open("b1") as second:
            second.wait_registered("b1")
            assert isinstance(first.wait_failure(), BrokerIdInUse)
            second.take()
            assert second.failures == []


def test_the_tenure_counts_from_when_the_keepalive_was_sent(etcd_place: EtcdPlace) -> None:
    """The clock stands still at the sending, however long the answers take."""
    deadlines: list[int] = []
    tenure = open_tenure(etcd_place, deadlines)
    assert tenure.keep() < TENURE_MS
    assert tenure.keep() < TENURE_MS
    tenure.end()
    expected = 1_000_000 + TENURE_MS - TENURE_MS // 100 - TENURE_MARGIN
    assert deadlines == [expected, expected]


def test_nothing_is_extended_while_the_key_is_not_under_our_lease(etcd_place: EtcdPlace) -> None:
    key = key_of(etcd_place.cluster, "brokers", "b1")
    stranger = encode_value(record("i2"))
    assert etcd_place.client.put_if(key, stranger, 0).is_done
    deadlines: list[int] = []
    tenure = open_tenure(etcd_place, deadlines)
    tenure.keep()
    assert deadlines == []
    assert etcd_place.client.delete(key)
    tenure.keep()
    assert len(deadlines) == 1
    tenure.end()
    assert key_in(etcd_place) is None


def test_a_record_that_changed_is_written_under_the_same_lease(etcd_place: EtcdPlace) -> None:
    tenure = open_tenure(etcd_place, [])
    tenure.keep()
    before = key_in(etcd_place)
    tenure.record = replace(record(), leaving=True)
    tenure.keep()
    after = key_in(etcd_place)
    assert before is not None
    assert after is not None
    assert after.lease == before.lease
    assert after.value == encode_value(tenure.record)
    tenure.end()


def open_tenure(place: EtcdPlace, deadlines: list[int]) -> Tenure:
    return Tenure(
        EtcdClient(place.access),
        deadlines.append,
        cluster=place.cluster,
        broker_id="b1",
        record=record(),
        member=Member(),
        tenure_ms=place.tenure_ms,
        elapsed_ms=lambda: 1_000_000,
    )


def start_holder(place: EtcdPlace) -> subprocess.Popen[bytes]:
    """A process of its own that registers as b1; leaving the context waits for its end."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.coordinator.holder_process"),
            *(place.access.endpoints[0], place.cluster, "b1", str(place.tenure_ms)),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
