"""Transient queues in a cluster: only the primary holds messages, and they end with its reign."""

from __future__ import annotations

from typing import Any

import pytest

from broker.storage.store import Family
from tests.support.cluster_rig import TENURE_MS, BrokerRig, ClusterRig
from tests.support.node_rig import PEER

SECOND = 1_000


@pytest.fixture
def cluster() -> ClusterRig:
    """a reigns over the transient q, then b, then c; a client at each."""
    rig = ClusterRig()
    for broker in rig.living:
        broker.hello()
    rig["a"].ask(PEER, "declare", queue="q", settings={"durable": False})
    rig.pass_time(SECOND)
    return rig


def rows(broker: BrokerRig) -> dict[str, Any]:
    return {family.name: broker.rows(family) for family in Family}


def later(broker: BrokerRig, body: bytes, **fields: Any) -> int:
    return broker.command(PEER, "put", b"\x91\xc4\x01" + body, queue="q", count=1, **fields)


def test_a_put_is_confirmed_before_any_other_broker_is_asked(cluster: ClusterRig) -> None:
    a = cluster["a"]
    req = later(a, b"a")
    confirmed = [sent for sent in a.turn() if sent.req == req]
    assert [(sent.re, sent["copies"]) for sent in confirmed] == [("ok", 0)]


def test_followers_hold_nothing(cluster: ClusterRig) -> None:
    before = {broker.name: rows(broker) for broker in cluster.living}
    for sequence in range(20):
        cluster["c"].put("q", b"a", b"b", producer=b"p", seq=sequence)
        cluster["b"].settle("ack", cluster["b"].get("q", 1))
    assert {broker.name: rows(broker) for broker in cluster.living} == before
    assert [broker.machine("q").transient.memory.batches for broker in cluster.living] == [10, 0, 0]
    assert cluster["b"].queue("q").ledger.next_position == 0


def test_a_failover_loses_the_messages_and_keeps_the_queue(cluster: ClusterRig) -> None:
    for sequence in range(3):
        cluster["c"].put("q", b"lost", producer=b"p", seq=sequence)
    delivery = cluster["c"].get("q", 1)
    cluster.kill("a")
    cluster.pass_time(2 * SECOND)
    c = cluster["c"]
    assert (c.stats("q")["messages"], c.stats("q")["settings"]["durable"]) == (0, False)
    assert c.put("q", b"next", producer=b"p", seq=3).re == "ok"
    assert c.settle("ack", delivery)["error"] == "lease_lost"
    assert c.get("q").bodies() == [b"next"]


def test_a_handover_loses_them_as_well(cluster: ClusterRig) -> None:
    cluster["b"].put("q", b"lost")
    cluster.leave("a")
    cluster.pass_time(3 * SECOND)
    assert cluster.owned().primary == "b"
    b = cluster["b"]
    assert b.get("q").bodies() == []
    b.put("q", b"next", delay_ms=SECOND)
    b.pass_time(SECOND)
    assert b.get("q").bodies() == [b"next"]


def test_who_was_primary_forgets_what_it_held(cluster: ClusterRig) -> None:
    cluster["b"].put("q", b"lost")
    cluster.away.add("a")
    cluster.part("a", "b", "c")
    cluster.pass_time(TENURE_MS)
    cluster.bury("a")
    cluster.pass_time(2 * SECOND)
    assert cluster.primary().name == "b"
    cluster.cut.clear()
    cluster.come_back("a")
    cluster.pass_time(2 * SECOND)
    assert cluster["a"].machine("q").transient.memory.batches == 0
    assert cluster["a"].get("q").bodies() == []


def test_a_primary_without_tenure_confirms_and_delivers_nothing(cluster: ClusterRig) -> None:
    cluster["a"].put("q", b"held")
    cluster.away.add("a")
    cluster.part("a", "b", "c")
    cluster.pass_time(2 * TENURE_MS)
    a = cluster["a"]
    mark = len(a.sent)
    put, get = later(a, b"b"), a.command(PEER, "get", queue="q", max=1)
    cluster.pass_time(100)
    answers = {sent.req: sent for sent in a.sent[mark:]}
    assert all(req not in answers or answers[req].re == "failed" for req in (put, get))


def test_one_broker_in_sync_is_too_few_for_a_put(cluster: ClusterRig) -> None:
    """The slot's rule holds for all of its queues."""
    cluster.kill("b")
    cluster.kill("c")
    cluster.pass_time(8 * SECOND)
    assert cluster["a"].put("q", b"a")["error"] == "not_enough_replicas"
