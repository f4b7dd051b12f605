"""The exchange of interest by itself: two sides, and every way in which messages may come."""

from __future__ import annotations

from random import Random

import pytest

from broker import limits
from broker.cluster.messages import Interest, InterestKnown
from broker.node.channels.interest import InterestExchange, OwnInterest
from broker.node.channels.registry import Key

BOOT = 7


class Side:
    """What one broker has been told of the other, as it counts."""

    def __init__(self) -> None:
        self.own = OwnInterest()
        self.counts: dict[Key, int] = {}
        self.exchange = InterestExchange(self.own, BOOT, self._note)
        self.exchange.follow(["other"])

    def _note(self, broker: str, key: Key, count: int) -> None:
        assert broker == "other"
        self.counts[key] = count
        if not count:
            del self.counts[key]

    def take(self, *changes: tuple[Key, int], base: int, to: int, newest: int = 0) -> int:
        """Gives the version that is known from then on."""
        message = Interest(1, base, to, newest or to, list(changes))
        return self.exchange.take("other", BOOT, message).version


def test_changes_count_in_the_order_of_their_versions() -> None:
    side = Side()
    assert side.take(("a", 1), base=0, to=1) == 1
    assert side.take(("a", 2), ("b", 1), base=1, to=3) == 3
    assert side.take(("b", 0), base=3, to=4) == 4
    assert side.counts == {"a": 2}


def test_what_comes_twice_or_late_changes_nothing() -> None:
    side = Side()
    side.take(("a", 1), base=0, to=1)
    side.take(("a", 2), base=1, to=2)
    assert side.take(("a", 1), base=0, to=1) == 2
    assert side.counts == {"a": 2}


def test_what_does_not_continue_what_is_known_is_not_taken() -> None:
    side = Side()
    assert side.take(("a", 1), base=3, to=4) == 0
    assert side.take(("a", 1), base=0, to=2, newest=9) == 2
    assert side.take(("b", 1), base=5, to=9) == 2
    assert side.counts == {}


def test_what_overlaps_what_is_known_continues_it() -> None:
    side = Side()
    side.take(("a", 1), ("b", 1), base=0, to=2)
    assert side.take(("b", 1), ("c", 1), base=1, to=3) == 3
    assert side.counts == {"a": 1, "b": 1, "c": 1}


def test_an_edition_counts_when_all_its_parts_are_there_and_the_former_till_then() -> None:
    side = Side()
    side.take(("a", 1), ("b", 1), base=0, to=2)
    part = Interest(2, 0, 3, 5, [("c", 1)])
    assert side.exchange.take("other", BOOT, part) == InterestKnown(BOOT, 2, 3)
    assert side.counts == {"a": 1, "b": 1}
    side.exchange.take("other", BOOT, Interest(2, 3, 5, 5, [("a", 4)]))
    assert side.counts == {"c": 1, "a": 4}


def test_another_life_of_a_broker_begins_with_nothing() -> None:
    side = Side()
    side.take(("a", 1), base=0, to=1)
    assert side.exchange.take("other", 8, Interest(1, 0, 0, 0, [])).version == 0
    assert side.counts == {}


def test_a_broker_that_is_gone_listens_to_nothing() -> None:
    side = Side()
    side.take(("a", 1), (b"p", 2), base=0, to=2)
    side.exchange.follow([])
    assert side.counts == {}


def test_answers_for_a_former_life_or_edition_are_no_answers() -> None:
    side = Side()
    side.own.note("a", 1)
    [(_, _)] = side.exchange.take_due(0)
    side.exchange.take_answer("other", InterestKnown(BOOT + 1, 1, 1))
    side.exchange.take_answer("other", InterestKnown(BOOT, 2, 1))
    side.exchange.take_answer("stranger", InterestKnown(BOOT, 1, 1))
    assert side.exchange.unaware(1) == ["other"]
    side.exchange.take_answer("other", InterestKnown(BOOT, 1, 1))
    assert side.exchange.unaware(1) == []
    assert side.exchange.take_due(10_000) == []


def test_one_message_is_under_way_at_a_time() -> None:
    side = Side()
    side.own.note("a", 1)
    assert len(side.exchange.take_due(0)) == 1
    side.own.note("b", 1)
    assert side.exchange.take_due(1) == []
    assert side.exchange.next_at() == limits.REPLICA_RETRY
    [(_, again)] = side.exchange.take_due(limits.REPLICA_RETRY)
    assert again == Interest(1, 0, 2, 2, [("a", 1), ("b", 1)])


@pytest.mark.parametrize("seed", range(200))
def test_both_sides_agree_in_the_end(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INTEREST_CHANGES_MAX", 2)
    monkeypatch.setattr(limits, "INTEREST_GONE_MAX", 3)
    random = Random(seed)
    teller, hearer = Side(), Side()
    keys: list[Key] = ["a", "b", "c", b"p", b"q", "d", "e", "f"]
    wanted: dict[Key, int] = {}
    told: list[Interest] = []
    answered: list[InterestKnown] = []
    now = 0

    def exchange(loss: float) -> None:
        nonlocal now
        now += limits.REPLICA_RETRY // 2
        told.extend(message for _, message in teller.exchange.take_due(now))
        for waiting in (told, answered):
            random.shuffle(waiting)
        for message in [told.pop() for _ in range(random.randint(0, len(told)))]:
            if random.random() >= loss:
                answered.append(hearer.exchange.take("other", BOOT, message))
                if random.random() < loss:
                    told.append(message)
        for answer in [answered.pop() for _ in range(random.randint(0, len(answered)))]:
            if random.random() >= loss:
                teller.exchange.take_answer("other", answer)

    for _ in range(80):
        key = random.choice(keys)
        wanted[key] = random.randint(0, 2)
        teller.own.note(key, wanted[key])
        if random.random() < 0.05:
            teller.exchange.begin_anew("other")
        if random.random() < 0.05:
            hearer.exchange.follow([])
            hearer.exchange.follow(["other"])
            # The links say that somebody began anew.
            teller.exchange.begin_anew("other")
        exchange(loss=0.3)
    for _ in range(40):
        exchange(loss=0.0)
    assert hearer.counts == {key: count for key, count in wanted.items() if count}
    assert teller.exchange.unaware(teller.own.version) == []
