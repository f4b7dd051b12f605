"""Changes of a slot's config: what each does and refuses, and that nothing committed is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker.cluster.ownership import ReplicaId, SlotConfig
from broker.cluster.transitions import (
    add_replica,
    claim,
    eligible,
    expand,
    forget_elr,
    hand_over,
    may_commit,
    remove_replica,
    replace_replica,
    revive,
    shrink,
    take_over,
)


def made(replicas: str, isr: str, elr: str = "", primary: str | None = None) -> SlotConfig:
    copies = tuple(ReplicaId(broker, "disk") for broker in replicas)
    return SlotConfig(copies, tuple(isr), tuple(elr), isr[0] if primary is None else primary, 7)


def sets_of(config: SlotConfig) -> tuple[str, str, str, int]:
    return "".join(config.isr), "".join(config.elr), config.primary, config.epoch


def test_a_claim_makes_the_sole_primary_of_epoch_one() -> None:
    assert claim(SlotConfig(), ReplicaId("b", "disk")) == SlotConfig(
        (ReplicaId("b", "disk"),), ("b",), (), "b", 1
    )


def test_a_successor_puts_the_dead_out_of_the_isr() -> None:
    assert sets_of(take_over(made("abc", "abc"), "c", "a", 2)) == ("bc", "", "c", 8)


def test_the_dead_goes_to_the_elr_when_the_isr_falls_below_its_minimum() -> None:
    assert sets_of(take_over(made("abc", "ab"), "b", "a", 2)) == ("b", "a", "b", 8)
    assert sets_of(take_over(made("abc", "ab"), "b", "a", 1)) == ("b", "", "b", 8)


def test_an_elr_member_that_is_elected_is_the_whole_isr() -> None:
    assert sets_of(take_over(made("abc", "a", "bc"), "c", "a", 2)) == ("c", "ab", "c", 8)


def test_a_primary_that_restarted_takes_over_from_itself() -> None:
    assert sets_of(take_over(made("abc", "abc"), "a", "a", 2)) == ("abc", "", "a", 8)
    assert sets_of(take_over(made("abc", "a", "b"), "a", "a", 2)) == ("a", "b", "a", 8)


def test_a_planned_handover_leaves_everybody_in_sync() -> None:
    assert sets_of(hand_over(made("abc", "abc"), "c")) == ("abc", "", "c", 8)


def test_a_revived_slot_is_taken_over_by_its_survivor_alone() -> None:
    revived = revive(made("abc", "a", "b"), "c")
    assert sets_of(revived) == ("c", "", "", 8)
    assert eligible(revived) == ("c",)
    assert sets_of(take_over(revived, "c", "", 2)) == ("c", "", "c", 9)


def test_who_leaves_the_isr_waits_in_the_elr_until_there_are_enough_again() -> None:
    alone = shrink(shrink(made("abc", "abc"), "b", 2), "c", 2)
    assert sets_of(alone) == ("a", "c", "a", 7)
    assert sets_of(expand(alone, "b", 2)) == ("ab", "", "a", 7)
    assert sets_of(expand(alone, "b", 3)) == ("ab", "c", "a", 7)
    assert sets_of(expand(alone, "c", 3)) == ("ac", "", "a", 7)


def test_a_learner_is_in_neither_set() -> None:
    config = add_replica(made("ab", "ab"), ReplicaId("c", "new"))
    assert config.incarnation_of("c") == "new"
    assert sets_of(config) == ("ab", "", "a", 7)


def test_a_replaced_copy_starts_as_a_learner_in_its_old_place() -> None:
    config = replace_replica(made("abc", "abc"), ReplicaId("b", "new"))
    assert [replica.broker for replica in config.replicas] == ["a", "b", "c"]
    assert sets_of(config) == ("ac", "", "a", 7)
    config = replace_replica(made("abc", "a", "bc"), ReplicaId("b", "new"))
    assert sets_of(config) == ("a", "c", "a", 7)


def test_a_removed_copy_is_gone_from_all_three() -> None:
    config = remove_replica(made("abc", "abc"), "b", 2)
    assert [replica.broker for replica in config.replicas] == ["a", "c"]
    assert sets_of(config) == ("ac", "", "a", 7)


def test_the_living_isr_is_elected_before_the_elr() -> None:
    config = made("abcd", "ab", "cd")
    assert eligible(config, {"a"}) == ("b",)
    assert eligible(config, {"a", "b"}) == ("c", "d")
    assert eligible(config, set("abcd")) == ()


def test_nothing_is_committed_below_the_minimum_or_while_the_elr_counts() -> None:
    assert may_commit(made("abc", "ab"), 2)
    assert not may_commit(made("abc", "a"), 2)
    assert not may_commit(made("abc", "a", "b"), 1)
    assert may_commit(forget_elr(made("abc", "a", "b"), 1), 1)


NEW = ReplicaId("d", "disk")
FULL = made("abc", "abc")
REFUSED: dict[str, Callable[[], SlotConfig]] = {
    "a claim of an owned slot": lambda: claim(FULL, NEW),
    "a takeover from who is not the primary": lambda: take_over(FULL, "c", "b", 2),
    "a takeover by a learner": lambda: take_over(made("abc", "ab"), "c", "a", 2),
    "a handover to a learner": lambda: hand_over(made("abc", "ab"), "c"),
    "a handover to an ELR member": lambda: hand_over(made("abc", "a", "b"), "b"),
    "a handover to oneself": lambda: hand_over(FULL, "a"),
    "a handover of an offline slot": lambda: hand_over(made("abc", "a", "", ""), "a"),
    "a survivor without a copy": lambda: revive(FULL, "d"),
    "a shrink by a learner": lambda: shrink(made("abc", "ab"), "c", 2),
    "a shrink by the primary": lambda: shrink(FULL, "a", 2),
    "an expansion by a stranger": lambda: expand(FULL, "d", 2),
    "an expansion by a member": lambda: expand(FULL, "b", 2),
    "a second copy of a broker": lambda: add_replica(FULL, ReplicaId("b", "new")),
    "a copy in the place of itself": lambda: replace_replica(FULL, ReplicaId("b", "disk")),
    "another disk of the primary": lambda: replace_replica(FULL, ReplicaId("a", "new")),
    "a replacement of a stranger": lambda: replace_replica(FULL, NEW),
    "a removal of the primary": lambda: remove_replica(FULL, "a", 2),
    "a removal of a stranger": lambda: remove_replica(FULL, "d", 2),
    "a removal that commits need": lambda: remove_replica(made("abc", "ab"), "b", 2),
    "forgetting an ELR that counts": lambda: forget_elr(made("abc", "a", "b"), 2),
    "forgetting an empty ELR": lambda: forget_elr(FULL, 2),
    "an ISR out of order": lambda: hand_over(made("abc", "acb"), "c"),
}


@pytest.mark.parametrize("refused", [pytest.param(r, id=name) for name, r in REFUSED.items()])
def test_what_is_not_legal_is_refused(refused: Callable[[], SlotConfig]) -> None:
    with pytest.raises(AssertionError):
        refused()


MIN_ISR = st.integers(1, 3)
BROKER = st.sampled_from("abcde")


class CommittedEntries(RuleBasedStateMachine):
    """How many entries are committed and how many each copy has, over any changes of the config.

    Every broker may know another ``min_isr``, as when it is changed and some heard of it late.
    """

    @initialize(broker=BROKER)
    def made(self, broker: str) -> None:
        self.config = claim(SlotConfig(), ReplicaId(broker, "0"))
        self.committed = 0
        self.disks = 0
        self.has = dict.fromkeys(self.config.replicas, 0)

    @rule(min_isr=MIN_ISR)
    def commit(self, min_isr: int) -> None:
        if self.config.primary and may_commit(self.config, min_isr):
            self.committed += 1
            for replica in self.config.replicas:
                if replica.broker in self.config.isr:
                    self.has[replica] = self.committed

    @precondition(lambda self: self.config.primary)
    @rule(broker=BROKER, min_isr=MIN_ISR)
    def leave_the_isr(self, broker: str, min_isr: int) -> None:
        if broker in self.config.isr and broker != self.config.primary:
            self.config = shrink(self.config, broker, min_isr)

    @precondition(lambda self: self.config.primary)
    @rule(broker=BROKER, min_isr=MIN_ISR)
    def catch_up(self, broker: str, min_isr: int) -> None:
        incarnation = self.config.incarnation_of(broker)
        if incarnation is not None and broker not in self.config.isr:
            self.has[ReplicaId(broker, incarnation)] = self.committed
            self.config = expand(self.config, broker, min_isr)

    @rule(dead=st.sets(BROKER), pick=st.integers(0, 4), min_isr=MIN_ISR)
    def take_over(self, dead: set[str], pick: int, min_isr: int) -> None:
        candidates = eligible(self.config, dead)
        if candidates:
            candidate = candidates[pick % len(candidates)]
            self.config = take_over(self.config, candidate, self.config.primary, min_isr)

    @rule(broker=BROKER)
    def hand_over(self, broker: str) -> None:
        if self.config.primary not in {"", broker} and broker in self.config.isr:
            self.config = hand_over(self.config, broker)

    @precondition(lambda self: self.config.primary)
    @rule(broker=BROKER)
    def come_with_an_empty_disk(self, broker: str) -> None:
        self.disks += 1
        replica = ReplicaId(broker, str(self.disks))
        self.has[replica] = 0
        if self.config.incarnation_of(broker) is None:
            self.config = add_replica(self.config, replica)
        elif broker != self.config.primary:
            self.config = replace_replica(self.config, replica)

    @rule(broker=BROKER, min_isr=MIN_ISR)
    def remove(self, broker: str, min_isr: int) -> None:
        needed = broker in self.config.isr and len(self.config.isr) <= min_isr
        held = self.config.incarnation_of(broker) is not None
        if held and not needed and broker != self.config.primary:
            self.config = remove_replica(self.config, broker, min_isr)

    @rule(min_isr=MIN_ISR)
    def forget(self, min_isr: int) -> None:
        if self.config.elr and len(self.config.isr) >= min_isr:
            self.config = forget_elr(self.config, min_isr)

    @rule(broker=BROKER)
    def revive(self, broker: str) -> None:
        incarnation = self.config.incarnation_of(broker)
        if incarnation is not None:
            self.config = revive(self.config, broker)
            self.committed = self.has[ReplicaId(broker, incarnation)]

    @invariant()
    def the_isr_and_the_elr_have_every_committed_entry(self) -> None:
        for replica in self.config.replicas:
            if replica.broker in {*self.config.isr, *self.config.elr}:
                assert self.has[replica] == self.committed


TestCommittedEntries = CommittedEntries.TestCase
