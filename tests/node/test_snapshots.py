"""A replica that the log cannot bring up to date any more is given a copy, whatever comes between.

Puts go on while it is copied.  In the end the copy equals the original, and nothing is left of
copies that were broken off.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.cluster.messages import Prepared, SnapshotPart, decode_link
from broker.limits import LINK_SILENCE_MAX, REPLICA_RETRY, REPLICA_SILENCE_MAX
from broker.node import snapshots
from broker.storage.store import Family
from tests.node.soundness import require_same_copies, require_sound
from tests.support.cluster_rig import ClusterRig
from tests.support.node_rig import PEER

#: More than any copy here has.
PARTS_MAX = 100


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "SNAPSHOT_PART_BYTES", 400)


def beyond_the_log() -> ClusterRig:
    """c was away while a and b threw away the log that it would need."""
    cluster = ClusterRig()
    primary = cluster["a"]
    primary.hello()
    primary.put("q", b"before")
    primary.put("gone", b"x")
    cluster.pass_time(1_000)
    cluster.kill("c")
    cluster.pass_time(REPLICA_SILENCE_MAX + 1_000)
    last = cluster["c"].served("q").log.last_lsn
    for turn in range(6):
        body = b"%d" % turn * 100
        primary.put("q", body, body, producer=b"p", seq=turn)
        primary.settle("ack", primary.get("q", 1))
        cluster.pass_time(500)
    primary.put("q", b"later", delay_ms=3_600_000)
    primary.put("q", b"mortal", ttl_ms=3_600_000, priority=9)
    primary.settle("nack", primary.get("q", 2), charge=True)
    primary.ask(PEER, "delete", queue="gone", if_empty=False)
    cluster.pass_time(4_000)
    assert primary.served("q").store.trim_lsn > last
    return cluster


def parts_of(frames: list[bytes]) -> list[SnapshotPart]:
    return [m for m in decode_link(frames)[1] if isinstance(m, SnapshotPart)]


def copy(cluster: ClusterRig, parts: int, *, put: bool = True, twice: bool = False) -> int:
    """Lets so many parts pass from a to c, or all that there are; a puts before each."""
    learner, passed, idle = cluster["c"], 0, 0
    while passed < parts and idle < 5:
        frames = cluster.release("a", "c")
        cluster.hold("a", "c")
        idle = 0 if any(map(parts_of, frames)) else idle + 1
        for each in frames:
            if passed == parts:
                break
            passed += len(parts_of(each))
            for _ in range(1 + twice):
                learner.node.receive_link(cluster.now, each)
        if put and idle == 0:
            cluster["a"].command(PEER, "put", b"\x91\xc4\x01m", queue="q", count=1)
        if idle:
            cluster.pass_time(REPLICA_RETRY)
        cluster.run()
    return passed


def parts_in_all() -> int:
    cluster = beyond_the_log()
    cluster.hold("a", "c")
    cluster.start("c")
    return copy(cluster, PARTS_MAX, put=False)


def require_whole(cluster: ClusterRig) -> None:
    """All copies are in sync and equal, and only they are on the disk."""
    cluster.held.clear()
    cluster.held_back.clear()
    cluster.pass_time(25_000)
    assert cluster.owned().isr == ("a", "b", "c")
    require_same_copies(cluster.living, "q")
    learner = cluster["c"]
    assert not learner.has("gone")
    instances = {0, learner.served("q").store.instance}
    for family in Family:
        found = {int.from_bytes(key[:4], "big") for key, _ in learner.rows(family)}
        assert found <= instances, "rows of a copy that was broken off"
    # The learner can reign: all that it was given is there.
    for name in ("a", "b"):
        cluster.kill(name)
        cluster.pass_time(100)
        if name == "a":
            cluster["b"].run()
    cluster.start("b")
    cluster.pass_time(8_000)
    require_sound(learner, learner.queue("q"))


def test_a_learner_beyond_the_log_is_given_a_copy() -> None:
    """R8: a learner catches up by log or snapshot."""
    cluster = beyond_the_log()
    cluster.hold("a", "c")
    cluster.start("c")
    assert copy(cluster, PARTS_MAX) > 3, "a copy of several parts"
    require_whole(cluster)


def test_parts_that_come_twice_harm_nothing() -> None:
    cluster = beyond_the_log()
    cluster.hold("a", "c")
    cluster.start("c")
    copy(cluster, PARTS_MAX, twice=True)
    require_whole(cluster)


def test_a_broker_with_an_empty_disk_is_given_a_copy() -> None:
    """R16: a learner like any other."""
    cluster = beyond_the_log()
    cluster.start("c", empty=True)
    require_whole(cluster)


def lose_the_link(cluster: ClusterRig) -> None:
    cluster.release("a", "c")
    cluster.part("a", "c")
    cluster.pass_time(LINK_SILENCE_MAX + 1_000)
    cluster.cut.clear()


def restart_the_learner(cluster: ClusterRig) -> None:
    cluster.release("a", "c")
    cluster.kill("c")
    cluster.start("c")


def restart_the_learner_with_its_last_writes(cluster: ClusterRig) -> None:
    cluster.release("a", "c")
    cluster.kill("c", kept=100)
    cluster.start("c")


def empty_the_learner(cluster: ClusterRig) -> None:
    cluster.release("a", "c")
    cluster.kill("c")
    cluster.start("c", empty=True)


def restart_the_primary(cluster: ClusterRig) -> None:
    """Its successor copies anew."""
    cluster.release("a", "c")
    cluster.kill("a")
    cluster.pass_time(1_000)
    cluster.start("a")


@pytest.mark.parametrize(
    "breach",
    [
        lose_the_link,
        restart_the_learner,
        restart_the_learner_with_its_last_writes,
        empty_the_learner,
        restart_the_primary,
    ],
)
def test_a_copy_that_is_broken_off_at_any_part_is_made_anew(
    breach: Callable[[ClusterRig], None],
) -> None:
    """T25: after none, one, ... all of its parts."""
    for parts in range(parts_in_all() + 1):
        cluster = beyond_the_log()
        cluster.hold("a", "c")
        cluster.start("c")
        copy(cluster, parts)
        breach(cluster)
        require_whole(cluster)


def test_a_slot_whose_primary_is_lost_for_good_is_copied_by_its_successor() -> None:
    """T28: b has all that is committed, c lives: they serve again without a."""
    cluster = beyond_the_log()
    cluster.kill("a")
    cluster.start("c")
    cluster.pass_time(20_000)
    assert cluster.owned().isr == ("b", "c")
    cluster["b"].hello()
    assert cluster["b"].put("q", b"on")["re"] == "ok"
    cluster.pass_time(1_000)
    require_same_copies([cluster["b"], cluster["c"]], "q")


def test_what_changes_while_it_is_copied_is_in_the_copy() -> None:
    """Settles, deletes and new queues between any two parts reach the learner by the log."""
    total = parts_in_all()
    for at in range(total):
        cluster = beyond_the_log()
        primary = cluster["a"]
        cluster.hold("a", "c")
        cluster.start("c")
        copy(cluster, at)
        primary.settle("ack", primary.get("q", 3))
        primary.put("new", b"n")
        primary.ask(PEER, "purge", queue="q")
        primary.put("q", b"z" * 900)
        copy(cluster, PARTS_MAX)
        require_whole(cluster)
        require_same_copies(cluster.living[:1], "new")


def test_a_copy_that_the_log_has_overtaken_erases_nothing() -> None:
    """R2: what the learner said to have it keeps; a late snapshot is thrown away."""
    cluster = beyond_the_log()
    cluster.hold("a", "c")
    cluster.start("c")
    late: list[list[bytes]] = []
    while not cluster["c"].has("q") or cluster["c"].served("q").verified_lsn == 0:
        frames = cluster.release("a", "c")
        cluster.hold("a", "c")
        late += [each for each in frames if parts_of(each)]
        for each in frames:
            cluster["c"].node.receive_link(cluster.now, each)
        cluster.pass_time(REPLICA_RETRY)
    cluster.release("a", "c")
    cluster.pass_time(2_000)
    before = cluster["c"].served("q").log.last_lsn
    cluster.hold("c", "a")
    for each in late:
        cluster["c"].node.receive_link(cluster.now, each)
    cluster.run()
    log = cluster["c"].served("q").log
    assert log.last_lsn == log.durable_lsn == before
    told = [m for m in cluster.waiting("c", "a") if isinstance(m, Prepared)]
    assert all(m.durable_lsn == before for m in told)
    cluster.release("c", "a")
    require_whole(cluster)
