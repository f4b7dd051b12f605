"""Ids, browsing and moving in a cluster: what the next primary knows, what a copied slot holds,
and what a client at another broker sees."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker import limits
from broker.limits import REPLICA_SILENCE_MAX
from broker.node import snapshots
from broker.storage.store import Family
from tests.node.soundness import require_same_copies, require_sound
from tests.support.cluster_rig import BrokerRig, ClusterRig
from tests.support.node_rig import PEER, Sent

SECOND = 1_000
MINUTE = 60 * SECOND
WINDOW_MS = 10 * MINUTE


@pytest.fixture(params=["window", "unsettled"])
def cluster(request: pytest.FixtureRequest) -> ClusterRig:
    """a reigns over q, then b, then c; a client at each."""
    rig = ClusterRig()
    for broker in rig.living:
        broker.hello()
    settings = {"dedup": request.param, "dedup_window_ms": WINDOW_MS}
    rig["a"].ask(PEER, "declare", queue="q", settings=settings)
    return rig


def command(ids: tuple[str, ...]) -> tuple[bytes, bytes]:
    return msgpack.packb({"ids": list(ids)}), msgpack.packb([each.encode() for each in ids])


def put(broker: BrokerRig, *ids: str, **fields: Any) -> Sent:
    return broker.ask(PEER, "put", *command(ids), queue="q", count=len(ids), **fields)


def id_rows(broker: BrokerRig) -> list[tuple[bytes, bytes]]:
    """Keys without the instance, which each broker numbers by itself."""
    return [(key[4:], value) for key, value in broker.rows(Family.IDS)]


def require_same_ids(cluster: ClusterRig) -> None:
    rows = [id_rows(broker) for broker in cluster.living if broker.has("q")]
    assert all(each == rows[0] for each in rows)
    counts = {broker.queue("q").ledger.ids for broker in cluster.living if broker.has("q")}
    assert len(counts) == 1


def test_the_next_primary_knows_what_was_put_before(cluster: ClusterRig) -> None:
    put(cluster["b"], "x", "y")
    cluster.pass_time(2 * SECOND)
    require_same_ids(cluster)
    cluster.kill("a")
    cluster.pass_time(2 * SECOND)
    again = put(cluster["b"], "y", "z")
    assert (again["count"], again["duplicates"]) == (1, [0])
    assert cluster["c"].ask(PEER, "browse", queue="q", ids=["x"]).positions() == [0]


def test_a_put_that_was_cut_leaves_no_id(cluster: ClusterRig) -> None:
    """a took it and nobody else heard of it: the id is free, on its disk too."""
    cluster.part("a")
    lost = cluster["a"].command(PEER, "put", *command(("x",)), queue="q", count=1)
    cluster.run()
    assert id_rows(cluster["a"])
    cluster.kill("a", kept=100)
    cluster.cut.clear()
    cluster.pass_time(2 * SECOND)
    assert "duplicates" not in put(cluster["b"], "x").header
    cluster.start("a")
    cluster.pass_time(10 * SECOND)
    require_same_ids(cluster)
    require_same_copies(cluster.living, "q")
    assert lost not in [sent.req for sent in cluster["a"].sent]


def test_what_is_swept_goes_from_every_copy(cluster: ClusterRig) -> None:
    put(cluster["a"], "x", "y")
    put(cluster["a"], "z")
    cluster["a"].settle("ack", cluster["a"].get("q", 2))
    cluster.pass_time(4 * MINUTE)
    cluster.pass_time(4 * MINUTE)
    cluster.pass_time(4 * MINUTE)
    require_same_ids(cluster)
    assert all(len(id_rows(broker)) == 2 for broker in cluster.living)
    cluster.kill("a")
    cluster.pass_time(2 * SECOND)
    cluster["b"].hello()
    assert put(cluster["b"], "x")["count"] == 1


def test_a_copied_slot_has_the_ids(cluster: ClusterRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """c was away too long for the log; ids come and go while it is copied."""
    monkeypatch.setattr(snapshots, "SNAPSHOT_PART_BYTES", 400)
    monkeypatch.setattr(limits, "ID_SWEEP_EVERY", 2 * SECOND)
    primary = cluster["a"]
    put(primary, "early")
    cluster.pass_time(SECOND)
    cluster.kill("c")
    cluster.pass_time(REPLICA_SILENCE_MAX + SECOND)
    for number in range(20):
        put(primary, f"{number}", f"{number}b", priority=number % 3)
        primary.settle("ack", primary.get("q", 1))
        cluster.pass_time(SECOND // 2)
    cluster.start("c")
    for number in range(20, 30):
        put(primary, f"{number}")
        for _ in range(2):
            got = primary.get("q", 1)
            primary.settle("ack", got)
        cluster.pass_time(SECOND // 2)
    cluster.pass_time(25 * SECOND)
    assert cluster.owned().isr == ("a", "b", "c")
    require_same_ids(cluster)
    require_same_copies(cluster.living, "q")
    waiting = primary.ask(PEER, "browse", queue="q")
    ids = msgpack.unpackb(waiting.frames[0])["ids"]
    for name in ("a", "b"):
        cluster.kill(name)
        cluster.pass_time(100)
    cluster.start("b")
    cluster.pass_time(8 * SECOND)
    cluster["c"].hello()
    assert put(cluster["c"], *ids)["count"] == 0


def test_a_move_and_a_removal_outlive_their_primary(cluster: ClusterRig) -> None:
    put(cluster["c"], "a", "b", "c", delay_ms=MINUTE)
    moved = cluster["c"].ask(PEER, "reschedule", queue="q", ids=["b"], delay_ms=30 * SECOND)
    assert (moved["count"], moved["missing"]) == (1, [])
    assert cluster["b"].ask(PEER, "remove", queue="q", ranges=[[0, 1]])["count"] == 1
    cluster.kill("a")
    cluster.pass_time(29 * SECOND)
    page = cluster["c"].ask(PEER, "browse", queue="q")
    assert [message.run["state"] for message in page.messages()] == ["resting", "delayed"]
    cluster.pass_time(2 * SECOND)
    assert cluster["c"].get("q").bodies() == [b"b"]
    cluster.pass_time(30 * SECOND)
    assert b"c" in cluster["c"].get("q", 1).bodies() + cluster["c"].get("q", 1).bodies()
    require_sound(cluster["b"], cluster["b"].queue("q"))


def test_a_browse_that_nobody_answers_is_refused_and_a_removal_is_unknown(
    cluster: ClusterRig,
) -> None:
    put(cluster["a"], "a")
    cluster.hold("b", "a")
    look = cluster["b"].command(PEER, "browse", queue="q")
    take = cluster["b"].command(PEER, "remove", queue="q", ranges=[[0, 1]])
    cluster.run()
    cluster.kill("a")
    cluster.pass_time(2 * SECOND)
    answers = {sent.req: sent.header.get("error") for sent in cluster["b"].sent}
    assert (answers[look], answers[take]) == ("not_primary", "outcome_unknown")
