"""What every coordinator promises, over keys in the process and over a real etcd."""

from __future__ import annotations

from dataclasses import replace

from broker.cluster.ownership import Member, SlotConfig
from broker.cluster.view import Swap, SwapOutcome
from broker.errors import BrokerIdInUse, OtherCluster, UnknownCluster
from broker.server.coordinator import Listed
from broker.server.etcd_coordinator import elapsed_ms
from tests.coordinator.places import CONFIG, Place
from tests.coordinator.watcher import owned_by, record


def test_all_keys_are_listed_before_anything_else(place: Place) -> None:
    with place.open("b1") as seen:
        seen.wait(lambda: bool(seen.events), "an event")
        first = seen.events[0]
    assert isinstance(first, Listed)
    assert first.view.config == CONFIG
    assert {slot: owned.config for slot, owned in first.view.slots.items()} == dict.fromkeys(
        range(CONFIG.slots), SlotConfig()
    )


def test_the_loop_is_woken_for_what_happens(place: Place) -> None:
    with place.open("b1") as seen:
        seen.wait_registered("b1")
        assert seen.waker.wakes >= len(seen.events)


def test_a_broker_registers_and_becomes_a_member(place: Place) -> None:
    with place.open("b1", member=Member(weight=50, zone="east")) as one, place.open("b2") as two:
        one.wait_registered("b1")
        two.wait(lambda: {"b1", "b2"} <= two.view.brokers.keys(), "both brokers")
        two.wait(lambda: {"b1", "b2"} <= two.view.members.keys(), "both members")
        assert two.view.brokers["b1"] == record()
        assert two.view.members["b1"] == Member(weight=50, zone="east")


def test_a_member_key_that_is_there_is_left_as_it_is(place: Place) -> None:
    with place.open("b1", member=Member(weight=50)) as first:
        first.wait_registered("b1")
    with place.open("b1", member=Member(weight=70)) as second:
        second.wait_registered("b1")
        assert second.view.members["b1"] == Member(weight=50)


def test_a_tenure_reaches_into_the_future(place: Place) -> None:
    started = elapsed_ms()
    with place.open("b1") as seen:
        seen.wait_registered("b1")
        assert seen.deadlines[0] > started


def test_a_swap_of_the_current_revision_is_done_and_seen_by_all(place: Place) -> None:
    with place.open("b1") as one, place.open("b2") as two:
        answer = one.swap(2, owned_by("b1"))
        assert answer.outcome is SwapOutcome.DONE
        assert answer.owned is not None
        assert answer.owned.config == owned_by("b1")
        for seen in (one, two):
            seen.wait_slot(2, owned_by("b1"))
            assert seen.view.slots[2] == answer.owned


def test_of_two_swaps_of_one_revision_the_second_meets_what_the_first_wrote(place: Place) -> None:
    with place.open("b1") as one:
        one.wait(lambda: 0 in one.view.slots, "the slots")
        revision = one.view.slots[0].revision
        for broker in ("b1", "b2"):
            one.coordinator.swap(Swap(0, revision, owned_by(broker)))
        one.wait(lambda: len(one.answers) == 2, "two answers")
        (_, done), (_, conflict) = one.answers
        assert done.outcome is SwapOutcome.DONE
        assert conflict.outcome is SwapOutcome.CONFLICT
        assert conflict.owned == done.owned


def test_swaps_are_answered_once_each_and_in_order(place: Place) -> None:
    with place.open("b1") as seen:
        seen.wait(lambda: len(seen.view.slots) == CONFIG.slots, "the slots")
        swaps = [
            Swap(slot, seen.view.slots[slot].revision, owned_by("b1", epoch))
            for epoch in (1, 2)
            for slot in range(CONFIG.slots)
        ]
        for swap in swaps:
            seen.coordinator.swap(swap)
        seen.wait(lambda: len(seen.answers) >= len(swaps), "all answers")
        assert [swap for swap, _ in seen.answers] == swaps


def test_a_new_record_is_seen_by_the_others(place: Place) -> None:
    with place.open("b1") as one, place.open("b2") as two:
        one.wait_registered("b1")
        one.coordinator.update_record(replace(record(), leaving=True))
        two.wait(lambda: two.view.brokers.get("b1") == replace(record(), leaving=True), "leaving")


def test_a_broker_that_closes_is_gone_and_stays_a_member(place: Place) -> None:
    with place.open("b2") as two:
        with place.open("b1") as one:
            one.wait_registered("b1")
            two.wait(lambda: "b1" in two.view.brokers, "b1 alive")
        two.wait(lambda: "b1" not in two.view.brokers, "b1 gone")
        assert "b1" in two.view.members
        assert "b2" in two.view.brokers


def test_a_swap_after_the_end_changes_nothing(place: Place) -> None:
    with place.open("b1") as one, place.open("b2") as two:
        one.wait(lambda: 0 in one.view.slots, "the slots")
        one.coordinator.close()
        one.coordinator.swap(Swap(0, one.view.slots[0].revision, owned_by("b1")))
        two.swap(1, owned_by("b2"))
        two.wait_slot(1, owned_by("b2"))
        assert two.view.slots[0].config == SlotConfig()


def test_a_second_broker_of_the_same_id_and_another_disk_is_refused(place: Place) -> None:
    with place.open("b1") as first:
        first.wait_registered("b1")
        with place.open("b1", incarnation="i2") as second:
            assert isinstance(second.wait_failure(), BrokerIdInUse)
            assert second.deadlines == []
        first.take()
        assert first.failures == []
        assert first.view.brokers["b1"] == record()


def test_an_id_is_free_again_when_its_holder_has_closed(place: Place) -> None:
    with place.open("b1") as first:
        first.wait_registered("b1")
    with place.open("b1", incarnation="i2") as second:
        second.wait_registered("b1")
        assert second.view.brokers["b1"].incarnation == "i2"


def test_a_cluster_that_was_never_made_is_refused_by_name(empty_place: Place) -> None:
    with empty_place.open("b1") as seen:
        failure = seen.wait_failure()
    assert isinstance(failure, UnknownCluster)
    assert "msgqueue cluster init" in failure.text


def test_a_cluster_of_another_id_is_refused_and_left_untouched(place: Place) -> None:
    with place.open("b1", cluster_id="decade") as wrong:
        assert isinstance(wrong.wait_failure(), OtherCluster)
        assert wrong.lists == 0
    with place.open("b2", cluster_id=CONFIG.id) as right:
        right.wait_registered("b2")
        assert right.view.members.keys() == {"b2"}
