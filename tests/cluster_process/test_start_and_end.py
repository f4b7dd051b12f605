"""How a broker of a cluster starts, is refused, and ends, as its etcd allows."""

from __future__ import annotations

from pathlib import Path

from tests.support.broker_process import BrokerEnded, BrokerProcess
from tests.support.cluster_process import NAME, ClusterProcess
from tests.support.etcd_process import EtcdProcesses, free_ports
from tests.support.waiting import wait_until


def lone_member(directory: Path, etcd: str, *args: str) -> BrokerProcess:
    flags = ["--cluster", NAME, "--etcd", etcd, "--broker-id", "b1", "--tenure", "2s"]
    return BrokerProcess(directory, [*flags, "--links", "tcp://127.0.0.1:0", *args])


def refused(broker: BrokerProcess) -> BrokerEnded:
    """How a broker ended that could not stay, before or after it was ready."""
    try:
        broker.start()
        ended = BrokerEnded(broker.wait(), broker.output)
    except BrokerEnded as early:
        ended = early
    assert "Traceback" not in ended.output
    return ended


def test_without_etcd_a_broker_waits_says_so_and_ends_when_asked(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    broker = lone_member(tmp_path, f"http://127.0.0.1:{port}")
    broker.launch()
    wait_until(lambda: "etcd does not answer" in broker.stderr, "the warning")
    assert broker.stdout == ""
    assert broker.terminate() == 0


def test_a_cluster_that_nobody_made_is_named(tmp_path: Path) -> None:
    with EtcdProcesses(tmp_path / "etcd") as etcd:
        ended = refused(lone_member(tmp_path, etcd.endpoints[0]))
    assert ended.status == 73
    assert "unknown_cluster" in ended.output


def test_links_that_others_can_reach_are_refused(tmp_path: Path) -> None:
    broker = lone_member(tmp_path, "http://127.0.0.1:1", "--links", "tcp://0.0.0.0:0")
    ended = refused(broker)
    assert ended.status == 64
    assert "links" in ended.output


def test_a_links_port_in_use_is_named_before_the_data_is_touched(
    cluster: ClusterProcess, tmp_path: Path
) -> None:
    taken = cluster.brokers["b1"].endpoint
    second = lone_member(tmp_path / "second", cluster.etcd.endpoints[0], "--links", taken)
    ended = refused(second)
    assert ended.status == 65
    assert taken in ended.output
    assert not second.data.exists()


def test_an_id_that_is_alive_with_other_data_is_refused(
    cluster: ClusterProcess, tmp_path: Path
) -> None:
    ended = refused(lone_member(tmp_path / "second", cluster.etcd.endpoints[0]))
    assert ended.status == 72
    assert "broker_id_in_use" in ended.output
    assert all(broker.is_running for broker in cluster.brokers.values())


def test_data_of_one_cluster_is_refused_by_another(cluster: ClusterProcess, tmp_path: Path) -> None:
    broker = cluster.brokers["b1"]
    assert broker.terminate() == 0
    with EtcdProcesses(tmp_path / "other") as etcd:
        ClusterProcess.make(etcd, slots=cluster.slots)
        stranger = lone_member(tmp_path / "b1", etcd.endpoints[0])
        ended = refused(stranger)
    assert ended.status == 74
    assert "other_cluster" in ended.output


def test_with_etcd_away_a_broker_still_ends_when_asked_and_comes_back(
    cluster: ClusterProcess,
) -> None:
    (member,) = cluster.etcd.members
    member.kill()
    broker = cluster.brokers["b1"]
    assert broker.terminate() == 0
    assert "left without handing all slots over" in broker.stderr
    cluster.etcd.restart(member)
    broker.restart()
    cluster.wait_replicated()
