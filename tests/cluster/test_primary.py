"""What a primary knows of its followers, and what is committed by it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from broker.cluster.ownership import ReplicaId, SlotConfig
from broker.cluster.primary import Primary
from broker.cluster.transitions import expand, shrink
from broker.cluster.view import Owned, Swap
from broker.limits import (
    READMISSION_STEADY,
    RECONFIGURE_EVERY,
    REPLICA_INFLIGHT_BYTES_MAX,
    REPLICA_RETRY,
    REPLICA_SILENCE_MAX,
)

#: The reign began with entry 10.
START = 10
ALIVE = dict.fromkeys("abc", "disk")


def config_of(isr: str, elr: str = "", replicas: str = "abc") -> SlotConfig:
    copies = tuple(ReplicaId(broker, "disk") for broker in replicas)
    return SlotConfig(copies, tuple(isr), tuple(elr), "a", 5)


def reign(isr: str = "abc", elr: str = "", replicas: str = "abc", min_isr: int = 2) -> Primary:
    return Primary("a", Owned(config_of(isr, elr, replicas), 1), min_isr, START, 0)


def hear(primary: Primary, last_lsn: int = 50, now: int = 0, **durable: int) -> None:
    for broker, lsn in durable.items():
        primary.heard_prepared(broker, lsn, lsn, last_lsn, now)


# R3


def test_committed_is_what_every_member_of_the_isr_has() -> None:
    """R3: the least of all, the primary's own disk among them."""
    primary = reign()
    hear(primary, b=20, c=30)
    assert primary.commit_lsn(40) == 20
    hear(primary, b=45)
    assert primary.commit_lsn(40) == 30
    assert primary.commit_lsn(25) == 25


def test_a_learner_is_not_waited_for() -> None:
    """R3: only the ISR counts."""
    primary = reign("ab")
    hear(primary, b=20)
    assert primary.commit_lsn(40) == 20


def test_what_is_received_and_not_durable_commits_nothing() -> None:
    """R2: only what is on a member's disk counts."""
    primary = reign("ab")
    primary.heard_prepared("b", received_lsn=40, durable_lsn=12, last_lsn=40, now=0)
    assert primary.commit_lsn(40) == 12


def test_a_former_reigns_entries_wait_for_the_first_of_this_one() -> None:
    """R6: nothing is committed by counting alone before epoch_start is on the whole ISR."""
    primary = reign("ab")
    hear(primary, b=START - 1)
    assert primary.commit_lsn(40) == 0
    hear(primary, b=START)
    assert primary.commit_lsn(40) == START


def test_nothing_is_committed_below_min_isr() -> None:
    """R3, R4: the confirmed ISR must have min_isr members."""
    primary = reign("a", "b")
    hear(primary, b=40, c=40)
    assert not primary.has_quorum
    assert primary.commit_lsn(40) == 0
    primary.min_isr = 1
    assert primary.commit_lsn(40) == 0, "the ELR would not have it"
    primary.adopt(Owned(config_of("a"), 2), 0)
    assert primary.commit_lsn(40) == 40


def test_who_is_asked_to_leave_binds_until_that_is_confirmed() -> None:
    """R9: the old set binds until the swap is confirmed."""
    primary = reign()
    hear(primary, b=20, c=40)
    smaller = shrink(primary.config, "b", 2)
    primary.pending = Swap(0, 1, smaller)
    assert primary.commit_lsn(40) == 20
    primary.adopt(Owned(smaller, 2), 0)
    assert primary.effective_isr == ["a", "c"]
    assert primary.commit_lsn(40) == 40


def test_who_is_asked_to_enter_binds_from_then_on() -> None:
    """R8: a learner counts from the moment that its entry is proposed."""
    primary = reign("ab")
    hear(primary, b=40, c=20)
    assert primary.commit_lsn(40) == 40
    primary.pending = Swap(0, 1, expand(primary.config, "c", 2))
    assert primary.effective_isr == ["a", "b", "c"]
    assert primary.commit_lsn(40) == 20


def test_an_older_config_ends_no_pending_swap() -> None:
    primary = reign("ab")
    swap = Swap(0, 7, expand(primary.config, "c", 2))
    primary.pending = swap
    primary.adopt(Owned(primary.config, 7), 0)
    assert primary.pending is swap


@given(
    st.sets(st.sampled_from("bc")),
    st.sets(st.sampled_from("bc")),
    st.dictionaries(st.sampled_from("bc"), st.integers(0, 60)),
    st.integers(START, 60),
    st.integers(1, 3),
)
def test_nothing_is_committed_that_a_counted_broker_lacks(
    isr: set[str], asked: set[str], durable: dict[str, int], own: int, min_isr: int
) -> None:
    """R3, over every confirmed and every asked ISR."""
    primary = reign("a" + "".join(sorted(isr)), min_isr=min_isr)
    asked_config = replace(primary.config, isr=("a", *sorted(asked)))
    primary.pending = Swap(0, 1, asked_config) if asked else None
    hear(primary, 60, **durable)
    commit = primary.commit_lsn(own)
    if len(isr) + 1 < min_isr:
        assert commit == 0
        return
    counted = [durable.get(broker, 0) for broker in isr | asked] + [own]
    assert commit == (min(counted) if min(counted) >= START else 0)


# R8


def test_a_learner_enters_when_it_has_all_that_is_committed() -> None:
    """R8: durable >= commit_lsn and >= the start of this reign."""
    primary = reign("ab")
    hear(primary, b=40, c=39)
    assert not primary.may_enter("c", 40, 0)
    hear(primary, c=40)
    assert primary.may_enter("c", 40, 0)
    behind = reign("ab")
    hear(behind, c=START - 1)
    assert not behind.may_enter("c", 5, 0)


def test_commits_wait_for_who_is_about_to_enter_and_not_for_ever() -> None:
    """R8: under load a learner lacks what is on its way; for a moment that is waited for."""
    primary = reign("ab")
    hear(primary, b=50, c=30)
    assert not primary.may_enter("c", 40, 0)
    assert primary.joining == "c"
    assert primary.commit_lsn(50) == 30, "an older commit stands, nothing new is committed"
    assert not primary.may_enter("c", 40, REPLICA_RETRY + 1)
    assert primary.joining == ""
    assert primary.commit_lsn(50) == 50


def test_who_entered_is_joining_no_more() -> None:
    primary = reign("ab")
    hear(primary, b=50, c=30)
    assert not primary.may_enter("c", 40, 0)
    hear(primary, c=40)
    assert primary.may_enter("c", 40, 1)
    assert primary.joining == ""


def test_a_learner_keeps_up_when_it_has_what_was_committed_a_moment_ago() -> None:
    primary = reign("ab")
    hear(primary, b=40, c=20)
    assert primary.keeping_up(20, RECONFIGURE_EVERY) == ["b", "c"]
    assert primary.keeping_up(40, 2 * RECONFIGURE_EVERY) == ["b", "c"]
    assert primary.keeping_up(40, 3 * RECONFIGURE_EVERY) == ["b"]


# R9


def test_a_member_that_is_gone_leaves_at_once() -> None:
    """R9: its broker key is gone, or another disk stands in its place."""
    primary = reign()
    assert primary.silent_members(ALIVE, START, 0) == []
    assert primary.silent_members({"a": "disk", "c": "disk"}, START, 0) == ["b"]
    assert primary.silent_members({**ALIVE, "c": "new"}, START, 0) == ["c"]


def test_a_silent_member_leaves_after_a_while() -> None:
    """R9: after so long without a `prepared`."""
    primary = reign()
    hear(primary, last_lsn=20, now=1_000, b=20, c=20)
    assert primary.silent_members(ALIVE, 20, REPLICA_SILENCE_MAX) == []
    hear(primary, last_lsn=20, now=REPLICA_SILENCE_MAX, c=20)
    assert primary.silent_members(ALIVE, 20, REPLICA_SILENCE_MAX + 1_001) == ["b"]


def test_a_member_that_answers_and_gets_nowhere_leaves_too() -> None:
    """R9: a disk that hangs answers heartbeats for ever."""
    primary = reign()
    for now in range(0, REPLICA_SILENCE_MAX + 1_000, 500):
        hear(primary, last_lsn=30, now=now, b=20, c=30)
    assert primary.silent_members(ALIVE, 30, REPLICA_SILENCE_MAX + 500) == ["b"]


def test_a_member_with_nothing_to_do_gets_nowhere_and_stays() -> None:
    primary = reign("ab")
    hear(primary, last_lsn=20, now=0, b=20)
    primary.note_idle(20, 60_000)
    hear(primary, last_lsn=21, now=60_000, b=20)
    assert primary.silent_members(ALIVE, 21, 60_001) == []


def test_who_left_for_its_slowness_keeps_up_for_a_while_before_it_enters() -> None:
    """R9: readmission needs READMISSION_STEADY, so that nothing flaps."""
    primary = reign("ab")
    late = REPLICA_SILENCE_MAX + 1
    assert primary.silent_members(ALIVE, 20, late) == ["b"]
    for now in range(late, late + READMISSION_STEADY, 1_000):
        hear(primary, last_lsn=20, now=now, b=20)
        assert primary.keeping_up(20, now) == []
    hear(primary, last_lsn=20, now=late + READMISSION_STEADY, b=20)
    assert primary.keeping_up(20, late + READMISSION_STEADY) == ["b"]


def test_a_silence_meanwhile_begins_the_wait_anew() -> None:
    """R9: it kept up all the time, or not at all."""
    primary = reign("ab")
    late = REPLICA_SILENCE_MAX + 1
    primary.silent_members(ALIVE, 20, late)
    hear(primary, last_lsn=20, now=late + READMISSION_STEADY, b=20)
    assert primary.keeping_up(20, late + READMISSION_STEADY) == []


def test_a_pause_of_the_primary_is_nobodys_silence() -> None:
    primary = reign()
    primary.excuse_silence(60_000)
    assert primary.silent_members(ALIVE, 20, 60_001) == []


# Sending


def test_what_is_not_known_to_have_come_is_sent_again_after_a_while() -> None:
    primary = reign("ab")
    hear(primary, b=START)
    progress = primary.followers["b"]
    progress.note_sent(20, 500, 0)
    primary.repeat_lost(progress, REPLICA_RETRY - 1)
    assert progress.next_lsn == 21
    primary.repeat_lost(progress, REPLICA_RETRY)
    assert (progress.next_lsn, progress.inflight_bytes) == (START + 1, 0)


def test_a_follower_is_sent_no_more_than_it_may_have_under_way() -> None:
    primary = reign("ab")
    hear(primary, b=START)
    progress = primary.followers["b"]
    progress.note_sent(20, REPLICA_INFLIGHT_BYTES_MAX, 0)
    assert not primary.may_send(progress, 1)
    hear(primary, b=20)
    assert primary.may_send(progress, 1)


def test_until_it_answers_a_follower_is_asked_once_in_a_while() -> None:
    primary = reign("ab")
    progress = primary.followers["b"]
    progress.note_sent(START, 10, 1_000)
    assert not primary.may_send(progress, 1_000 + REPLICA_RETRY - 1)
    assert primary.may_send(progress, 1_000 + REPLICA_RETRY)


def test_a_late_gap_sends_nothing_back_to_where_it_was() -> None:
    """A prepare overtook another: time repeats what is lost, if anything is."""
    primary = reign("ab")
    hear(primary, b=20)
    progress = primary.followers["b"]
    progress.note_sent(30, 10, 0)
    primary.heard_mismatch("b", 20, 0)
    assert progress.next_lsn == 31


def test_a_restarted_follower_never_lost_what_was_durable() -> None:
    """R2: what it said to have on its disk it has; a word from before that is passed over."""
    primary = reign("ab")
    primary.heard_prepared("b", received_lsn=30, durable_lsn=20, last_lsn=30, now=0)
    progress = primary.followers["b"]
    primary.heard_mismatch("b", 12, 1)
    assert (progress.is_probing, progress.received_lsn) == (False, 30)
    primary.heard_mismatch("b", 24, 1)
    assert (progress.is_probing, progress.received_lsn, progress.next_lsn) == (True, 24, 25)
    assert progress.durable_lsn == 20


def test_another_disk_of_the_same_broker_begins_with_nothing() -> None:
    """R16: an empty disk has a new incarnation and is a learner."""
    primary = reign("ab")
    hear(primary, b=40)
    copies = (ReplicaId("a", "disk"), ReplicaId("b", "new"))
    primary.adopt(Owned(SlotConfig(copies, ("a",), (), "a", 5), 2), 0)
    assert primary.followers["b"].durable_lsn == 0
    assert "c" not in primary.followers
    assert primary.effective_isr == ["a"]


def test_the_log_is_kept_for_the_isr_and_for_who_answers() -> None:
    primary = reign("ab")
    assert reign("a", replicas="a").least_durable(0) is None
    hear(primary, b=40, c=15)
    assert primary.least_durable(0) == 15
    assert primary.least_durable(REPLICA_SILENCE_MAX + 1) == 40
