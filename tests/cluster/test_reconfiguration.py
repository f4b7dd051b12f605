"""The way from any legal config to the ring's target: bounded, one safe change at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from broker.cluster.ownership import ReplicaId, SlotConfig
from broker.cluster.reconfiguration import next_step, takeover_rank
from broker.cluster.transitions import eligible, shrink, take_over

BROKERS = tuple("abcdefg")
#: More than adding, expanding, removing and replacing every broker, and two handovers.
STEPS_MAX = 4 * len(BROKERS) + 2


@dataclass
class Situation:
    """What the primary of a slot knows; by default all brokers live, keep up and stay."""

    config: SlotConfig
    target: tuple[str, ...]
    alive: dict[str, str] = field(default_factory=lambda: dict.fromkeys(BROKERS, "disk"))
    behind: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    unfit: frozenset[str] = frozenset()
    min_isr: int = 2
    replication: int = 3

    def next(self) -> SlotConfig | None:
        return next_step(
            self.config,
            self.target,
            self.alive,
            set(self.alive) - self.behind,
            self.leaving,
            self.min_isr,
            self.replication,
            self.unfit,
        )

    def die(self, *brokers: str) -> None:
        """As a cluster answers to deaths: a takeover where the primary is dead, then shrinks."""
        for broker in brokers:
            self.alive.pop(broker, None)
        config = self.config
        if config.primary in brokers:
            order = {takeover_rank(config, broker, self.alive): broker for broker in BROKERS}
            config = take_over(config, order[0], config.primary, self.min_isr)
        for broker in brokers:
            if broker in config.isr:
                config = shrink(config, broker, self.min_isr)
        self.config = config

    def settle(self) -> list[SlotConfig]:
        """Every config on the way until there is nothing to do."""
        way = [self.config]
        while (step := self.next()) is not None:
            assert len(way) <= STEPS_MAX, way
            way.append(step)
            self.config = step
        return way


def made(replicas: str, isr: str, elr: str = "", primary: str = "") -> SlotConfig:
    copies = tuple(ReplicaId(broker, "disk") for broker in replicas)
    return SlotConfig(copies, tuple(isr), tuple(elr), primary or isr[0], 7)


def brokers_of(config: SlotConfig) -> str:
    return "".join(replica.broker for replica in config.replicas)


def test_a_sole_owner_becomes_three_and_hands_over_to_the_first_target() -> None:
    way = Situation(made("a", "a"), ("b", "a", "c")).settle()
    assert [(brokers_of(step), "".join(step.isr), step.primary) for step in way] == [
        ("a", "a", "a"),
        ("ab", "a", "a"),
        ("abc", "a", "a"),
        ("abc", "ab", "a"),
        ("abc", "abc", "a"),
        ("abc", "abc", "b"),
    ]


def test_with_one_of_three_dead_there_is_nothing_to_do() -> None:
    now = Situation(made("abc", "abc"), ("a", "b", "c"))
    now.die("c")
    assert now.next() is None
    assert brokers_of(now.config) == "abc"


def test_a_dead_target_keeps_the_living_copies_where_they_are() -> None:
    now = Situation(made("abcd", "abcd"), ("a", "b", "d"))
    now.die("b")
    assert now.next() is None
    now.alive["b"] = "disk"
    now.settle()
    assert set(brokers_of(now.config)) == set(now.config.isr) == {"a", "b", "d"}


def test_while_a_target_is_dead_another_copy_is_taken_into_the_isr() -> None:
    now = Situation(made("abc", "ac"), ("a", "b", "d"), behind=frozenset("d"))
    now.die("b", "c")
    assert now.config.elr == ("c",)
    now.alive["c"] = "disk"
    assert [step.isr for step in now.settle()][-1] == ("a", "c")


def test_copies_beyond_the_replication_go_while_a_target_is_dead() -> None:
    now = Situation(made("abcde", "abcde"), ("a", "b", "d"))
    now.die("b")
    now.settle()
    assert "".join(now.config.isr) in {"acd", "ade"}
    assert now.config.incarnation_of("b") == "disk"


def test_a_learner_that_is_no_target_is_removed_without_a_detour() -> None:
    for target in ("abc", "ab"):
        step = Situation(made("abcd", target), tuple(target)).next()
        assert step is not None
        assert step.isr == tuple(target)
        assert len(step.replicas) == 3


def test_a_primary_that_is_no_target_hands_over_and_its_successor_removes_it() -> None:
    way = Situation(made("abc", "abc"), ("b", "c", "d")).settle()
    assert [(brokers_of(step), step.primary) for step in way[-2:]] == [("abcd", "b"), ("bcd", "b")]


def test_five_brokers_drain_to_three() -> None:
    now = Situation(made("dea", "dea"), ("a", "b", "c"))
    way = now.settle()
    assert set(brokers_of(now.config)) == set(now.config.isr) == {"a", "b", "c"}
    assert now.config.primary == "a"
    assert all(len(step.isr) >= 3 for step in way)


def test_draining_below_min_isr_keeps_the_copies_that_commits_need() -> None:
    now = Situation(made("ab", "ab"), ("a",))
    assert now.next() is None


def test_a_copy_that_lost_its_disk_learns_anew_before_anything_else() -> None:
    now = Situation(made("abc", "abc"), ("b", "a", "c"))
    now.alive["c"] = "another"
    step = now.next()
    assert step is not None
    assert step.isr == ("a", "b")
    assert step.incarnation_of("c") == "another"


def test_a_leaving_primary_hands_over_at_once_and_gets_its_slot_back() -> None:
    now = Situation(made("abc", "abc"), ("a", "b", "c"), leaving=frozenset("a"))
    assert [step.primary for step in now.settle()] == ["a", "b"]
    now.leaving = frozenset()
    assert [step.primary for step in now.settle()] == ["b", "a"]


def test_a_leaving_primary_hands_over_to_no_other_that_leaves_or_is_behind() -> None:
    now = Situation(
        made("abc", "abc"), ("a", "b", "c"), leaving=frozenset("ab"), behind=frozenset("c")
    )
    assert now.next() is None


def test_who_is_unfit_holds_a_copy_and_is_no_heir() -> None:
    now = Situation(made("abc", "bc", primary="b"), ("a", "b", "c"), unfit=frozenset("a"))
    assert [step.primary for step in now.settle()] == ["b", "b"]
    assert set(now.config.isr) == set("abc")
    now.leaving = frozenset("b")
    assert [step.primary for step in now.settle()] == ["b", "c"]


def test_a_primary_that_is_a_target_yields_to_the_first_target_alone() -> None:
    now = Situation(made("abc", "abc", primary="c"), ("a", "b", "c"), behind=frozenset("a"))
    assert now.next() is None


def test_an_elr_that_a_lower_min_isr_left_behind_is_forgotten_first() -> None:
    now = Situation(made("abc", "a", "b"), ("a", "b", "c"), min_isr=1)
    step = now.next()
    assert step is not None
    assert (step.isr, step.elr) == (("a",), ())


def test_targets_try_first_in_the_rings_order() -> None:
    config = made("abcd", "abcd")
    alive = dict.fromkeys("bcd", "disk")
    assert [takeover_rank(config, broker, alive) for broker in "abcd"] == [None, 0, 1, 2]
    assert [takeover_rank(config, b, alive, ("a", "d", "c")) for b in "abcd"] == [None, 2, 1, 0]


def test_a_broker_with_another_disk_is_not_eligible() -> None:
    config = made("abc", "ab", "")
    assert takeover_rank(config, "b", {"b": "another", "c": "disk"}) is None
    assert takeover_rank(config, "c", {"b": "another", "c": "disk"}) is None


def test_the_elr_is_asked_when_the_whole_isr_is_dead() -> None:
    config = made("abc", "a", "bc")
    assert takeover_rank(config, "c", {"c": "disk"}) == 0
    assert takeover_rank(config, "c", {"a": "disk", "c": "disk"}) is None


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    min_isr = draw(st.integers(1, 3))
    replication = draw(st.integers(min_isr, 4))
    held = draw(st.lists(st.sampled_from(BROKERS), unique=True, min_size=1))
    isr = draw(st.lists(st.sampled_from(held), unique=True, min_size=1))
    rest = [broker for broker in held if broker not in isr]
    short = rest and len(isr) < min_isr
    elr = draw(st.lists(st.sampled_from(rest), unique=True)) if short else []
    target = draw(
        st.lists(st.sampled_from(BROKERS), unique=True, min_size=min_isr, max_size=replication)
    )
    config = SlotConfig(
        tuple(ReplicaId(broker, "disk") for broker in held),
        tuple(broker for broker in held if broker in isr),
        tuple(broker for broker in held if broker in elr),
        draw(st.sampled_from(isr)),
        draw(st.integers(1, 9)),
    )
    return Situation(config, tuple(target), min_isr=min_isr, replication=replication)


@st.composite
def troubled(draw: st.DrawFn) -> Situation:
    """Some brokers dead, leaving, behind, or back with another disk; the primary is alive."""
    now = draw(situations())
    others = [broker for broker in BROKERS if broker != now.config.primary]
    for broker in draw(st.lists(st.sampled_from(others), unique=True)):
        del now.alive[broker]
    for broker in draw(st.lists(st.sampled_from(others), unique=True)):
        if broker in now.alive:
            now.alive[broker] = "another"
    now.leaving = frozenset(draw(st.lists(st.sampled_from(BROKERS))))
    now.behind = frozenset(draw(st.lists(st.sampled_from(BROKERS))))
    return now


@given(situations())
def test_where_all_live_the_target_is_reached(now: Situation) -> None:
    now.settle()
    assert set(brokers_of(now.config)) == set(now.config.isr) == set(now.target)
    assert now.config.primary == now.target[0]
    assert now.config.elr == ()


@given(troubled())
def test_every_step_is_safe_and_the_steps_end(now: Situation) -> None:
    way = now.settle()
    for old, new in pairwise(way):
        assert new.epoch == old.epoch + (new.primary != old.primary)
        changed = {*old.replicas} ^ {*new.replicas}
        assert len({replica.broker for replica in changed}) <= 1
        assert len({*old.isr} ^ {*new.isr}) <= 1
        for broker in {*old.isr} - {*new.isr}:
            if now.alive.get(broker, "disk") == "disk":
                assert_may_go(now, old, broker)


def assert_may_go(now: Situation, old: SlotConfig, broker: str) -> None:
    """What stays in sync, alive and staying, is enough without ``broker``."""
    left = {
        other
        for other in old.isr
        if other == old.primary or (other in now.alive and other not in now.leaving)
    } - {broker}
    assert broker not in now.target
    assert broker != old.primary
    assert len(left) >= now.min_isr
    assert left >= set(now.target) or len(left) >= now.replication


@given(troubled(), st.sets(st.sampled_from(BROKERS)))
def test_after_the_trouble_the_target_is_reached_still(now: Situation, dying: set[str]) -> None:
    now.settle()
    electable = eligible(now.config, dying)
    if any(now.alive.get(b) == now.config.incarnation_of(b) for b in electable):
        now.die(*dying)
        now.settle()
    now.alive |= {broker: now.alive.get(broker, "disk") for broker in BROKERS}
    now.leaving = now.behind = frozenset()
    now.settle()
    assert set(brokers_of(now.config)) == set(now.config.isr) == set(now.target)
    assert now.config.primary == now.target[0]


@given(troubled())
def test_the_rank_numbers_the_living_eligible_without_a_gap(now: Situation) -> None:
    alive = {b: disk for b, disk in now.alive.items() if b != now.config.primary}
    ranks = [takeover_rank(now.config, broker, alive, now.target) for broker in BROKERS]
    tried = sorted(rank for rank in ranks if rank is not None)
    assert tried == list(range(len(tried)))
    for broker, rank in zip(BROKERS, ranks, strict=True):
        if rank is not None:
            take_over(now.config, broker, now.config.primary, now.min_isr)
