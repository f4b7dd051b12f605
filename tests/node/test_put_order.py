"""A batch behind a refused one waits for it, wherever it comes again."""

from __future__ import annotations

import pytest

from broker.errors import NotPrimary, OutcomeUnknown
from broker.limits import PUT_HELD_BACK, RECONFIGURE_EVERY
from tests.support.cluster_rig import BrokerRig, ClusterRig
from tests.support.node_rig import PEER


@pytest.fixture
def cluster() -> ClusterRig:
    """a reigns over q and dies; c was told that batch 1 has an unknown outcome; b reigns."""
    rig = ClusterRig()
    for broker in rig.living:
        broker.hello()
    put(rig["c"], 0)
    rig.hold("c", "a")
    req = put_later(rig["c"], 1)
    rig.kill("a")
    rig.pass_time(100)
    assert answers(rig["c"], req) == [OutcomeUnknown.name]
    assert rig.owned().primary == "b"
    return rig


def put_later(broker: BrokerRig, seq: int) -> int:
    body = b"\x91\xc4\x01%d" % seq
    return broker.command(PEER, "put", body, queue="q", count=1, producer=b"p", seq=seq)


def answers(broker: BrokerRig, req: int) -> list[str]:
    return [sent.header.get("error", sent.re) for sent in broker.sent if sent.req == req]


def put(broker: BrokerRig, seq: int) -> list[str]:
    req = put_later(broker, seq)
    broker.run()
    return answers(broker, req)


def test_a_batch_that_would_overtake_a_refused_one_waits(cluster: ClusterRig) -> None:
    assert put(cluster["c"], 2) == [NotPrimary.name]
    assert put(cluster["c"], 1) == ["ok"]
    assert put(cluster["c"], 2) == ["ok"]


def test_it_waits_no_longer_than_its_producer_may_have_given_up(cluster: ClusterRig) -> None:
    assert put(cluster["c"], 2) == [NotPrimary.name]
    cluster.pass_time(PUT_HELD_BACK)
    assert put(cluster["c"], 2) == ["ok"]


def test_it_does_not_wait_for_one_that_came_to_another_owner(cluster: ClusterRig) -> None:
    assert put(cluster["b"], 1) == ["ok"]
    cluster["b"].node.begin_leave(cluster.now)
    cluster.pass_time(RECONFIGURE_EVERY)
    assert cluster["c"].serves("q")
    assert put(cluster["c"], 2) == ["ok"]
