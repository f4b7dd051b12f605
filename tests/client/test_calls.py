"""The caller's side of a session: when a call is sent, sent again, withdrawn, and how it ends."""

from __future__ import annotations

import pytest

from broker.client.services import calling
from broker.errors import (
    CallCancelled,
    CallTimeout,
    HandlerFailed,
    LimitReached,
    MsgQueueError,
    NoResponder,
    Overloaded,
    ResponderLost,
)
from tests.client.call_rig import TIMEOUT_MS, answer, begin, both_connected
from tests.client.cluster_rig import Q, taken_over_by
from tests.client.rig import Rig


def test_a_call_tells_the_time_that_is_left_of_it() -> None:
    rig = Rig(connected=False)
    begin(rig)
    rig.after(1_500)
    rig.welcome()
    assert rig.only("call")["timeout_ms"] == TIMEOUT_MS - 1_500


def test_the_answer_ends_the_call() -> None:
    rig = Rig()
    call = begin(rig)
    sent = rig.only("call")
    assert sent.frames == [b"body"]
    answer(rig, sent, b"[1]", content_type="application/json", headers={"a": 1})
    found = call.value()
    assert (found.body, found.headers, found.worker) == ([1], {"a": 1}, None)


@pytest.mark.parametrize("error", [NoResponder, Overloaded, LimitReached])
def test_what_the_broker_tells_of_a_first_sending_ends_it(error: type[MsgQueueError]) -> None:
    rig = Rig()
    call = begin(rig)
    rig.refuse(rig.only("call"), error.name)
    with pytest.raises(error):
        call.value()


def test_a_handlers_failure_has_the_workers_name_for_it() -> None:
    rig = Rig()
    call = begin(rig)
    rig.refuse(rig.only("call"), "handler_failed", remote_error="OutOfStock")
    with pytest.raises(HandlerFailed) as failed:
        call.value()
    assert failed.value.remote_error == "OutOfStock"


def test_at_its_deadline_a_call_is_withdrawn() -> None:
    rig = Rig()
    call = begin(rig)
    sent = rig.only("call")
    assert rig.session.next_at() == rig.now + TIMEOUT_MS
    rig.after(TIMEOUT_MS)
    assert rig.only("cancel_call")["call_req"] == sent["req"]
    with pytest.raises(CallTimeout):
        call.value()


def test_the_brokers_word_for_the_deadline_is_the_clients() -> None:
    rig = Rig()
    call = begin(rig)
    rig.refuse(rig.only("call"), "timeout")
    with pytest.raises(CallTimeout):
        call.value()


def test_a_call_that_found_no_broker_ends_at_its_deadline() -> None:
    rig = Rig(connected=False)
    call = begin(rig)
    rig.after(TIMEOUT_MS)
    with pytest.raises(CallTimeout, match="never reached a broker"):
        call.value()


def test_deadlines_of_calls_that_are_done_wake_nobody() -> None:
    rig = Rig()
    first = rig.session.next_at()
    begin(rig)
    answer(rig, rig.only("call"))
    assert rig.session.next_at() == first


def test_a_cancelled_call_is_withdrawn_once() -> None:
    rig = Rig()
    call = begin(rig)
    rig.only("call")
    rig.session.calling.cancel(call)
    rig.session.calling.cancel(call)
    rig.only("cancel_call")
    with pytest.raises(CallCancelled):
        call.value()


def test_an_answer_after_the_end_changes_nothing() -> None:
    rig = Rig()
    call = begin(rig)
    sent = rig.only("call")
    rig.session.calling.cancel(call)
    answer(rig, sent)
    with pytest.raises(CallCancelled):
        call.value()


@pytest.mark.parametrize("name", ["not_primary", "not_enough_replicas", "shutting_down"])
def test_what_nobody_has_seen_is_sent_again(name: str) -> None:
    rig = Rig()
    call = begin(rig)
    rig.refuse(rig.only("call"), name)
    assert not call.done
    rig.after(calling.RETRY_MS)
    sent = rig.only("call")
    assert sent["timeout_ms"] == TIMEOUT_MS - calling.RETRY_MS
    answer(rig, sent)
    assert call.value().raw == b"answer"
    assert rig.session.counters.calls_resent == 1


def test_a_call_that_is_refused_for_ever_ends_at_its_deadline() -> None:
    rig = Rig()
    call = begin(rig)
    for _ in range(TIMEOUT_MS // calling.RETRY_MS):
        rig.refuse(rig.only("call"), "not_primary")
        rig.after(calling.RETRY_MS)
    with pytest.raises(CallTimeout):
        call.value()


def test_of_a_call_that_is_sent_again_a_missing_worker_may_be_on_the_way_back() -> None:
    rig = Rig()
    call = begin(rig, idempotent=True)
    rig.only("call")
    (again,) = rig.reconnect()
    rig.refuse(again, "no_responder")
    assert not call.done
    rig.after(calling.RETRY_MS)
    answer(rig, rig.only("call"))
    assert call.done


def test_a_lost_connection_ends_a_call_that_may_not_be_repeated() -> None:
    rig = Rig()
    call = begin(rig)
    rig.only("call")
    assert rig.reconnect() == []
    with pytest.raises(ResponderLost):
        call.value()


def test_an_idempotent_call_is_sent_on_the_next_connection() -> None:
    rig = Rig()
    call = begin(rig, idempotent=True)
    rig.only("call")
    (again,) = rig.reconnect()
    answer(rig, again)
    assert call.value().raw == b"answer"


def test_an_unknown_outcome_ends_a_call_that_may_not_be_repeated() -> None:
    rig = Rig()
    calls = [begin(rig), begin(rig, idempotent=True)]
    for sent in rig.sent("call"):
        rig.refuse(sent, "outcome_unknown")
    with pytest.raises(ResponderLost):
        calls[0].value()
    rig.after(calling.RETRY_MS)
    answer(rig, rig.only("call"))
    assert calls[1].value().raw == b"answer"


def test_the_parts_of_a_stream_are_taken_one_by_one() -> None:
    rig = Rig()
    call = begin(rig, stream=True)
    sent = rig.only("call")
    told = []
    call.waiters.add(lambda: told.append("news"))
    answer(rig, sent, b"1", end=False, part=0)
    assert told == ["news"]
    answer(rig, sent, b"2", end=False, part=1)
    answer(rig, sent, b"", part=2)
    taken = [call.take() for _ in range(3)]
    assert [part and part.raw for part in taken] == [b"1", b"2", None]
    assert call.done


def test_the_end_of_a_stream_may_be_a_part_itself() -> None:
    rig = Rig()
    call = begin(rig, stream=True)
    answer(rig, rig.only("call"), b"all")
    part = call.take()
    assert part is not None
    assert part.raw == b"all"


def test_the_parts_before_a_failure_are_taken_before_it_is_raised() -> None:
    rig = Rig()
    call = begin(rig, stream=True)
    sent = rig.only("call")
    answer(rig, sent, b"1", end=False, part=0)
    rig.refuse(sent, "handler_failed", remote_error="Broke")
    assert call.take() is not None
    with pytest.raises(HandlerFailed):
        call.take()


def test_a_stream_that_has_begun_is_never_repeated() -> None:
    rig = Rig()
    call = begin(rig, stream=True, idempotent=True)
    answer(rig, rig.only("call"), b"1", end=False, part=0)
    assert rig.reconnect() == []
    assert call.take() is not None
    with pytest.raises(ResponderLost):
        call.take()


def test_a_caller_that_does_not_take_its_parts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "PARTS_BYTES_MAX", 10)
    rig = Rig()
    call = begin(rig, stream=True)
    sent = rig.only("call")
    for number in range(3):
        answer(rig, sent, b"12345", end=False, part=number)
    rig.only("cancel_call")
    assert [call.take() is not None for _ in range(3)] == [True] * 3
    with pytest.raises(LimitReached):
        call.take()


def test_parts_that_are_taken_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "PARTS_BYTES_MAX", 10)
    rig = Rig()
    call = begin(rig, stream=True)
    sent = rig.only("call")
    for number in range(20):
        answer(rig, sent, b"12345", end=False, part=number)
        assert call.take() is not None
    assert not call.done


def test_a_scattered_call_tells_who_failed_and_how_many_were_asked() -> None:
    rig = Rig()
    call = begin(rig, all=-1)
    sent = rig.only("call")
    answer(rig, sent, b"1", end=False, part=0, worker=1)
    failed = {"code": 151, "error": "handler_failed", "text": "no", "remote_error": "Broke"}
    answer(rig, sent, b"", end=False, part=1, worker=0, **failed)
    answer(rig, sent, b"", part=2, asked=3, answered=2)
    first, second = call.take(), call.take()
    assert first is not None
    assert (first.worker, first.body) == (1, b"1")
    assert second is not None
    assert isinstance(second.error, HandlerFailed)
    with pytest.raises(HandlerFailed, match="no"):
        _ = second.body
    assert call.take() is None
    assert (call.done, call.asked) == (True, 3)


def test_the_end_of_a_scattered_call_may_come_a_little_late() -> None:
    rig = Rig()
    call = begin(rig, all=2)
    sent = rig.only("call")
    rig.after(TIMEOUT_MS)
    answer(rig, sent, b"", part=0, asked=2, answered=0)
    assert (call.take(), call.asked) == (None, 2)


def test_a_call_goes_to_the_owner_of_its_service() -> None:
    rig = both_connected()
    begin(rig, Q)
    assert [sent.cmd for sent in rig.at("a")] == ["call"]
    assert rig.at("b") == []


def test_an_idempotent_call_follows_its_service_to_the_next_owner() -> None:
    rig = both_connected()
    kept, lost = begin(rig, Q, idempotent=True), begin(rig, Q)
    rig.at("a", "call")
    taken_over_by(rig, "b")
    with pytest.raises(ResponderLost):
        lost.value()
    (again,) = rig.at("b", "call")
    answer(rig, again)
    assert kept.value().raw == b"answer"


def test_a_call_that_its_owner_may_still_answer_stays_there() -> None:
    rig = both_connected()
    call = begin(rig, Q)
    (sent,) = rig.at("a", "call")
    rig.move(Q, "b")
    rig.session._routing.doubt()
    rig.after(3_000)
    rig.tell_map()
    assert rig.at("b") == []
    answer(rig, sent)
    assert call.value().raw == b"answer"
