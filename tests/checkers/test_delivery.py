"""The delivery checkers pass good histories and refuse each kind of bad one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.testing.delivery import (
    check_acked_stays_gone,
    check_attempts,
    check_producer_order,
    check_total_queue,
)
from broker.testing.history import Event, Kind


class Story:
    """Writes a history event by event, one instant after another."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def tell(
        self,
        kind: Kind,
        *ids: str,
        at: Sequence[int] = (),
        attempts: int = 0,
        actor: str = "a",
        epoch: int = 1,
        until: int = 0,
    ) -> Story:
        columns = ids, tuple(at), (attempts,) * len(ids)
        self.events.append(Event(len(self.events), kind, actor, *columns, epoch, until))
        return self

    def put(self, *ids: str, actor: str = "a") -> Story:
        return self.tell(Kind.PUT, *ids, actor=actor)

    def confirmed(self, *ids: str) -> Story:
        return self.tell(Kind.CONFIRMED, *ids)

    def delivered(self, *ids: str, at: Sequence[int], attempts: int = 0, epoch: int = 1) -> Story:
        return self.tell(Kind.DELIVERED, *ids, at=at, attempts=attempts, epoch=epoch)

    def acked(self, *ids: str, epoch: int = 1, until: int = 0) -> Story:
        return self.tell(Kind.ACKED, *ids, epoch=epoch, until=until)

    def drained(self) -> list[Event]:
        return self.tell(Kind.DRAINED).events


def test_a_quiet_history_is_valid_and_its_counts_tell_what_was_judged() -> None:
    story = Story().put("x", "y").confirmed("x", "y").delivered("x", "y", at=[0, 1])
    verdict = check_total_queue(story.drained())
    assert verdict.valid
    assert verdict.counts["confirmed"] == verdict.counts["delivered"] == 2


def test_a_confirmed_message_that_never_comes_is_lost() -> None:
    story = Story().put("x", "y").confirmed("x", "y").delivered("x", at=[0])
    verdict = check_total_queue(story.drained())
    assert verdict.breaches == ("lost: y was confirmed and never delivered",)


def test_an_unanswered_put_may_come_or_not() -> None:
    story = Story().put("x").put("y").delivered("y", at=[0])
    verdict = check_total_queue(story.drained())
    assert verdict.valid
    assert verdict.counts["recovered"] == 1


def test_a_message_that_nobody_put_is_unexpected() -> None:
    verdict = check_total_queue(Story().put("x").delivered("z", at=[0]).drained())
    assert verdict.breaches == ("unexpected: z was never put",)


def test_a_refused_message_must_not_come() -> None:
    story = Story().put("x").tell(Kind.REFUSED, "x").delivered("x", at=[0])
    verdict = check_total_queue(story.drained())
    assert verdict.breaches == ("unexpected: x was refused, yet delivered",)


def test_a_message_at_two_positions_is_doubled() -> None:
    story = Story().put("x").confirmed("x").delivered("x", at=[0]).delivered("x", at=[7])
    verdict = check_total_queue(story.drained())
    assert verdict.breaches == ("doubled: x at positions [0, 7]",)


def test_a_message_that_comes_twice_at_its_position_is_only_redelivered() -> None:
    story = Story().put("x").confirmed("x").delivered("x", at=[0]).delivered("x", at=[0])
    verdict = check_total_queue(story.drained())
    assert verdict.valid
    assert verdict.counts["redelivered"] == 1


def test_loss_is_not_judged_before_the_queue_is_drained() -> None:
    story = Story()
    story.put("x").drained()
    with pytest.raises(ValueError, match="not drained"):
        check_total_queue(story.put("y").events)


def test_a_message_that_comes_back_after_its_confirmed_ack_is_found() -> None:
    story = Story().delivered("x", at=[0]).acked("x").delivered("x", at=[0])
    verdict = check_acked_stays_gone(story.events)
    assert len(verdict.breaches) == 1
    assert "came back: x" in verdict.breaches[0]


def test_a_message_may_come_often_before_its_ack_is_confirmed() -> None:
    story = Story().delivered("x", at=[0]).delivered("x", at=[0], attempts=1).acked("x")
    assert check_acked_stays_gone(story.events).valid


def test_a_delivery_of_a_later_reign_comes_back_whenever_it_was_noted() -> None:
    story = Story().tell(Kind.DELIVERED, "x", at=[0], epoch=2, actor="b")
    story.delivered("x", at=[0]).acked("x")
    assert not check_acked_stays_gone(story.events).valid


def test_a_consumer_may_settle_with_an_older_token_what_it_got_again() -> None:
    story = Story().delivered("x", at=[0]).delivered("x", at=[0], epoch=2).acked("x")
    assert check_acked_stays_gone(story.events).valid
    again = story.tell(Kind.DELIVERED, "x", at=[0], epoch=2, actor="b")
    assert not check_acked_stays_gone(again.events).valid


def test_a_delivery_of_an_older_reign_may_be_noted_late() -> None:
    story = Story().delivered("x", at=[0], epoch=2).acked("x", epoch=2)
    assert check_acked_stays_gone(story.delivered("x", at=[0], epoch=1).events).valid


def test_a_settle_that_was_sent_again_may_be_of_a_reign_that_delivered_nothing_before() -> None:
    story = Story().delivered("x", at=[0])
    story.tell(Kind.DELIVERED, "x", at=[0], epoch=2, actor="b").acked("x", until=3)
    assert check_acked_stays_gone(story.events).valid
    again = story.tell(Kind.DELIVERED, "x", at=[0], epoch=3, actor="b")
    assert not check_acked_stays_gone(again.events).valid


@pytest.mark.parametrize(("attempts", "valid"), [(0, True), (3, True), (4, False)])
def test_attempts_stay_below_the_limit(attempts: int, valid: bool) -> None:
    story = Story().delivered("x", at=[0], attempts=attempts)
    assert check_attempts(story.events, 4).valid is valid


def test_a_confirmed_return_is_counted_in_every_later_delivery() -> None:
    story = Story().delivered("x", at=[0]).tell(Kind.NACKED, "x")
    assert check_attempts(story.delivered("x", at=[0], attempts=1).events).valid
    verdict = check_attempts(story.delivered("x", at=[0], attempts=0, epoch=2).events)
    assert verdict.breaches == ("x tells 0 attempts, 1 were confirmed",)


def test_the_order_of_one_producer_is_the_order_of_positions() -> None:
    story = Story().put("x").put("y").delivered("y", at=[0]).delivered("x", at=[1])
    verdict = check_producer_order(story.events)
    assert verdict.breaches == ("a: y at 0 after x at 1",)


def test_a_batch_is_put_in_the_order_of_its_ids() -> None:
    story = Story().put("x", "y").delivered("x", "y", at=[1, 0])
    assert not check_producer_order(story.events).valid


def test_two_producers_have_no_order_between_them() -> None:
    story = Story().put("x", actor="a").put("y", actor="b").delivered("y", "x", at=[0, 1])
    assert check_producer_order(story.events).valid


def test_a_verdict_spells_out_some_breaches_and_counts_the_rest() -> None:
    ids = [str(number) for number in range(30)]
    verdict = check_total_queue(Story().put(*ids).confirmed(*ids).drained())
    assert len(str(verdict).splitlines()) == 12
    assert str(verdict).endswith("and 20 more")


@given(
    batches=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    again=st.sets(st.integers(0, 7)),
    unanswered=st.sets(st.integers(0, 7)),
    fault=st.sampled_from(["none", "lose", "double", "return"]),
)
def test_a_simulated_queue_is_valid_until_a_fault_is_planted(
    batches: list[int], again: set[int], unanswered: set[int], fault: str
) -> None:
    story = Story()
    next_position = 0
    for number, count in enumerate(batches):
        ids = [f"{number}.{index}" for index in range(count)]
        positions = range(next_position, next_position + count)
        next_position += count
        story.put(*ids)
        if number not in unanswered:
            story.confirmed(*ids)
        story.delivered(*ids, at=positions)
        if number in again:
            story.delivered(*ids, at=positions, attempts=1)
        story.acked(*ids)
    if fault == "lose":
        story.put("last").confirmed("last")
    elif fault == "double":
        story.delivered("0.0", at=[next_position])
    elif fault == "return":
        story.delivered("0.0", at=[0])
    events = story.drained()
    assert check_total_queue(events).valid is (fault in {"none", "return"})
    assert check_acked_stays_gone(events).valid is (fault in {"none", "lose"})
    assert check_attempts(events, 2).valid
    assert check_producer_order(events).valid is (fault != "double" or next_position == 1)
