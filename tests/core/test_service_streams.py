"""Streams of a service, the end of its broker, and what is told of it."""

from __future__ import annotations

import msgpack
import pytest

from broker import limits
from tests.support.node_rig import PEER, NodeRig
from tests.support.services import WORKER, Desk


@pytest.fixture
def desk(rig: NodeRig) -> Desk:
    """A service without workers, some time after the broker's start."""
    rig.hello(WORKER)
    rig.pass_time(limits.WORKERS_GATHER)
    return Desk(rig)


# Streams


def test_a_streamed_reply_comes_in_parts_and_ends(desk: Desk) -> None:
    desk.serve()
    req = desk.call(stream=True)
    (request,) = desk.requests()
    assert request["stream"] is True
    for body in (b"a", b"b"):
        desk.answer(request, body, end=False)
    desk.answer(request, b"c")
    replies = [s for s in desk.rig.sent if s.req == req]
    assert [(r["part"], r["end"], r.frames[0]) for r in replies] == [
        (0, False, b"a"),
        (1, False, b"b"),
        (2, True, b"c"),
    ]


def test_a_stream_may_end_by_a_failure_or_the_deadline(desk: Desk) -> None:
    desk.serve()
    failed, late = desk.call(stream=True), desk.call(stream=True, timeout_ms=900)
    desk.answer(desk.requests()[0], b"a", end=False)
    desk.fail(desk.requests()[0])
    assert desk.ends(failed) == [b"a", "handler_failed"]
    desk.answer(desk.requests()[1], b"b", end=False)
    desk.rig.pass_time(900)
    desk.answer(desk.requests()[1], b"c", end=False)
    assert desk.ends(late) == [b"b", "timeout"]
    assert desk.facts()["busy"] == 1


def test_a_caller_that_takes_its_reply_whole_is_sent_no_part(desk: Desk) -> None:
    desk.serve()
    req = desk.call()
    (failed,) = desk.answer(desk.requests()[0], b"a", end=False)
    assert (failed.peer, failed["error"]) == (WORKER, "bad_field")
    desk.answer(desk.requests()[0], b"all")
    assert desk.ends(req) == [b"all"]


# The end of the broker


def test_a_broker_that_drains_finishes_calls_in_hand_and_refuses_the_rest(desk: Desk) -> None:
    desk.serve()
    given, waits = desk.call(), desk.call()
    desk.rig.node.begin_drain(desk.rig.now)
    desk.rig.run()
    assert desk.ends(waits) == ["shutting_down"]
    assert desk.ends(desk.call()) == ["shutting_down"]
    assert not desk.rig.node.is_drained
    desk.answer(desk.requests()[0], b"done")
    assert desk.ends(given) == [b"done"]
    assert desk.rig.node.is_drained


def test_what_a_broker_ends_with_has_an_unknown_outcome(desk: Desk) -> None:
    desk.serve()
    desk.call()
    errors = [
        header["error"]
        for peer, header in _farewells(desk.rig)
        if peer == PEER and header["re"] == "failed"
    ]
    assert errors == ["outcome_unknown"]


def _farewells(rig: NodeRig) -> list[tuple[bytes, dict[str, object]]]:
    return [(peer, msgpack.unpackb(frames[0])) for peer, frames in rig.node.close(rig.now)]


# What is told


def test_a_service_says_how_its_calls_ended(desk: Desk) -> None:
    desk.serve(concurrency=3)
    for _ in range(4):
        desk.call(timeout_ms=5_000)
    desk.answer(desk.requests()[0])
    desk.fail(desk.requests()[1])
    desk.rig.pass_time(1_000)
    desk.call()
    desk.call()
    facts = desk.facts()
    assert (facts["workers"], facts["busy"], facts["waiting"]) == (1, 3, 1)
    assert facts["oldest_ms"] == 0
    desk.rig.pass_time(700)
    assert desk.facts()["oldest_ms"] == 700
    assert {name: n for name, n in facts["counters"].items() if n} == {
        "calls": 6,
        "answered": 1,
        "handler_failed": 1,
    }
    stats = desk.rig.ask(PEER, "stats")["stats"]
    assert (stats["services"], stats["workers"], stats["calls_in_hand"]) == (1, 1, 3)
    assert stats["counters"]["calls_answered"] == 1


def test_services_are_listed_by_pattern_and_page(desk: Desk) -> None:
    for number, name in enumerate(("a.x", "a.y", "b.x", "b.y")):
        desk.serve(number, service=name)
    page = desk.rig.ask(PEER, "services", max=3)
    assert ([name for name, _ in page["services"]], page["more"]) == (["a.x", "a.y", "b.x"], True)
    rest = desk.rig.ask(PEER, "services", after="b.x")
    assert ([name for name, _ in rest["services"]], rest["more"]) == (["b.y"], False)
    some = desk.rig.ask(PEER, "services", pattern="*.x")
    assert [name for name, _ in some["services"]] == ["a.x", "b.x"]
