"""A primary that dies, sleeps or is cut off, and who reigns after it.

The rules R5, R6, R7, R10, R11 and R14, and what the old primary does when it is back.
"""

from __future__ import annotations

from typing import Any

import pytest

from broker.cluster.messages import Prepare, Prepared
from broker.core.books.tags import decode_tag
from broker.errors import LeaseLost, NotPrimary, OutcomeUnknown
from broker.limits import LINK_SILENCE_MAX, RECONFIGURE_EVERY, TAKEOVER_STEP
from tests.node.soundness import require_same_copies, require_sound
from tests.support.cluster_rig import TENURE_MS, BrokerRig, ClusterRig, Fate
from tests.support.node_rig import PEER


@pytest.fixture
def cluster() -> ClusterRig:
    """a reigns over q, then b, then c; a client at each."""
    rig = ClusterRig()
    for broker in rig.living:
        broker.hello()
    rig["a"].put("q", b"first")
    return rig


def put_later(broker: BrokerRig, body: bytes = b"a", **fields: object) -> int:
    return broker.command(PEER, "put", b"\x91\xc4\x01" + body, queue="q", count=1, **fields)


def answer_of(broker: BrokerRig, req: int) -> list[str]:
    return [s.header.get("error", s.re) for s in broker.sent if s.req == req]


def bodies(broker: BrokerRig) -> list[bytes]:
    return broker.get("q").bodies()


# R5


def test_the_next_in_the_isr_reigns_without_the_dead(cluster: ClusterRig) -> None:
    """R5: one swap: an ISR member, epoch + 1, the dead out of the ISR."""
    cluster.kill("a")
    cluster.pass_time(100)
    owned = cluster.owned()
    assert (owned.primary, owned.epoch, owned.isr) == ("b", 2, ("b", "c"))
    assert bodies(cluster["c"]) == [b"first"]


def test_who_has_the_better_right_is_waited_for(cluster: ClusterRig) -> None:
    """R5: only for a while each, for it may be dead as well."""
    cluster.away.add("b")
    cluster.kill("a")
    cluster.pass_time(TAKEOVER_STEP - 100)
    assert cluster.owned().primary == "a"
    cluster.pass_time(1_000)
    assert (cluster.owned().primary, cluster.owned().epoch) == ("c", 2)


def test_two_that_try_at_once_make_one_primary(cluster: ClusterRig) -> None:
    """I1: the loser's swap meets another revision."""
    cluster.holds_swaps = True
    cluster.kill("a")
    cluster.pass_time(TAKEOVER_STEP + RECONFIGURE_EVERY)
    assert sorted(name for name, _ in cluster.asked) == ["b", "c"]
    cluster.holds_swaps = False
    for name, swap in cluster.asked:
        cluster.answer(name, swap)
    cluster.pass_time(500)
    assert [b.name for b in cluster.living if b.reigns("q")] == [cluster.owned().primary]
    assert cluster.owned().epoch == 2


@pytest.mark.parametrize("fate", list(Fate))
def test_a_takeover_of_unknown_outcome_comes_to_an_end(cluster: ClusterRig, fate: Fate) -> None:
    cluster.fates.append(fate)
    cluster.kill("a")
    cluster.pass_time(2_000)
    assert cluster.primary().serves("q")
    assert bodies(cluster["c"]) == [b"first"]


def test_who_is_not_in_sync_never_reigns(cluster: ClusterRig) -> None:
    """R14: no eligible replica: the slot waits for one."""
    cluster.kill("c")
    cluster.pass_time(100)
    cluster["a"].put("q", b"second")
    cluster.hold("a", "c")
    cluster.start("c")
    cluster.kill("a")
    cluster.kill("b")
    cluster.pass_time(5_000)
    assert cluster.owned().primary == "a"
    cluster["c"].hello()
    assert cluster["c"].get("q").code == NotPrimary.code
    cluster.start("b")
    cluster.pass_time(3_000)
    assert cluster.owned().primary == "b"
    assert bodies(cluster["c"]) == [b"first", b"second"]


def test_the_elr_is_elected_when_the_isr_is_dead(cluster: ClusterRig) -> None:
    """R5: who left while commits stood still lacks nothing."""
    cluster.kill("c")
    cluster.run()
    cluster.kill("b")
    cluster.pass_time(1_000)
    assert (cluster.owned().isr, cluster.owned().elr) == (("a",), ("b",))
    cluster.kill("a")
    cluster.start("c")
    cluster.start("b")
    cluster.pass_time(4_000)
    assert cluster.owned().primary == "b"
    cluster["c"].hello()
    assert bodies(cluster["c"]) == [b"first"]


# R6


def test_nothing_of_a_reign_leaves_before_its_promise_is_durable(cluster: ClusterRig) -> None:
    """R6: promise and epoch_start first, then a word to the others."""
    cluster.stuck.add("b")
    cluster.hold("b", "c")
    cluster.kill("a")
    cluster.pass_time(1_000)
    assert cluster.owned().primary == "b"
    assert not [m for m in cluster.waiting("b", "c") if isinstance(m, Prepare) and m.epoch == 2]
    assert not cluster["b"].serves("q")
    cluster.stuck.clear()
    cluster.run()
    assert [m for m in cluster.waiting("b", "c") if isinstance(m, Prepare) and m.epoch == 2]


def test_a_new_primary_serves_when_its_first_entry_is_committed(cluster: ClusterRig) -> None:
    """R6: until then it cannot know what is."""
    cluster.hold("c", "b")
    cluster.kill("a")
    cluster.pass_time(1_000)
    assert cluster["b"].reigns("q")
    assert not cluster["b"].serves("q")
    assert cluster["b"].get("q").code == NotPrimary.code
    for frames in cluster.release("c", "b"):
        cluster.carry(("c", "b"), frames)
    cluster.pass_time(100)
    assert cluster["b"].serves("q")
    assert bodies(cluster["b"]) == [b"first"]


def test_a_follower_makes_its_promise_durable_before_it_answers(cluster: ClusterRig) -> None:
    """R6: who has promised a later epoch, over restarts too, hears no former primary."""
    cluster.stuck.add("c")
    cluster.hold("c", "b")
    cluster.kill("a")
    cluster.pass_time(1_000)
    assert not [m for m in cluster.waiting("c", "b") if isinstance(m, Prepared) and m.epoch == 2]
    cluster.stuck.clear()
    cluster.run()
    assert [m for m in cluster.waiting("c", "b") if isinstance(m, Prepared) and m.epoch == 2]
    cluster.kill("c")
    cluster.start("c")
    assert cluster["c"].served("q").store.promised_epoch == 2


def test_what_a_successor_has_it_never_cuts(cluster: ClusterRig) -> None:
    """R6: an uncommitted entry that the new primary holds is committed with its reign."""
    cluster.cut.add(("a", "c"))
    req = put_later(cluster["a"], b"2")
    cluster.run()
    assert answer_of(cluster["a"], req) == []
    cluster.kill("a")
    cluster.cut.clear()
    cluster.pass_time(1_000)
    assert bodies(cluster["b"]) == [b"first", b"2"]
    cluster.pass_time(1_000)
    require_same_copies(cluster.living, "q")


# R7


def test_what_only_the_dead_primary_had_is_cut_when_it_is_back(cluster: ClusterRig) -> None:
    """R7: walk back until the epochs agree, cut there."""
    cluster.part("a", "b", "c")
    req = put_later(cluster["a"], b"x")
    cluster.run()
    cluster.kill("a", kept=100)
    cluster.pass_time(500)
    cluster["b"].put("q", b"second")
    cluster.cut.clear()
    cluster.start("a")
    cluster.pass_time(10_000)
    assert answer_of(cluster["a"], req) == []
    assert cluster.owned().isr == ("a", "b", "c")
    require_same_copies(cluster.living, "q")
    assert bodies(cluster["b"]) == [b"first", b"second"]


def test_changes_of_the_primary_one_after_another_lose_nothing(cluster: ClusterRig) -> None:
    """R7: promoted again before commits were told (KIP-101)."""
    confirmed = [b"first"]
    for turn, dead in enumerate("abcabc"):
        cluster.kill(dead)
        cluster.pass_time(1_000)
        writer = cluster.living[turn % 2]
        if not writer.node._reception.sessions.of_peer(PEER):
            writer.hello()
        assert writer.put("q", b"%d" % turn)["re"] == "ok"
        confirmed.append(b"%d" % turn)
        cluster.start(dead)
        cluster.pass_time(2_000 if turn % 2 else 100)
    cluster.pass_time(20_000)
    primary = cluster.primary()
    primary.hello()
    assert bodies(primary) == confirmed
    require_sound(primary, primary.queue("q"))
    cluster.pass_time(1_000)
    require_same_copies(cluster.living, "q")


# R10


def test_a_primary_whose_tenure_is_over_hands_nothing_out(cluster: ClusterRig) -> None:
    """R10: no deliveries, no local answers; it cannot know whether it was replaced."""
    old = cluster["a"]
    old.command(PEER, "consume", queue="q", consumer=1, credit=1)
    cluster.run()
    cluster.away.add("a")
    cluster.pass_time(TENURE_MS - 1_000)
    assert old.put("q", b"while it lasts")["re"] == "ok"
    cluster.pass_time(1_500)
    assert old.put("q", b"z").code == NotPrimary.code
    old.command(PEER, "credit", consumer=1, messages=9, bytes=9_999)
    assert [s for s in old.run() if s.re == "messages"] == []
    assert old.get("q").code == NotPrimary.code
    assert old.ask(PEER, "stats", queue="q").code == NotPrimary.code


def test_what_was_under_way_when_the_tenure_ended_may_still_commit(cluster: ClusterRig) -> None:
    """R10: commit needs no tenure."""
    cluster.hold("b", "a")
    req = put_later(cluster["a"])
    cluster.run()
    cluster.away.add("a")
    cluster["a"].now = cluster.now = cluster.now + TENURE_MS + 1
    for broker in cluster.living:
        broker.now = cluster.now
    for frames in cluster.release("b", "a"):
        cluster.carry(("b", "a"), frames)
    cluster.run()
    assert answer_of(cluster["a"], req) == ["ok"]


def test_a_primary_that_slept_through_its_tenure_confirms_its_reign_first(
    cluster: ClusterRig,
) -> None:
    """R10: nobody took its slot, but it may not have heard of that; a new epoch settles it."""
    cluster.away.add("a")
    cluster.pass_time(TENURE_MS + 1_000)
    cluster.come_back("a")
    cluster.pass_time(1_000)
    assert (cluster.owned().primary, cluster.owned().epoch) == ("a", 2)
    assert bodies(cluster["a"]) == [b"first"]


def test_a_primary_that_wakes_after_its_successor_is_fenced(cluster: ClusterRig) -> None:
    """R10, R1: all its late acts meet a later promise."""
    old = cluster["a"]
    got = old.get("q")
    cluster.away.add("a")
    cluster.part("a", "b", "c")
    late = put_later(old, b"l")
    old.turn()
    cluster.bury("a")
    # Its process stands still: the others go on.
    old.is_up = False
    cluster.pass_time(12_000)
    assert cluster["b"].serves("q")
    old.is_up, old.now = True, cluster.now
    cluster.cut.clear()
    cluster.run()
    assert old.get("q").code == NotPrimary.code
    cluster.come_back("a")
    cluster.pass_time(20_000)
    assert answer_of(old, late) == ["outcome_unknown"]
    assert cluster.owned().primary == "a", "the first of the ring again, by a handover"
    assert bodies(cluster["b"]) == [b"first"]
    assert old.settle("ack", got).code == LeaseLost.code
    require_same_copies(cluster.living, "q")


def test_prepares_of_the_old_primary_that_arrive_late_are_refused(cluster: ClusterRig) -> None:
    """R1: what waited in a send queue meets a later promise (T11)."""
    cluster.hold("a", "c")
    put_later(cluster["a"], b"l")
    cluster.run()
    late = cluster.release("a", "c")
    cluster.part("a")
    cluster.bury("a")
    cluster.pass_time(1_000)
    assert cluster["b"].serves("q")
    before = cluster["c"].served("q").log.last_lsn
    for frames in late:
        cluster["c"].node.receive_link(cluster.now, frames)
    cluster.run()
    assert cluster["c"].served("q").log.last_lsn == before
    assert cluster["c"].served("q").store.promised_epoch == 2


# R4, R11: what clients hear


def test_whoever_waits_on_a_lost_reign_hears_why(cluster: ClusterRig) -> None:
    """A put that may have happened is `outcome_unknown`, a get that waits `not_primary`."""
    old = cluster["a"]
    old.settle("ack", old.get("q"))
    wait = old.command(PEER, "get", queue="q", max=1, timeout_ms=60_000)
    old.run()
    cluster.part("a", "b", "c")
    req = put_later(old)
    cluster.run()
    cluster.bury("a")
    cluster.pass_time(1_000)
    assert answer_of(old, req) == [OutcomeUnknown.name]
    assert answer_of(old, wait) == [NotPrimary.name]


def test_a_put_with_a_sequence_appears_once_however_often_it_is_sent(cluster: ClusterRig) -> None:
    """T14: sent again to the successor after an unknown outcome."""
    source: dict[str, Any] = {"producer": b"p", "seq": 0}
    cluster.hold("c", "a")
    req = put_later(cluster["a"], **source)
    cluster.run()
    cluster.part("a", "b", "c")
    cluster.bury("a")
    cluster.pass_time(1_000)
    assert answer_of(cluster["a"], req) == [OutcomeUnknown.name]
    again = cluster["b"].put("q", b"a", **source)
    assert again["re"] == "ok"
    assert again.header.get("duplicate") is True
    assert bodies(cluster["b"]) == [b"first", b"a"]


def test_a_settle_of_the_former_epoch_is_taken_while_nobody_was_given_the_message(
    cluster: ClusterRig,
) -> None:
    """R11: the attempt matches and it was not delivered in this epoch."""
    got = cluster["b"].get("q")
    assert decode_tag(got["tag"]).epoch == 1
    cluster.kill("a")
    cluster.pass_time(LINK_SILENCE_MAX + 1_000)
    assert cluster["b"].settle("ack", got)["count"] == 1
    assert bodies(cluster["c"]) == []


def test_a_settle_of_the_former_epoch_is_lost_once_another_was_given_the_message(
    cluster: ClusterRig,
) -> None:
    """R11: it never removes a message that another now holds."""
    got = cluster["b"].get("q")
    cluster.kill("a")
    cluster.pass_time(1_000)
    other = cluster["c"].get("q")
    assert cluster["b"].settle("ack", got).code == LeaseLost.code
    assert cluster["c"].settle("ack", other)["count"] == 1


def test_deliveries_of_a_new_reign_carry_its_epoch(cluster: ClusterRig) -> None:
    """R11: clients drop what is below the highest that they saw of the slot."""
    cluster.kill("a")
    cluster.pass_time(1_000)
    assert decode_tag(cluster["b"].get("q")["tag"]).epoch == 2
