"""Slots that change hands by plan: a broker that leaves, one that is back, one that joins."""

from __future__ import annotations

import pytest

from broker.cluster.ownership import Member
from broker.core.books.tags import decode_tag
from broker.limits import MINUTE
from tests.node.soundness import require_same_copies
from tests.support.cluster_rig import BrokerRig, ClusterRig
from tests.support.node_rig import PEER, Sent

BATCH = b"\x91\xc4\x01a"


@pytest.fixture
def cluster() -> ClusterRig:
    rig = ClusterRig()
    for broker in rig.living:
        broker.hello(timeout_ms=300_000)
    return rig


def failures(broker: BrokerRig) -> list[str]:
    return [s["error"] for s in broker.sent if s.re == "failed"]


def test_a_broker_that_leaves_hands_its_slots_over(cluster: ClusterRig) -> None:
    """Everybody stays in sync: the next reign begins with the whole ISR."""
    cluster["b"].put("q", b"a")
    cluster.leave("a")
    left = [cluster["a"].node.has_left]
    cluster.pass_time(1_000)
    left.append(cluster["a"].node.has_left)
    assert left == [False, True]
    owned = cluster.owned()
    assert (owned.primary, owned.epoch, owned.isr) == ("b", 2, ("a", "b", "c"))
    assert cluster["c"].get("q").bodies() == [b"a"]


def test_nothing_is_of_unknown_outcome_at_a_handover(cluster: ClusterRig) -> None:
    """What is under way is committed first; what comes meanwhile is refused, definitely."""
    cluster.hold("b", "a")
    req = cluster["a"].command(PEER, "put", BATCH, queue="q", count=1)
    cluster.run()
    cluster.leave("a")
    cluster.pass_time(1_000)
    assert cluster.owned().primary == "a", "it waits for what is under way"
    assert cluster["a"].put("q", b"no")["error"] == "not_primary"
    for frames in cluster.release("b", "a"):
        cluster.carry(("b", "a"), frames)
    cluster.pass_time(1_000)
    assert [s.re for s in cluster["a"].sent if s.req == req] == ["ok"]
    assert cluster.owned().primary == "b"
    assert cluster["c"].get("q").bodies() == [b"a"]


def test_a_handover_that_cannot_be_made_is_called_off(cluster: ClusterRig) -> None:
    """Whoever should have it died: the primary goes on."""
    cluster.leave("a")
    cluster.part("b")
    cluster.part("c")
    cluster.bury("b")
    cluster.bury("c")
    cluster.pass_time(2_000)
    assert cluster.owned().primary == "a"
    assert cluster["a"].node.has_left, "nobody else could serve"


def test_what_is_held_at_a_handover_is_settled_with_the_successor(cluster: ClusterRig) -> None:
    """R11: no storm of duplicates; a consumer that works on goes on working."""
    at_c = cluster["c"]
    at_c.put("q", b"1", b"2")
    at_c.command(PEER, "consume", queue="q", consumer=1, credit=2)
    at_c.run()
    (got,) = [s for s in at_c.sent if s.re == "messages"]
    cluster.leave("a")
    cluster.pass_time(150)
    assert cluster["b"].serves("q")
    assert at_c.settle("ack", got)["count"] == 2
    cluster.pass_time(2_000)
    assert [s for s in at_c.sent if s.re == "messages"] == [got], "none came twice"


def test_the_first_of_the_ring_has_its_slot_again_when_it_is_back(cluster: ClusterRig) -> None:
    cluster.kill("a")
    cluster.pass_time(2_000)
    cluster["b"].put("q", b"a")
    cluster.start("a")
    cluster.pass_time(5_000)
    owned = cluster.owned()
    assert (owned.primary, owned.isr) == ("a", ("a", "b", "c"))
    assert cluster["b"].get("q").bodies() == [b"a"]


def test_a_consumer_follows_its_queue_there_and_back(cluster: ClusterRig) -> None:
    at_b = cluster["b"]
    at_b.command(PEER, "consume", queue="q", consumer=1, credit=100, auto_ack=True)
    at_b.run()
    sent: list[bytes] = []
    for turn in range(3):
        cluster.leave("a")
        cluster.pass_time(1_000)
        assert cluster.owned().primary == "b"
        sent.append(b"%d" % turn)
        cluster["c"].put("q", sent[-1])
        cluster.kill("a")
        cluster.start("a")
        cluster.pass_time(8_000)
        assert cluster.owned().primary == "a"
        sent.append(b"%d again" % turn)
        cluster["c"].put("q", sent[-1])
        cluster.run()
    got = [s for s in at_b.sent if s.re == "messages"]
    assert [body for s in got for body in s.bodies()] == sent
    epochs = [decode_tag(s["tag"]).epoch for s in got]
    assert epochs == sorted(epochs)
    assert failures(at_b) == []


def test_a_member_that_drains_gives_up_its_copies() -> None:
    four = ClusterRig("abcd", slots=4)
    four["b"].hello()
    for number in range(12):
        four["b"].put(f"q{number}", b"x")
    four.members["a"] = Member(draining=True)
    four.tell("members", "a", four.members["a"])
    four.pass_time(MINUTE)
    for owned in four.slots.values():
        assert "a" not in [replica.broker for replica in owned.config.replicas]
        assert len(owned.config.isr) == 3
    for number in range(12):
        holders = [four[name] for name in four.owned(f"q{number}").isr]
        require_same_copies(holders, f"q{number}")


def test_a_member_that_joins_takes_its_share() -> None:
    """One step after the other: learner, ISR, primary; nothing is lost meanwhile."""
    four = ClusterRig("abcd", slots=4)
    four.members["d"] = Member(draining=True)
    four.tell("members", "d", four.members["d"])
    four.pass_time(MINUTE)
    four["a"].hello()
    for number in range(12):
        four["a"].put(f"q{number}", b"x")
    four.members["d"] = Member()
    four.tell("members", "d", four.members["d"])
    sent: list[Sent] = []
    for number in range(12):
        four.pass_time(5_000)
        sent.append(four["a"].put(f"q{number}", b"y"))
    assert [s.re for s in sent] == ["ok"] * 12
    assert any(owned.config.primary == "d" for owned in four.slots.values())
    for number in range(12):
        name = f"q{number}"
        assert four["a"].get(name).bodies() == [b"x", b"y"]
        assert four.order(name)[0].name == four.owned(name).primary
