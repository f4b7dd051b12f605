"""How a slot's entries reach its followers: what is confirmed, what waits, who enters and leaves.

The rules R1 to R4 and R12, each by the nodes of a whole cluster; test_membership.py has the others.
"""

from __future__ import annotations

from typing import Any

import pytest

from broker.cluster.messages import Prepare, Prepared, Refusal, Refused, decode_link, encode_link
from broker.errors import NotEnoughReplicas, NotPrimary
from broker.limits import (
    REPLICA_HEARTBEAT,
    REPLICA_RETRY,
)
from tests.node.soundness import require_same_copies, require_sound
from tests.support.cluster_rig import BrokerRig, ClusterRig
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


# R1


def test_followers_come_to_hold_what_the_primary_holds(cluster: ClusterRig) -> None:
    primary = cluster["a"]
    primary.put("q", b"a", b"b", ttl_ms=60_000, priority=7)
    got = primary.get("q", 2)
    primary.settle("ack", got)
    primary.put("q", b"x" * 300)
    cluster.pass_time(1_000)
    require_same_copies(cluster.living, "q")
    require_sound(primary, primary.queue("q"))


def test_prepares_that_are_doubled_and_overtaken_harm_nothing(cluster: ClusterRig) -> None:
    """R1: each is safe to repeat, delay and reorder."""
    cluster.hold("a", "b")
    for body in (b"1", b"2", b"3"):
        put_later(cluster["a"])
        cluster.run()
        cluster["a"].command(PEER, "put", b"\x91\xc4\x01" + body, queue="q", count=1)
        cluster.run()
    frames = cluster.release("a", "b")
    for each in [*reversed(frames), *frames]:
        cluster.carry(("a", "b"), each)
    cluster.pass_time(2 * REPLICA_RETRY)
    require_same_copies(cluster.living, "q")
    assert cluster["a"].queue("q").ledger.messages == 7


def test_prepares_that_are_lost_are_sent_again(cluster: ClusterRig) -> None:
    cluster.cut.add(("a", "b"))
    req = put_later(cluster["a"])
    assert answers(cluster["a"].run(), req) == []
    cluster.cut.clear()
    assert answers(cluster["a"].pass_time(2 * REPLICA_RETRY), req) == ["ok"]
    cluster.pass_time(REPLICA_HEARTBEAT)
    require_same_copies(cluster.living, "q")


def test_a_prepare_for_another_copy_is_refused(cluster: ClusterRig) -> None:
    """R1: only when the store matches."""
    cluster.hold("a", "b")
    put_later(cluster["a"])
    cluster.run()
    (frames,) = cluster.release("a", "b")
    header, messages = decode_link(frames)
    changed = [m._replace(incarnation="other") for m in messages if isinstance(m, Prepare)]
    before = cluster["b"].served("q").log.last_lsn
    cluster.hold("b", "a")
    cluster.carry(("a", "b"), encode_link(header, list(changed)))
    cluster.run()
    refusals = [m for m in cluster.waiting("b", "a") if isinstance(m, Refused)]
    assert [refusal.reason for refusal in refusals] == [Refusal.WRONG_STORE]
    assert cluster["b"].served("q").log.last_lsn == before


def test_a_follower_adopts_a_commit_only_of_what_it_verified(cluster: ClusterRig) -> None:
    """R1: whatever commit_lsn a prepare says."""
    cluster.hold("a", "b")
    put_later(cluster["a"])
    cluster.run()
    (frames,) = cluster.release("a", "b")
    header, messages = decode_link(frames)
    (prepare,) = [m for m in messages if isinstance(m, Prepare)]
    early = prepare._replace(rows=[], raw=[], commit_lsn=prepare.prev_lsn + 1)
    log = cluster["b"].served("q").log
    cluster.carry(("a", "b"), encode_link(header, [early]))
    cluster.run()
    assert log.commit_lsn == prepare.prev_lsn
    cluster.carry(("a", "b"), frames)
    cluster.pass_time(REPLICA_RETRY + REPLICA_HEARTBEAT)
    assert log.commit_lsn == prepare.prev_lsn + 1


@pytest.mark.parametrize(
    "changes",
    [
        {"slot": 70_000},
        {"slot": -1},
        {"rows": [b""]},
        {"rows": [b"\1\4" + bytes(40)]},
        {"prev_lsn": -1},
        {"prev_lsn": 2**63},
        {"commit_lsn": 2**63},
        {"raw": []},
        {"raw": [b"damaged on its way"]},
    ],
    ids=str,
)
def test_a_prepare_that_no_primary_sends_ends_no_process(
    cluster: ClusterRig, changes: dict[str, Any]
) -> None:
    """R1: it is refused or passed over, and what follows is taken as before."""
    cluster.hold("a", "b")
    put_later(cluster["a"])
    cluster.run()
    frames = cluster.release("a", "b")
    header, messages = decode_link(frames[0])
    (prepare,) = [m for m in messages if isinstance(m, Prepare)]
    # ``changes`` name fields of a prepare.
    cluster.carry(("a", "b"), encode_link(header, [prepare._replace(**changes)]))
    cluster.run()
    assert cluster["b"].served("q").log.commit_lsn <= prepare.prev_lsn + 1
    for each in frames:
        cluster.carry(("a", "b"), each)
    cluster.pass_time(3_000)
    assert cluster.owned().isr == ("a", "b", "c")
    require_same_copies(cluster.living, "q")


# R2


def test_a_follower_says_prepared_only_of_what_its_disk_holds(cluster: ClusterRig) -> None:
    """R2: durable before answer."""
    cluster.stuck.add("b")
    cluster.hold("b", "a")
    req = put_later(cluster["a"])
    assert answers(cluster["a"].run(), req) == []
    log = cluster["b"].served("q").log
    assert log.last_lsn == cluster["a"].served("q").log.last_lsn, "it came"
    told = [m.durable_lsn for m in cluster.waiting("b", "a") if isinstance(m, Prepared)]
    assert max(told, default=0) < log.last_lsn
    cluster.stuck.clear()
    cluster.run()
    told = [m.durable_lsn for m in cluster.waiting("b", "a") if isinstance(m, Prepared)]
    assert max(told) == log.last_lsn


def test_the_primarys_own_disk_has_a_vote_like_any_other(cluster: ClusterRig) -> None:
    """R2: its followers had it long before."""
    cluster.stuck.add("a")
    req = put_later(cluster["a"])
    assert answers(cluster["a"].run(), req) == []
    assert cluster["b"].served("q").log.durable_lsn == cluster["a"].served("q").log.last_lsn
    cluster.stuck.clear()
    assert answers(cluster["a"].run(), req) == ["ok"]


def test_a_follower_that_dies_before_its_sync_has_promised_nothing(cluster: ClusterRig) -> None:
    """R2: what it lost it had never said to have."""
    cluster.stuck.add("b")
    req = put_later(cluster["a"])
    assert answers(cluster["a"].run(), req) == []
    lost = cluster["b"].served("q").log.last_lsn
    cluster.kill("b")
    cluster.stuck.clear()
    cluster.start("b")
    assert cluster["b"].served("q").log.last_lsn < lost
    cluster.pass_time(3_000)
    require_same_copies(cluster.living, "q")


# R3, R4


def test_a_put_is_confirmed_when_the_whole_isr_has_it(cluster: ClusterRig) -> None:
    """R3, R4: one member that lacks it is enough to wait."""
    cluster.hold("a", "c")
    req = put_later(cluster["a"])
    assert answers(cluster["a"].run(), req) == []
    assert cluster["a"].queue("q").ledger.messages == 1, "not committed"
    for frames in cluster.release("a", "c"):
        cluster.carry(("a", "c"), frames)
    assert answers(cluster["a"].run(), req) == ["ok"]


def test_a_confirm_says_how_many_brokers_hold_the_batch(cluster: ClusterRig) -> None:
    """As many as are in sync when it is committed, not when it came."""
    primary = cluster["a"]
    put = {"producer": b"p", "seq": 0}
    assert primary.ask(PEER, "put", BATCH, queue="q", count=1, **put)["copies"] == 3
    cluster.part("c", "a")
    req = put_later(primary)
    cluster.run()
    cluster.bury("c")
    primary.run()
    (answer,) = [s for s in primary.sent if s.req == req]
    assert answer["copies"] == 2
    again = primary.ask(PEER, "put", BATCH, queue="q", count=1, **put)
    assert (again["copies"], again["duplicate"]) == (2, True)


def test_nothing_is_delivered_before_the_whole_isr_has_it(cluster: ClusterRig) -> None:
    """I6: an uncommitted message goes to nobody."""
    primary = cluster["a"]
    primary.settle("ack", primary.get("q"))
    cluster.hold("a", "b")
    primary.command(PEER, "consume", queue="q", consumer=1, credit=9)
    put_later(primary)
    assert [s for s in primary.run() if s.re == "messages"] == []
    for frames in cluster.release("a", "b"):
        cluster.carry(("a", "b"), frames)
    assert [s.bodies() for s in primary.run() if s.re == "messages"] == [[b"a"]]


def below_min_isr(cluster: ClusterRig) -> None:
    cluster.kill("b")
    cluster.kill("c")
    cluster.pass_time(1_000)
    assert cluster.owned().isr == ("a",)


def test_below_min_isr_puts_and_settles_are_refused_by_name(cluster: ClusterRig) -> None:
    """R4: definite, nothing happened."""
    primary = cluster["a"]
    got = primary.get("q")
    below_min_isr(cluster)
    assert primary.put("q", b"no").code == NotEnoughReplicas.code
    assert primary.settle("ack", got).code == NotEnoughReplicas.code
    assert primary.get("q").code == NotEnoughReplicas.code
    cluster.start("b")
    cluster.pass_time(3_000)
    assert primary.settle("ack", got)["count"] == 1
    assert primary.get("q").messages() == []


def test_below_min_isr_nothing_is_delivered_and_no_lease_ends(cluster: ClusterRig) -> None:
    """R4: what is in flight is held unexpired."""
    primary = cluster["a"]
    primary.hello(timeout_ms=300_000)
    got = primary.get("q", lease_ms=5_000)
    primary.command(PEER, "consume", queue="q", consumer=1, credit=9)
    below_min_isr(cluster)
    assert [s for s in primary.pass_time(20_000) if s.re == "messages"] == []
    cluster.start("b")
    assert [s for s in primary.pass_time(4_000) if s.re == "messages"] == []
    assert primary.settle("ack", got)["count"] == 1


def test_what_waits_when_a_member_is_gone_is_confirmed_without_it(cluster: ClusterRig) -> None:
    """R9: at once, for its broker key is gone."""
    cluster.part("c", "a")
    req = put_later(cluster["a"])
    assert answers(cluster["a"].run(), req) == []
    cluster.bury("c")
    assert answers(cluster["a"].run(), req) == ["ok"]
    assert cluster.owned().isr == ("a", "b")


# R12


def test_a_followers_clock_ends_no_message(cluster: ClusterRig) -> None:
    """R12: expiry is an entry that the primary makes; replicas look at no clock."""
    cluster["a"].put("q", b"short", ttl_ms=10_000)
    cluster.pass_time(REPLICA_HEARTBEAT)
    follower = cluster["b"]
    follower.node.finish_turn(cluster.now + 3_600_000)
    assert follower.queue("q").ledger.messages == 2
    cluster.hold("a", "b")
    cluster.pass_time(2_000)
    assert follower.queue("q").ledger.messages == 2, "nobody told it"


def test_what_the_primary_expired_is_expired_everywhere(cluster: ClusterRig) -> None:
    """R12: by its entry."""
    cluster["a"].put("q", b"short", ttl_ms=1_000)
    cluster.pass_time(3_000)
    assert cluster["a"].get("q").bodies() == [b"first"]
    cluster.pass_time(1_000)
    require_same_copies(cluster.living, "q")
    assert cluster["c"].queue("q").ledger.messages == 1


def test_a_command_that_waits_for_nobody_is_refused_where_no_tenure_is(cluster: ClusterRig) -> None:
    """R10: past its tenure a primary gives no local answers."""
    cluster.away.add("a")
    cluster.pass_time(10_500)
    assert cluster["a"].get("q").code == NotPrimary.code
