"""Settings, one consumer at a time and priorities where several brokers carry a queue."""

from __future__ import annotations

from typing import Any

import pytest

from broker.limits import LINK_SILENCE_MAX
from tests.node.soundness import require_same_copies
from tests.support.cluster_rig import BrokerRig, ClusterRig
from tests.support.node_rig import PEER


@pytest.fixture
def cluster() -> ClusterRig:
    """a reigns over q, then b, then c; a client at each."""
    rig = ClusterRig()
    for broker in rig.living:
        broker.hello(timeout_ms=300_000)
    rig["a"].put("q", b"first")
    return rig


def update(broker: BrokerRig, **settings: Any) -> Any:
    return broker.ask(PEER, "update", queue="q", settings=settings)


def consume(broker: BrokerRig, **fields: Any) -> None:
    answer = broker.ask(PEER, "consume", queue="q", consumer=1, credit=9, **fields)
    assert answer.re == "ok"


def delivered(broker: BrokerRig) -> int:
    """How many messages the broker's consumer was sent so far."""
    return sum(len(s.messages()) for s in broker.sent if s.re == "messages")


def test_an_update_is_on_every_copy_and_outlives_its_primary(cluster: ClusterRig) -> None:
    assert update(cluster["b"], max_in_flight=3, paused=True)["settings"]["paused"] is True
    cluster.pass_time(1_000)
    require_same_copies(cluster.living, "q")
    cluster.kill("a")
    cluster.pass_time(2_000)
    successor = cluster.primary()
    assert successor is cluster["b"]
    settings = successor.stats("q")["settings"]
    assert (settings["max_in_flight"], settings["paused"]) == (3, True)
    assert successor.get("q").messages() == []
    update(cluster["c"], paused=False)
    assert successor.get("q").bodies() == [b"first"]


def test_the_next_takes_over_when_the_active_consumers_broker_is_lost(
    cluster: ClusterRig,
) -> None:
    update(cluster["a"], exclusive=True)
    active, standing_by = cluster["b"], cluster["c"]
    consume(active)
    consume(standing_by)
    cluster["a"].put("q", b"second")
    assert (delivered(active), delivered(standing_by)) == (2, 0)
    cluster.kill("b")
    cluster.pass_time(2 * LINK_SILENCE_MAX)
    assert delivered(standing_by) == 2
    (left,) = cluster["a"].stats("q")["consumer_list"]
    assert (left["client"], left["active"]) == ("c", True)


def test_a_consumers_priority_goes_along_to_another_broker(cluster: ClusterRig) -> None:
    consume(cluster["b"], priority=3)
    consume(cluster["a"])
    cluster["a"].put("q", b"second")
    cluster.run()
    assert [c["priority"] for c in cluster["a"].stats("q")["consumer_list"]] == [3, 0]
    assert (delivered(cluster["b"]), delivered(cluster["a"])) == (2, 0)
    cluster.kill("a")
    cluster.pass_time(2_000)
    assert [c["priority"] for c in cluster.primary().stats("q")["consumer_list"]] == [3]


def test_what_a_consumer_chooses_goes_along_when_its_broker_hands_the_queue_over(
    cluster: ClusterRig,
) -> None:
    consume(cluster["a"], selector=[["$priority", "=", 7]])
    cluster.leave("a")
    cluster.pass_time(1_000)
    assert cluster["b"].serves("q")
    cluster["b"].put("q", b"second", priority=7)
    cluster["b"].put("q", b"third")
    cluster.run()
    (got,) = [s for s in cluster["a"].sent if s.re == "messages"]
    assert got.bodies() == [b"second"]
