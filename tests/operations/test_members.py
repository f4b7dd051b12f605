"""Brokers leave a cluster, planned or lost; what was confirmed stays, or is given up in words."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.operations.messages import QUEUES, put_each, take_each
from tests.support.cluster_process import ClusterProcess
from tests.support.waiting import DEADLINE_S, wait_until

TIMEOUT = ("--timeout", f"{DEADLINE_S:.0f}s")


def test_a_drained_broker_holds_nothing_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with ClusterProcess(tmp_path, replication=2) as cluster:
        put_each(cluster.brokers["b1"].endpoint, b"body")
        cluster.admin("drain", "b3", "--wait", *TIMEOUT)
        assert cluster.brokers["b3"].terminate() == 0
        cluster.admin("remove", "b3")
        cluster.admin("wait", "--brokers", "2", "--replicated", *TIMEOUT)
        assert "b3" not in cluster.admin("info")
        assert take_each(cluster.brokers["b2"].endpoint) == [[b"body"]] * len(QUEUES)


def test_a_broker_that_lost_its_disk_copies_everything_anew(tmp_path: Path) -> None:
    with ClusterProcess(tmp_path) as cluster:
        put_each(cluster.brokers["b1"].endpoint, b"body")
        lost = cluster.brokers["b2"]
        lost.kill()
        shutil.rmtree(lost.data)
        lost.restart()
        cluster.wait_replicated()
        cluster.brokers["b1"].kill()
        wait_until(lambda: "b1      away" in cluster.admin("info"), "the end of b1's tenure")
        assert take_each(lost.endpoint) == [[b"body"]] * len(QUEUES)


def test_a_slot_whose_last_copy_in_sync_is_lost_is_revived_from_an_older_one(
    tmp_path: Path,
) -> None:
    with ClusterProcess(tmp_path, brokers=2, replication=2, min_isr=1) as cluster:
        lost, survivor = cluster.brokers["b1"], cluster.brokers["b2"]
        put_each(lost.endpoint, b"on both")
        survivor.kill()
        wait_until(lambda: "under-replicated: 8 of 8" in cluster.admin("info"), "b1 alone")
        cluster.admin("wait", *TIMEOUT)
        put_each(lost.endpoint, b"on the lost one")
        lost.kill()
        shutil.rmtree(lost.data)
        survivor.restart()
        wait_until(lambda: "b2      alive" in cluster.admin("info"), "b2's tenure")
        wait_until(lambda: "offline: 8 of 8" in cluster.admin("info"), "no slot served")
        output = cluster.admin("recover", "--all", "--from", "b2", "--yes")
        assert "revived from b2: slots 0-7" in output
        cluster.admin("wait", *TIMEOUT)
        assert take_each(survivor.endpoint) == [[b"on both"]] * len(QUEUES)
        lost.restart()
        cluster.wait_replicated()
