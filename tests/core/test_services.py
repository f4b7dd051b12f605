"""One service of a broker that is alone: who is asked, and how each call ends."""

from __future__ import annotations

import pytest

from broker import limits
from tests.support.node_rig import PEER, NodeRig
from tests.support.services import WORKER, Desk

OTHER = b"\0othr"
SECOND = b"\0wrk2"


@pytest.fixture
def desk(rig: NodeRig) -> Desk:
    """A service without workers, some time after the broker's start."""
    for peer in (WORKER, SECOND, OTHER):
        rig.hello(peer)
    rig.pass_time(limits.WORKERS_GATHER)
    return Desk(rig)


def bodies(desk: Desk, peer: bytes = WORKER) -> list[bytes]:
    return [request.frames[0] for request in desk.requests(peer)]


# A call and its reply


def test_a_call_goes_to_a_worker_and_its_answer_to_the_caller(desk: Desk) -> None:
    desk.serve()
    req = desk.call(b"EUR", content_type="text/plain", type="rate", headers={"trace": "x1"})
    (request,) = desk.requests()
    assert (request.frames, request["attempt"], request["timeout_ms"]) == ([b"EUR"], 1, 10_000)
    assert (request["content_type"], request["type"]) == ("text/plain", "rate")
    assert request["headers"] == {"trace": "x1"}
    (reply,) = desk.answer(request, b"1.08", content_type="text/plain", headers={"n": 1})
    assert (reply.peer, reply.re, reply.req, reply["end"]) == (PEER, "reply", req, True)
    assert (reply.frames, reply["content_type"], reply["headers"]) == (
        [b"1.08"],
        "text/plain",
        {"n": 1},
    )


def test_an_answer_with_a_number_is_confirmed(desk: Desk) -> None:
    desk.serve()
    desk.call()
    (request,) = desk.requests()
    given = {"service": "s", "worker": 1, "call": request["call"]}
    assert desk.rig.ask(WORKER, "answer", b"", **given).header.keys() == {"re", "req", "v"}


def test_nothing_of_a_call_is_written(desk: Desk) -> None:
    desk.serve()
    written = desk.rig.store.writes
    desk.call()
    desk.answer(desk.requests()[0])
    assert desk.rig.store.writes == written


def test_nobody_serves_a_name_and_the_caller_hears_it_at_once(desk: Desk) -> None:
    assert desk.ends(desk.call()) == ["no_responder"]
    assert desk.facts() == {}


def test_after_a_start_calls_wait_for_workers_that_are_on_their_way() -> None:
    rig = NodeRig()
    rig.hello()
    rig.hello(WORKER)
    desk = Desk(rig)
    early, late = desk.call(b"a"), desk.call(b"b", timeout_ms=limits.WORKERS_GATHER - 1)
    assert desk.ends(early) == []
    rig.pass_time(limits.WORKERS_GATHER - 1)
    assert desk.ends(late) == ["timeout"]
    desk.serve()
    desk.answer(desk.requests()[0], b"A")
    assert desk.ends(early) == [b"A"]


def test_when_no_worker_came_in_time_the_calls_that_waited_hear_so() -> None:
    rig = NodeRig()
    rig.hello()
    desk = Desk(rig)
    req = desk.call()
    rig.pass_time(limits.WORKERS_GATHER - 1)
    assert desk.ends(req) == []
    rig.pass_time(1)
    assert desk.ends(req) == ["no_responder"]


def test_a_handler_that_failed_is_told_with_its_own_words(desk: Desk) -> None:
    desk.serve()
    req = desk.call()
    (failed,) = desk.fail(desk.requests()[0], "KeyError", text="no such currency")
    assert (failed.req, failed["error"], failed.code) == (req, "handler_failed", 151)
    assert (failed["remote_error"], failed["text"]) == ("KeyError", "no such currency")


def test_a_call_without_a_number_is_refused(desk: Desk) -> None:
    desk.serve()
    desk.rig.command(PEER, "call", b"x", req=None, service="s", timeout_ms=1_000)
    (failed,) = desk.rig.run()
    assert (failed["error"], failed["cmd"], failed["service"]) == ("bad_field", "call", "s")


def test_the_number_of_a_call_that_is_not_over_is_taken(desk: Desk) -> None:
    desk.serve(concurrency=2)
    req = desk.call()
    desk.call(req=req)
    assert desk.ends(req) == ["bad_field"]
    desk.answer(desk.requests()[0], b"one")
    assert desk.ends(req)[1:] == [b"one"]
    desk.call(req=req)
    desk.answer(desk.requests()[1], b"two")
    assert desk.ends(req)[2:] == [b"two"]


# Whose turn it is


def test_the_worker_that_is_idle_longest_is_asked(desk: Desk) -> None:
    for number in (1, 2, 3):
        desk.serve(number)
    for body in (b"a", b"b", b"c"):
        desk.call(body)
    first, second, third = desk.requests()
    assert [r["worker"] for r in (first, second, third)] == [1, 2, 3]
    for request in (second, third, first):
        desk.answer(request)
    for body in (b"d", b"e", b"f"):
        desk.call(body)
    assert [r["worker"] for r in desk.requests()[3:]] == [2, 3, 1]


def test_an_idle_worker_goes_before_one_that_only_has_a_place_left(desk: Desk) -> None:
    desk.serve(1, concurrency=2)
    desk.serve(2, concurrency=2)
    for body in (b"a", b"b"):
        desk.call(body)
    desk.answer(desk.requests()[1])
    desk.call(b"c")
    desk.call(b"d")
    assert [r["worker"] for r in desk.requests()] == [1, 2, 2, 1]


def test_a_worker_has_no_more_calls_at_once_than_it_offered(desk: Desk) -> None:
    desk.serve(concurrency=2)
    for body in (b"a", b"b", b"c", b"d"):
        desk.call(body)
    assert bodies(desk) == [b"a", b"b"]
    facts = desk.facts()
    assert (facts["busy"], facts["waiting"], facts["concurrency"]) == (2, 2, 2)
    desk.answer(desk.requests()[1])
    assert bodies(desk) == [b"a", b"b", b"c"]


def test_above_the_bound_of_the_line_a_call_is_overloaded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.core.services.service.CALLS_WAITING_MAX", 2)
    desk.serve()
    reqs = [desk.call() for _ in range(4)]
    assert [desk.ends(req) for req in reqs] == [[], [], [], ["overloaded"]]


def test_above_the_bound_of_the_bodies_a_call_is_overloaded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.core.services.switchboard.CALL_BYTES_MAX", 10)
    desk.serve()
    desk.call(b"x" * 20)
    held = desk.call(b"x" * 10)
    assert desk.ends(desk.call(b"x")) == ["overloaded"]
    desk.answer(desk.requests()[0])
    assert desk.ends(held) == []
    assert desk.ends(desk.call(b"x" * 10)) == []


def test_a_session_has_a_bound_of_calls(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.core.services.service_handlers.CALLS_PER_SESSION_MAX", 1)
    desk.serve()
    desk.call()
    assert desk.ends(desk.call()) == ["limit_reached"]
    assert desk.ends(desk.call(peer=OTHER), OTHER) == []


# Ends


def test_at_its_deadline_a_call_ends_and_its_worker_is_told_to_stop(desk: Desk) -> None:
    desk.serve()
    given, waits = desk.call(timeout_ms=500), desk.call(timeout_ms=400)
    desk.rig.pass_time(399)
    assert desk.ends(waits) == []
    desk.rig.pass_time(1)
    assert desk.ends(waits) == ["timeout"]
    desk.rig.pass_time(100)
    assert desk.ends(given) == ["timeout"]
    assert desk.stopped() == [(desk.requests()[0]["call"], "timeout")]


def test_a_worker_is_busy_until_it_says_that_it_is_not(desk: Desk) -> None:
    """What was cancelled still has its place, or the next call would wait behind it in vain."""
    desk.serve()
    desk.call(timeout_ms=500)
    desk.rig.pass_time(500)
    later = desk.call()
    assert len(desk.requests()) == 1
    desk.answer(desk.requests()[0], b"too late")
    assert desk.facts()["counters"]["late"] == 1
    desk.answer(desk.requests()[1], b"in time")
    assert desk.ends(later) == [b"in time"]


def test_a_late_answer_is_confirmed_as_such(desk: Desk) -> None:
    desk.serve()
    desk.call(timeout_ms=500)
    desk.rig.pass_time(500)
    given = {"service": "s", "worker": 1, "call": desk.requests()[0]["call"]}
    assert desk.rig.ask(WORKER, "fail", error="Stopped", **given)["late"] is True
    assert desk.rig.ask(WORKER, "fail", error="Stopped", **given)["error"] == "call_not_found"


def test_the_caller_cancels_a_call_that_waits_and_one_that_is_in_hand(desk: Desk) -> None:
    desk.serve()
    given, waits = desk.call(), desk.call()
    for req in (given, waits):
        answer = desk.rig.ask(PEER, "cancel_call", service="s", call_req=req)
        assert answer["cancelled"] is True
        assert desk.ends(req) == ["cancelled"]
    assert desk.stopped() == [(desk.requests()[0]["call"], "cancelled")]
    assert desk.rig.ask(PEER, "cancel_call", service="s", call_req=given)["cancelled"] is False
    assert desk.facts()["waiting"] == 0


def test_a_caller_that_leaves_has_its_calls_cancelled(desk: Desk) -> None:
    desk.serve()
    desk.call(peer=OTHER)
    desk.call(peer=OTHER)
    desk.rig.ask(OTHER, "bye")
    assert desk.stopped() == [(desk.requests()[0]["call"], "caller_lost")]
    assert desk.answer(desk.requests()[0]) == []
    assert (desk.facts()["busy"], desk.facts()["waiting"]) == (0, 0)


def test_a_lost_worker_ends_its_call_and_an_idempotent_one_goes_to_another(desk: Desk) -> None:
    desk.serve(1)
    desk.serve(1, peer=SECOND)
    plain, again, third = desk.call(b"a"), desk.call(b"b", idempotent=True), desk.call(b"c")
    desk.rig.ask(WORKER, "bye")
    assert desk.ends(plain) == ["responder_lost"]
    desk.rig.ask(SECOND, "bye")
    # Nobody is left for either: one may have been carried out, the other was seen by nobody.
    assert (desk.ends(again), desk.ends(third)) == (["responder_lost"], ["no_responder"])


def test_a_call_that_is_sent_again_goes_ahead_of_the_line_and_says_so(desk: Desk) -> None:
    desk.serve(1)
    again = desk.call(b"b", idempotent=True)
    desk.serve(1, peer=SECOND)
    desk.call(b"a")
    desk.call(b"c")
    desk.rig.ask(WORKER, "bye")
    desk.answer(desk.requests(SECOND)[0])
    assert bodies(desk, SECOND) == [b"a", b"b"]
    request = desk.requests(SECOND)[1]
    assert request["attempt"] == 2
    desk.answer(request, b"done")
    assert desk.ends(again) == [b"done"]


def test_a_worker_that_was_silent_for_too_long_is_lost(desk: Desk) -> None:
    desk.rig.hello(b"\0wrk3", timeout_ms=2_000)
    desk.serve(peer=b"\0wrk3")
    req = desk.call()
    desk.rig.pass_time(2_000)
    assert desk.ends(req) == ["responder_lost"]


def test_unserve_finishes_what_it_has_and_takes_no_more(desk: Desk) -> None:
    desk.serve(concurrency=2)
    req = desk.call()
    assert desk.rig.ask(WORKER, "unserve", worker=1).re == "ok"
    assert desk.ends(desk.call()) == ["no_responder"]
    assert desk.serve(1)["error"] == "worker_exists"
    desk.answer(desk.requests()[0], b"done")
    assert desk.ends(req) == [b"done"]
    assert desk.serve(1).re == "ok"


def test_a_number_that_is_nobodys_is_named(desk: Desk) -> None:
    assert desk.rig.ask(WORKER, "unserve", worker=9)["error"] == "worker_not_found"
    desk.serve()
    assert desk.serve()["error"] == "worker_exists"


# Whose answer it is


def test_nobody_answers_for_another(desk: Desk) -> None:
    desk.serve(1)
    desk.serve(1, peer=SECOND)
    req = desk.call()
    given = {"service": "s", "worker": 1, "call": desk.requests()[0]["call"]}
    assert desk.rig.ask(SECOND, "answer", b"x", **given)["error"] == "call_not_found"
    assert desk.rig.ask(WORKER, "answer", b"x", **{**given, "worker": 2})["code"] == 156
    other = {**given, "service": "t"}
    assert desk.rig.ask(WORKER, "answer", b"x", **other)["error"] == "call_not_found"
    assert desk.ends(req) == []


def test_an_answer_of_a_former_reign_is_refused_by_name(desk: Desk) -> None:
    desk.serve()
    desk.call()
    former = desk.requests()[0]
    desk.rig.restart()
    for peer in (PEER, WORKER):
        desk.rig.hello(peer)
    desk.serve()
    req = desk.call()
    (failed,) = desk.answer(former)
    assert (failed["error"], failed["cmd"]) == ("call_not_found", "answer")
    assert desk.ends(req) == []
