"""A single broker's data become the first copy of a cluster, and the cluster grows from there."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest

from broker.cluster.ownership import ReplicaId
from broker.storage import keys
from broker.storage.data_directory import DataDirectory
from broker.storage.rocks_store import RocksStore
from broker.storage.store import Family, WriteOps
from tests.operations.console import Console
from tests.operations.messages import QUEUES, put_each, take_each
from tests.support.broker_process import BrokerProcess


@pytest.fixture
def lone(tmp_path: Path) -> BrokerProcess:
    """It has run once, and was stopped."""
    with BrokerProcess(tmp_path / "b1", ["--slots", "4"]) as broker:
        assert broker.terminate() == 0
    return broker


def in_cluster(broker: BrokerProcess, console: Console, broker_id: str) -> BrokerProcess:
    broker.args = ["--cluster", console.cluster, "--etcd", console.endpoint, "--tenure", "2s"]
    broker.args += ["--broker-id", broker_id, "--links", "tcp://127.0.0.1:0"]
    return broker


def meta_of(data: Path) -> dict[str, object]:
    with DataDirectory(data) as directory:
        store = RocksStore.open(directory.path)
        row = store.get(Family.STATE, keys.meta_key(keys.STORE_INSTANCE))
        store.close()
    assert row is not None
    meta: dict[str, object] = msgpack.unpackb(row)
    return meta


def set_meta(data: Path, meta: dict[str, object]) -> None:
    with DataDirectory(data) as directory:
        store = RocksStore.open(directory.path)
        ops = WriteOps()
        ops.put(Family.STATE, keys.meta_key(keys.STORE_INSTANCE), msgpack.packb(meta))
        store.write(ops)
        store.sync()
        store.close()


def test_what_a_lone_broker_held_is_the_clusters_and_is_copied_to_those_who_join(
    lone: BrokerProcess, console: Console, tmp_path: Path
) -> None:
    with lone.start():
        put_each(lone.endpoint, b"first")
        assert lone.terminate() == 0
    made = console.done("init", "--data", str(lone.data), "--broker-id", "b1").output
    assert "is made: 4 slots, replication 3, min_isr 1" in made
    second = in_cluster(BrokerProcess(tmp_path / "b2"), console, "b2")
    with in_cluster(lone, console, "b1").start() as first, second:
        console.done("wait", "--brokers", "2", "--replicated", "--timeout", "120s")
        console.done("min-isr", "2")
        assert take_each(first.endpoint) == [[b"first"]] * len(QUEUES)


def test_every_slot_names_the_data_as_its_only_copy_in_a_later_epoch(
    lone: BrokerProcess, console: Console
) -> None:
    meta = meta_of(lone.data)
    console.done("init", "--data", str(lone.data), "--broker-id", "b1")
    slots = [owned.config for owned in console.view().slots.values()]
    assert len(slots) == 4
    for slot in slots:
        assert slot.replicas == (ReplicaId("b1", str(meta["incarnation"])),)
        assert (slot.isr, slot.elr, slot.primary) == (("b1",), (), "b1")
        assert slot.epoch == int(str(meta["reign"])) + 1


def test_making_it_again_is_no_mistake_and_other_data_are_refused(
    lone: BrokerProcess, console: Console, tmp_path: Path
) -> None:
    args = ("init", "--broker-id", "b1", "--data")
    console.done(*args, str(lone.data))
    assert "exists already" in console.done(*args, str(lone.data)).output
    with BrokerProcess(tmp_path / "other", ["--slots", "4"]) as other:
        other.terminate()
    text = console.refused(*args, str(other.data), name="operation_refused", status=79)
    assert "not with this data" in text


def test_data_of_another_cluster_are_refused(lone: BrokerProcess, console: Console) -> None:
    set_meta(lone.data, meta_of(lone.data) | {"cluster_id": "another"})
    args = ("init", "--data", str(lone.data), "--broker-id", "b1")
    assert "another" in console.refused(*args, name="other_cluster", status=74)
    console.refused("info", name="unknown_cluster", status=73)


def test_a_broker_that_still_runs_is_refused(console: Console, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path / "b1") as broker:
        args = ("init", "--data", str(broker.data), "--broker-id", "b1")
        text = console.refused(*args, name="directory_in_use", status=66)
        assert f"process {broker.pid}" in text


def test_data_that_only_an_older_version_used_are_refused_with_what_to_do(
    lone: BrokerProcess, console: Console
) -> None:
    meta = meta_of(lone.data)
    set_meta(lone.data, {name: meta[name] for name in ("reign", "next_instance", "slots")})
    args = ("init", "--data", str(lone.data), "--broker-id", "b1")
    assert "start a broker on it once" in console.refused(*args, name="config_error", status=64)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--broker-id", "b1", "--slots", "5"), "has 4 slots, not 5"),
        (("--broker-id", "b1", "--min-isr", "2"), "begins at 1"),
        ((), "'' is not 1 to 64 letters"),
    ],
)
def test_values_that_do_not_fit_the_data_are_refused(
    lone: BrokerProcess, console: Console, args: tuple[str, ...], text: str
) -> None:
    refused = console.refused(
        "init", "--data", str(lone.data), *args, name="config_error", status=64
    )
    assert text in refused


def test_a_directory_that_is_none_is_refused_and_none_is_made(
    console: Console, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    args = ("init", "--data", str(missing), "--broker-id", "b1")
    assert "no data directory" in console.refused(*args, name="config_error", status=64)
    assert not missing.exists()
