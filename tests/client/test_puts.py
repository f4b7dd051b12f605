"""What the producer's side of a session sends, and when."""

from __future__ import annotations

from typing import Any

import pytest

from broker.client.put_batch import PutBatch, PutSpec
from broker.errors import ConnectionLost, ProducerExpired, QueueFull, ResourceAlarm
from tests.client.rig import Rig, Sent


def confirm(rig: Rig, command: Sent, first: int = 0) -> None:
    rig.reply(command, first=first, count=command["count"], copies=1, slot=0, epoch=1)


def has_room(rig: Rig) -> bool:
    return rig.session.puts.queue("q").has_room


def bodies_of(commands: list[Sent]) -> list[list[Any]]:
    return [command.elements for command in commands]


def test_a_put_with_nothing_unconfirmed_goes_at_once() -> None:
    rig = Rig()
    rig.put(b"a")
    sent = rig.only("put")
    assert sent.elements == [b"a"]
    assert (sent["queue"], sent["count"], sent["seq"]) == ("q", 1, 0)
    assert sent["producer"] == b"\x07" * 16


def test_puts_gather_while_one_is_unconfirmed_and_go_together_when_it_is_confirmed() -> None:
    rig = Rig()
    rig.put(b"a", b"b", b"c")
    first = rig.only("put")
    confirm(rig, first)
    assert bodies_of(rig.sent("put")) == [[b"b", b"c"]]


def test_a_gathering_batch_goes_when_it_is_full() -> None:
    rig = Rig(batch_count=3)
    rig.put(b"a", b"1", b"2", b"3", b"4")
    assert bodies_of(rig.sent("put")) == [[b"a"], [b"1", b"2", b"3"]]


def test_a_gathering_batch_goes_when_its_linger_ends() -> None:
    rig = Rig(linger_ms=5)
    rig.put(b"a", b"b")
    assert bodies_of(rig.sent("put")) == [[b"a"]]
    assert rig.session.next_at() == rig.now + 5
    rig.after(5)
    assert bodies_of(rig.sent("put")) == [[b"b"]]


def test_a_batch_of_several_keeps_within_a_mebibyte() -> None:
    rig = Rig()
    rig.put(b"a", *[b"x" * 100_000] * 11)
    sent = rig.sent("put")
    assert [command["count"] for command in sent] == [1, 10]
    assert all(len(command.frames[-1]) <= 2**20 for command in sent)


def test_a_message_larger_than_a_batch_goes_alone() -> None:
    rig = Rig()
    rig.put(b"a", b"small", b"x" * 3_000_000)
    assert [command["count"] for command in rig.sent("put")] == [1, 1, 1]


def test_messages_with_other_properties_open_another_batch_and_keep_the_order() -> None:
    rig = Rig()
    rig.put(b"a")
    rig.put(b"b", spec=PutSpec((("type", "event"),)))
    rig.put(b"c")
    rig.session.puts.flush()
    sent = rig.sent("put")
    assert bodies_of(sent) == [[b"a"], [b"b"], [b"c"]]
    assert [command.header.get("type") for command in sent] == [None, "event", None]
    assert [command["seq"] for command in sent] == [0, 1, 2]


def test_sequences_are_counted_in_each_queue() -> None:
    rig = Rig()
    rig.put(b"a", queue="one")
    rig.put(b"b", queue="two")
    assert [(s["queue"], s["seq"]) for s in rig.sent("put")] == [("one", 0), ("two", 0)]


def test_the_confirm_tells_where_each_message_is() -> None:
    rig = Rig()
    rig.put(b"a")
    batches = rig.put(b"b", b"c")
    rig.session.puts.flush()
    _, second = rig.sent("put")
    confirm(rig, second, first=40)
    assert batches[1].part(1) == ("q", 41, "q:41", 1, False, False)


def test_after_a_reconnect_everything_unconfirmed_goes_again_in_order_with_its_sequence() -> None:
    rig = Rig(batch_count=1)
    rig.put(b"a", b"b", b"c")
    first, _, _ = rig.sent("put")
    confirm(rig, first)
    again = rig.reconnect()
    assert bodies_of(again) == [[b"b"], [b"c"]]
    assert [command["seq"] for command in again] == [1, 2]


def test_answers_may_come_in_any_order() -> None:
    rig = Rig(batch_count=1)
    batches = rig.put(b"a", b"b", b"c")
    for command in reversed(rig.sent("put")):
        confirm(rig, command, first=command["seq"])
    assert [batch.part(0).position for batch in batches] == [0, 1, 2]


def test_a_put_made_while_disconnected_goes_after_the_welcome() -> None:
    rig = Rig(connected=False)
    rig.put(b"a")
    rig.welcome()
    assert bodies_of(rig.sent("put")) == [[b"a"]]


def test_a_duplicate_counts_as_confirmed_and_has_no_position() -> None:
    rig = Rig()
    (batch,) = rig.put(b"a")
    (again,) = rig.reconnect()
    rig.reply(again, count=1, copies=1, duplicate=True)
    assert batch.part(0) == ("q", None, None, 1, True, True)
    assert rig.session.counters.batches_duplicate == 1


def test_an_alarm_makes_one_batch_ask_again_and_the_others_follow_it_in_order() -> None:
    rig = Rig(batch_count=1)
    rig.put(b"a", b"b", b"c")
    for command in rig.sent("put"):
        rig.refuse(command, "resource_alarm")
    rig.after(100)
    probe = rig.only("put")
    assert probe.elements == [b"a"]
    rig.refuse(probe, "resource_alarm")
    rig.after(3_000)
    probe = rig.only("put")
    confirm(rig, probe)
    assert bodies_of(rig.sent("put")) == [[b"b"], [b"c"]]


def test_a_full_queue_is_an_error_unless_asked_to_be_retried() -> None:
    rig = Rig()
    (batch,) = rig.put(b"a")
    rig.refuse(rig.only("put"), "queue_full")
    with pytest.raises(QueueFull):
        batch.part(0)
    patient = Rig(retried=frozenset({"queue_full"}))
    (batch,) = patient.put(b"a")
    patient.refuse(patient.only("put"), "queue_full")
    patient.after(100)
    confirm(patient, patient.only("put"))
    assert batch.part(0).position == 0


def test_a_failed_put_that_nobody_waits_for_is_kept_to_be_raised() -> None:
    rig = Rig()
    (batch,) = rig.put(b"a")
    rig.refuse(rig.only("put"), "queue_full")
    assert rig.session.puts.ignored == [batch]
    rig.session.puts.claim(batch)
    assert rig.session.puts.ignored == []


def test_a_put_that_is_never_answered_fails_at_its_time_limit() -> None:
    rig = Rig(put_timeout_ms=60_000)
    (batch,) = rig.put(b"a")
    rig.after(59_999)
    assert not batch.done
    rig.after(1)
    with pytest.raises(ConnectionLost, match="may or may not"):
        batch.part(0)


def test_a_put_refused_to_the_end_fails_with_the_refusal() -> None:
    rig = Rig(put_timeout_ms=60_000)
    (batch,) = rig.put(b"a")
    rig.refuse(rig.only("put"), "resource_alarm")
    rig.session.connection.lost(rig.now, "cut")
    rig.after(60_000)
    with pytest.raises(ResourceAlarm):
        batch.part(0)


def test_a_queue_made_anew_gets_the_batches_numbered_from_zero() -> None:
    rig = Rig(batch_count=1)
    rig.put(b"a")
    confirm(rig, rig.only("put"))
    batches = rig.put(b"b", b"c")
    second, third = rig.sent("put")
    rig.refuse(second, "producer_expired")
    rig.refuse(third, "producer_expired")
    again = rig.sent("put")
    assert bodies_of(again) == [[b"b"], [b"c"]]
    assert [command["seq"] for command in again] == [0, 1]
    for command in again:
        confirm(rig, command, first=command["seq"])
    assert [batch.part(0).position for batch in batches] == [0, 1]


def test_a_batch_that_may_have_been_taken_is_never_put_under_another_number() -> None:
    rig = Rig(batch_count=1)
    rig.put(b"a")
    confirm(rig, rig.only("put"))
    doubtful, _ = rig.put(b"b"), rig.sent("put")
    (again,) = rig.reconnect()
    fresh = rig.put(b"c")
    rig.refuse(again, "producer_expired")
    with pytest.raises(ProducerExpired):
        doubtful[0].part(0)
    *_, last = rig.sent("put")
    assert (last.elements, last["seq"]) == ([b"c"], 0)
    assert not fresh[0].done


def test_a_queue_that_never_knew_the_producer_has_taken_nothing_of_it() -> None:
    rig = Rig(batch_count=1)
    rig.put(b"a", b"b")
    first, _ = rig.sent("put")
    rig.refuse(first, "queue_full")
    again = rig.reconnect()
    assert [(sent.elements, sent["seq"]) for sent in again] == [([b"b"], 1)]
    rig.refuse(again[0], "producer_expired")
    last = rig.only("put")
    assert (last.elements, last["seq"]) == ([b"b"], 0)


def test_a_sequence_behind_a_refused_first_one_waits_for_it() -> None:
    rig = Rig(batch_count=1)
    rig.put(b"a", b"b")
    first, second = rig.sent("put")
    rig.refuse(first, "resource_alarm")
    rig.refuse(second, "producer_expired")
    rig.after(100)
    probe = rig.only("put")
    assert (probe.elements, probe["seq"]) == ([b"a"], 0)
    confirm(rig, probe)
    last = rig.only("put")
    assert (last.elements, last["seq"]) == ([b"b"], 1)


def test_there_is_no_room_beyond_the_unconfirmed_bounds() -> None:
    rig = Rig(batch_count=1)
    rig.put(*[b"x"] * 1_024)
    assert not has_room(rig)
    confirm(rig, rig.sent("put")[0])
    assert has_room(rig)
    heavy = Rig(unconfirmed_bytes_max=1_000)
    heavy.put(b"x" * 2_000)
    assert not has_room(heavy)


def test_ids_travel_in_the_columns_frame() -> None:
    rig = Rig()
    queue = rig.session.puts.queue("q")
    named = queue.begin(PutSpec((), ("ids",)), 6, rig.now)
    named.add_first(b"b", 6)
    named.add_columns({"ids": ["order-17"]})
    queue.close()
    *_, sent = rig.sent("put")
    assert len(sent.frames) == 2
    assert sent.frames[0].endswith(b"order-17")
    confirm(rig, sent)
    assert named.part(0).id == "order-17"


def test_an_answered_batch_gives_up_its_frames() -> None:
    rig = Rig()
    batches: list[PutBatch] = rig.put(b"a")
    confirm(rig, rig.only("put"))
    assert batches[0].frames == ()
    assert rig.session.puts.unconfirmed_bytes == 0
