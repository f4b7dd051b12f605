"""Messages with due times of their own in a cluster: every copy has the same parts and instants."""

from __future__ import annotations

import msgpack
import pytest

from broker.storage.store import Family
from tests.node.soundness import require_same_copies
from tests.support.cluster_rig import ClusterRig
from tests.support.node_rig import PEER, NodeRig, Sent

SECOND = 1_000
COUNT = 200


@pytest.fixture
def cluster() -> ClusterRig:
    """a reigns over q, then b, then c; a client at each."""
    rig = ClusterRig()
    for broker in rig.living:
        broker.hello()
    return rig


def put_spread(rig: NodeRig, **fields: object) -> Sent:
    """Message n is due after n % 10 seconds."""
    at = [rig.now + n % 10 * SECOND for n in range(COUNT)]
    batch = msgpack.packb([b"%03d" % n for n in range(COUNT)])
    columns = msgpack.packb({"at_ms": at, "ids": [f"id{n}" for n in range(COUNT)]})
    return rig.ask(PEER, "put", columns, batch, queue="q", count=COUNT, **fields)


def take_all(rig: NodeRig) -> list[bytes]:
    taken: list[bytes] = []
    while (delivery := rig.get("q")).messages():
        taken += delivery.bodies()
        rig.settle("ack", delivery)
    return taken


def due_after(seconds: int) -> list[bytes]:
    return [b"%03d" % n for n in range(COUNT) if n % 10 == seconds]


def test_the_next_primary_goes_on_with_the_instants(cluster: ClusterRig) -> None:
    put_spread(cluster["a"])
    cluster.pass_time(2 * SECOND)
    taken = take_all(cluster["a"])
    assert sorted(taken) == sorted(due_after(0) + due_after(1) + due_after(2))
    cluster.kill("a")
    cluster.pass_time(SECOND)
    second = cluster.primary()
    assert take_all(second) == due_after(3)
    cluster.pass_time(6 * SECOND)
    rest = [body for seconds in range(4, 10) for body in due_after(seconds)]
    assert sorted(take_all(second)) == sorted(rest)
    assert second.stats("q")["bytes"] == 0


def test_copies_hold_the_same_rows(cluster: ClusterRig) -> None:
    put_spread(cluster["a"], ttl_ms=3_600_000)
    put_spread(cluster["a"])
    for family in (Family.BODY, Family.DUE, Family.EXPIRY):
        values = [[value for _, value in rig.rows(family)] for rig in cluster.living]
        assert values[0]
        assert values[0] == values[1] == values[2]
    # The followers hear of the commit with the next word of the primary.
    cluster.pass_time(2 * SECOND)
    require_same_copies(cluster.living, "q")


def test_one_that_was_away_is_sent_the_whole_batch_from_the_disk(cluster: ClusterRig) -> None:
    cluster.kill("c")
    cluster.pass_time(10 * SECOND)
    put_spread(cluster["a"], ttl_ms=3_600_000)
    put_spread(cluster["a"])
    # What is in memory for followers is gone with the reign.
    cluster.kill("a")
    cluster.pass_time(SECOND)
    cluster.start("a")
    cluster.start("c")
    cluster.pass_time(5 * SECOND)
    for family in (Family.BODY, Family.DUE, Family.EXPIRY):
        values = [[value for _, value in rig.rows(family)] for rig in cluster.living]
        assert values[0] == values[1] == values[2]


def test_what_no_quorum_has_is_cut_with_all_its_rows(cluster: ClusterRig) -> None:
    cluster["a"].put("q", b"first")
    cluster.part("a", "b", "c")
    first = cluster["a"]
    batch = msgpack.packb([b"x", b"y"])
    columns = msgpack.packb({"at_ms": [first.now + 60 * SECOND, first.now + 90 * SECOND]})
    req = first.command(PEER, "put", columns, batch, queue="q", count=2, ttl_ms=SECOND)
    first.run()
    assert [s for s in first.sent if s.req == req] == []
    assert first.rows(Family.DUE)
    cluster.kill("a", kept=100)
    cluster.pass_time(SECOND)
    cluster.cut.clear()
    cluster["b"].hello()
    cluster["b"].put("q", b"second")
    cluster.start("a")
    cluster.pass_time(5 * SECOND)
    assert first.rows(Family.DUE) == first.rows(Family.EXPIRY) == []
    require_same_copies(cluster.living, "q")
