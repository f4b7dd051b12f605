"""Calls that ask several workers: one share each, told as they come, and one last word."""

from __future__ import annotations

from typing import Any

import pytest

from broker.limits import WORKERS_GATHER
from tests.support.node_rig import PEER, NodeRig
from tests.support.services import WORKER, Desk

SECOND = b"\0wrk2"


@pytest.fixture
def desk(rig: NodeRig) -> Desk:
    """Three workers of one session, with one place each."""
    rig.hello(WORKER)
    rig.hello(SECOND)
    rig.pass_time(WORKERS_GATHER)
    desk = Desk(rig)
    for number in (1, 2, 3):
        desk.serve(number)
    return desk


def told(desk: Desk, req: int) -> list[dict[str, Any]]:
    """The caller's replies: of shares (worker, body or error), then (asked, answered)."""
    return [
        {**s.header, "body": s.frames[0] if s.frames else b""}
        for s in desk.rig.sent
        if s.req == req
    ]


def shares(desk: Desk, req: int) -> list[Any]:
    return [
        (reply["worker"], reply.get("error", reply["body"]))
        for reply in told(desk, req)
        if "worker" in reply
    ]


def last(desk: Desk, req: int) -> tuple[int, int]:
    reply = told(desk, req)[-1]
    assert (reply["re"], reply["end"]) == ("reply", True)
    return reply["asked"], reply["answered"]


def test_all_workers_are_asked_and_told_apart(desk: Desk) -> None:
    req = desk.call(all=-1)
    first, second, third = desk.requests()
    assert {r["worker"] for r in (first, second, third)} == {1, 2, 3}
    desk.answer(third, b"C")
    desk.answer(first, b"A")
    desk.fail(second, "Broken")
    assert shares(desk, req) == [(2, b"C"), (0, b"A"), (1, "handler_failed")]
    assert told(desk, req)[2]["remote_error"] == "Broken"
    assert [reply["part"] for reply in told(desk, req)] == [0, 1, 2, 3]
    assert last(desk, req) == (3, 2)


def test_so_many_workers_are_asked_those_idle_longest_first(desk: Desk) -> None:
    desk.call()
    desk.call(all=2)
    assert [r["worker"] for r in desk.requests()] == [1, 2, 3]
    req = desk.call(all=9)
    assert last_asked(desk, req) == 3


def last_asked(desk: Desk, req: int) -> int:
    """All that were asked answer, one after the other."""
    for request in [r for r in desk.requests() if r["call"]]:
        desk.answer(request)
    for request in desk.requests()[3:]:
        desk.answer(request)
    return last(desk, req)[0]


def test_a_worker_without_a_place_is_asked_when_it_has_one(desk: Desk) -> None:
    desk.call(b"before")
    req = desk.call(b"all", all=-1)
    assert len(desk.requests()) == 3
    desk.answer(desk.requests()[0])
    assert desk.requests()[3]["worker"] == 1
    for request in desk.requests()[1:]:
        desk.answer(request, b"here")
    assert last(desk, req) == (3, 3)


def test_the_deadline_ends_it_with_what_came(desk: Desk) -> None:
    desk.call(b"before")
    req = desk.call(all=-1, timeout_ms=500)
    asked = desk.requests()[1:]
    desk.answer(asked[0], b"A")
    desk.rig.pass_time(500)
    assert last(desk, req) == (3, 1)
    assert desk.stopped() == [(asked[1]["call"], "timeout")]
    desk.answer(asked[1], b"late")
    desk.answer(desk.requests()[0])
    assert len(desk.requests()) == 3, "who was not asked in time is not asked any more"
    assert len(told(desk, req)) == 2


def test_a_lost_worker_is_told_for_its_share(desk: Desk) -> None:
    desk.serve(1, peer=SECOND)
    req = desk.call(all=-1)
    desk.rig.ask(SECOND, "bye")
    assert shares(desk, req) == [(3, "responder_lost")]
    for request in desk.requests():
        desk.answer(request)
    assert last(desk, req) == (4, 3)


def test_one_that_leaves_before_it_was_asked_is_told_for_its_share(desk: Desk) -> None:
    desk.call(b"before")
    req = desk.call(all=-1)
    desk.rig.ask(WORKER, "unserve", worker=1)
    assert shares(desk, req) == [(2, "no_responder")]


def test_the_caller_cancels_all_shares(desk: Desk) -> None:
    req = desk.call(all=-1)
    assert desk.rig.ask(PEER, "cancel_call", service="s", call_req=req)["cancelled"]
    assert desk.ends(req) == ["cancelled"]
    assert [reason for _, reason in desk.stopped()] == ["cancelled"] * 3


def test_nobody_to_ask_and_what_excludes_it_are_named(desk: Desk) -> None:
    assert desk.ends(desk.call(service="t", all=-1)) == ["no_responder"]
    assert desk.ends(desk.call(all=-1, stream=True)) == ["bad_field"]
    assert desk.ends(desk.call(all=-1, idempotent=True)) == ["bad_field"]
    assert desk.ends(desk.call(all=0)) == ["bad_field"]
