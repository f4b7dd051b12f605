"""Who is in sync: how a learner enters, how a member leaves, what an empty disk is worth.

The rules R8, R9 and R16, by the nodes of a whole cluster.
"""

from __future__ import annotations

import pytest

from broker.cluster.ownership import ReplicaId
from broker.limits import READMISSION_STEADY, REPLICA_SILENCE_MAX
from tests.node.soundness import require_same_copies
from tests.support.cluster_rig import BrokerRig, ClusterRig, Fate
from tests.support.node_rig import PEER, Sent

BATCH = b"\x91\xc4\x01a"


def put_later(broker: BrokerRig, **fields: object) -> int:
    return broker.command(PEER, "put", BATCH, queue="q", count=1, **fields)


def answers(sent: list[Sent], req: int) -> list[str]:
    return [s.header.get("error", s.re) for s in sent if s.req == req]


@pytest.fixture
def cluster() -> ClusterRig:
    """a reigns over q, b and c follow; a client at a."""
    rig = ClusterRig()
    assert [broker.name for broker in rig.order()] == ["a", "b", "c"]
    rig["a"].hello()
    rig["a"].put("q", b"first")
    return rig


# R8


def test_a_learner_that_caught_up_enters_the_isr(cluster: ClusterRig) -> None:
    """R8: it has all that is committed before it counts."""
    cluster.kill("c")
    cluster.run()
    for _ in range(5):
        cluster["a"].put("q", b"more")
    cluster.start("c")
    cluster.pass_time(4_000)
    assert cluster.owned().isr == ("a", "b", "c")
    require_same_copies(cluster.living, "q")


def test_a_learner_counts_from_the_moment_that_its_entry_is_asked_for(cluster: ClusterRig) -> None:
    """R8: before anybody answered the swap."""
    cluster.kill("c")
    cluster.run()
    cluster.start("c")
    cluster.holds_swaps = True
    cluster.pass_time(4_000)
    ((name, swap),) = cluster.asked
    assert (name, swap.config.isr) == ("a", ("a", "b", "c"))
    cluster.part("c", "a")
    req = put_later(cluster["a"])
    assert answers(cluster["a"].run(), req) == [], "it is waited for"
    cluster.holds_swaps = False
    cluster.cut.clear()
    cluster.answer(name, swap)
    assert answers(cluster["a"].pass_time(1_000), req) == ["ok"]


def test_a_learner_that_is_behind_does_not_enter(cluster: ClusterRig) -> None:
    """R8: durable >= commit_lsn."""
    cluster.kill("c")
    cluster.run()
    cluster["a"].put("q", b"more")
    cluster.stuck.add("c")
    cluster.start("c")
    cluster.pass_time(2_000)
    assert cluster.owned().isr == ("a", "b")
    assert cluster["a"].put("q", b"on")["re"] == "ok"
    cluster.stuck.clear()
    cluster.pass_time(2_000)
    assert cluster.owned().isr == ("a", "b", "c")


@pytest.mark.parametrize("end", ["dies", "stands still", "is replaced"])
def test_a_learner_that_fails_just_before_it_enters_is_not_waited_for(
    cluster: ClusterRig, end: str
) -> None:
    """R8: commits wait a moment for who is about to enter, and never for one who is not."""
    primary = cluster["a"]
    cluster.kill("c")
    cluster.run()
    primary.put("q", b"one")
    # It lacks what was committed this very moment, and its disk will never have it.
    cluster.stuck.add("c")
    cluster.start("c")
    cluster.run()
    reign = primary.served("q").primary
    assert reign is not None
    assert reign.effective_isr == ["a", "b", "c"]
    if end == "dies":
        cluster.kill("c")
    elif end == "is replaced":
        cluster.kill("c")
        cluster.start("c", empty=True)
    for _ in range(3):
        req = put_later(primary)
        assert answers(primary.pass_time(REPLICA_SILENCE_MAX), req) == ["ok"]


# R9


def test_a_member_that_says_nothing_leaves_after_a_while(cluster: ClusterRig) -> None:
    """R9: 3 s without a `prepared`; until the swap is confirmed it binds."""
    cluster.part("c", "a")
    req = put_later(cluster["a"])
    cluster.holds_swaps = True
    assert answers(cluster["a"].pass_time(REPLICA_SILENCE_MAX + 1_000), req) == []
    ((name, swap),) = cluster.asked
    assert swap.config.isr == ("a", "b")
    cluster.answer(name, swap)
    assert answers(cluster["a"].run(), req) == ["ok"]


def test_a_member_that_was_slow_keeps_up_for_a_while_before_it_enters(cluster: ClusterRig) -> None:
    """R9: readmission needs 10 s of keeping up."""
    cluster.part("c", "a")
    cluster.pass_time(REPLICA_SILENCE_MAX + 1_000)
    assert cluster.owned().isr == ("a", "b")
    cluster.cut.clear()
    cluster.pass_time(READMISSION_STEADY - 1_000)
    assert cluster.owned().isr == ("a", "b")
    cluster.pass_time(3_000)
    assert cluster.owned().isr == ("a", "b", "c")


@pytest.mark.parametrize("fate", list(Fate))
def test_a_swap_of_unknown_outcome_is_asked_again_until_it_is_known(
    cluster: ClusterRig, fate: Fate
) -> None:
    """R9: meanwhile the old set binds."""
    cluster.fates.extend([fate, Fate.LOST])
    cluster.kill("c")
    req = put_later(cluster["a"])
    assert answers(cluster["a"].pass_time(2_000), req) == ["ok"]
    assert cluster.owned().isr == ("a", "b")
    assert cluster["a"].put("q", b"on")["re"] == "ok"


def test_another_swap_that_was_quicker_is_followed(cluster: ClusterRig) -> None:
    """R9: conflict: reload."""
    cluster.holds_swaps = True
    cluster.kill("c")
    cluster.run()
    ((name, swap),) = cluster.asked
    cluster.asked.clear()
    cluster.holds_swaps = False
    cluster.write(0, cluster.owned())
    cluster.answer(name, swap)
    cluster.pass_time(1_000)
    assert cluster.owned().isr == ("a", "b")
    assert cluster["a"].reigns("q")


# R16


def test_a_broker_with_an_empty_disk_is_a_learner(cluster: ClusterRig) -> None:
    """R16: a new incarnation holds nothing and votes for nothing until it has all."""
    former = cluster["c"].incarnation
    cluster.kill("c")
    cluster.run()
    cluster.hold("a", "c")
    cluster.start("c", empty=True)
    assert cluster["c"].incarnation != former
    cluster.pass_time(1_000)
    assert cluster.owned().isr == ("a", "b")
    assert cluster.owned().incarnation_of("c") == cluster["c"].incarnation
    assert cluster["a"].put("q", b"on")["re"] == "ok", "nothing waits for it"
    for frames in cluster.release("a", "c"):
        cluster.carry(("a", "c"), frames)
    cluster.pass_time(4_000)
    assert cluster.owned().isr == ("a", "b", "c")
    require_same_copies(cluster.living, "q")


def test_a_broker_that_lost_its_disk_while_nobody_looked_is_out_at_once(
    cluster: ClusterRig,
) -> None:
    """R16, R9: another incarnation of a member is as good as a dead member."""
    cluster.kill("c")
    cluster.start("c", empty=True)
    cluster.run()
    owned = cluster.owned()
    assert ReplicaId("c", cluster["c"].incarnation) not in owned.replicas or "c" not in owned.isr
    cluster.pass_time(4_000)
    assert cluster.owned().isr == ("a", "b", "c")
    require_same_copies(cluster.living, "q")
