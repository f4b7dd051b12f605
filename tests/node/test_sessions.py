"""Sessions: who speaks, how a session ends, and what its messages cost then."""

from __future__ import annotations

from broker.errors import (
    LimitReached,
    NoSession,
    RoutingIdNotAllowed,
    SessionClosed,
    ShuttingDown,
)
from broker.limits import GETS_WAITING_PER_SESSION_MAX
from tests.support.node_rig import PEER, NodeRig, Sent

OTHER = b"\0othr"


def consume(rig: NodeRig, credit: int = 5, **fields: int) -> Sent:
    rig.command(PEER, "consume", queue="q", consumer=1, credit=credit, **fields)
    return next(s for s in rig.run() if s.re == "messages")


def attempts(rig: NodeRig, peer: bytes = PEER) -> list[int]:
    rig.hello(peer)
    return [m.attempts for m in rig.get("q", peer=peer).messages()]


def test_a_command_before_hello_has_no_session(rig: NodeRig) -> None:
    for cmd in ("ping", "bye", "queues", "stats"):
        assert rig.ask(OTHER, cmd).code == NoSession.code


def test_a_peer_that_chose_its_own_id_is_refused(rig: NodeRig) -> None:
    for peer in (b"chosen", b"ident", b"\0ab"):
        assert rig.ask(peer, "hello", client="x").code == RoutingIdNotAllowed.code


def test_hello_carries_the_bounds_in_force(rig: NodeRig) -> None:
    welcome = rig.hello(OTHER, timeout_ms=2_000)
    assert (welcome["timeout_ms"], welcome["broker"]) == (2_000, "b1")
    assert welcome["limits"]["batch_count_max"] == 10_000


def test_a_silent_session_ends_and_is_charged_for_what_it_had_in_hand() -> None:
    rig = NodeRig()
    rig.hello(timeout_ms=5_000)
    rig.put("q", b"a", b"b", b"c")
    consume(rig, concurrency=2)
    rig.pass_time(4_999)
    assert rig.sent[-1].re != "closed"
    (closed,) = rig.pass_time(1)
    assert (closed.re, closed.code) == ("closed", SessionClosed.code)
    assert rig.ask(PEER, "ping").code == NoSession.code
    assert attempts(rig) == [1, 1, 0]


def test_any_command_is_a_sign_of_life() -> None:
    rig = NodeRig()
    rig.hello(timeout_ms=5_000)
    for _ in range(4):
        rig.pass_time(4_000)
        assert rig.ask(PEER, "ping").re == "pong"


def test_bye_costs_nothing(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b")
    consume(rig)
    assert rig.ask(PEER, "bye").re == "ok"
    assert rig.ask(PEER, "ping").code == NoSession.code
    assert attempts(rig) == [0, 0]


def test_resume_ends_the_former_session_at_once_and_free_of_charge(rig: NodeRig) -> None:
    former = rig.hello()["session"]
    rig.put("q", b"a", b"b")
    consume(rig)
    rig.hello(OTHER, resume=former)
    assert [s["error"] for s in rig.sent if s.re == "closed" and s.peer == PEER] == [
        "session_closed"
    ]
    assert [m.attempts for m in rig.get("q", peer=OTHER).messages()] == [0, 0]
    assert rig.ask(PEER, "ping").code == NoSession.code


def test_an_unreachable_peer_is_charged_for_one_message_of_its_gets(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b")
    rig.get("q")
    rig.node.unreachable(rig.now, PEER, "gone")
    assert attempts(rig, OTHER) == [1, 0]


def test_the_oldest_of_a_consumer_are_what_it_has_in_hand(rig: NodeRig) -> None:
    rig.put("q", b"a")
    rig.put("q", b"b", priority=9)
    got = consume(rig, credit=2)
    assert got.bodies() == [b"b", b"a"]
    rig.settle("ack", got, ranges=[[1, 1]], consumer=1, credit=1)
    rig.put("q", b"c", priority=9)
    rig.node.unreachable(rig.now, PEER, "gone")
    rig.hello()
    assert [(m.body, m.attempts) for m in rig.get("q").messages()] == [(b"c", 0), (b"a", 1)]


def test_a_full_broker_refuses_a_stranger_and_takes_back_its_own() -> None:
    rig = NodeRig(sessions_max=1)
    session = rig.hello()["session"]
    assert rig.ask(OTHER, "hello", client="x").code == LimitReached.code
    assert rig.hello().re == "welcome"
    session = rig.sent[-1]["session"]
    assert rig.hello(OTHER, resume=session).re == "welcome"


def test_waiting_gets_of_a_session_are_bounded(rig: NodeRig) -> None:
    for _ in range(GETS_WAITING_PER_SESSION_MAX):
        rig.command(PEER, "get", queue="q", max=1, timeout_ms=10_000)
    assert rig.get("q").code == LimitReached.code
    assert len(rig.pass_time(10_000)) == GETS_WAITING_PER_SESSION_MAX
    assert rig.get("q").messages() == []


def test_a_drain_answers_what_was_proposed_and_takes_nothing_new(rig: NodeRig) -> None:
    waiting = rig.command(PEER, "get", queue="w", max=1, timeout_ms=60_000)
    rig.run()
    req = rig.command(PEER, "put", b"\x91\xc4\x01a", queue="q", count=1)
    rig.turn()
    rig.node.begin_drain(rig.now)
    drained = [rig.node.is_drained]
    answers = {s.req: s for s in rig.run()}
    assert answers[waiting].code == ShuttingDown.code
    assert answers[req].re == "ok"
    drained.append(rig.node.is_drained)
    assert drained == [False, True]
    for cmd in ("get", "consume", "declare"):
        fields = {"get": {"max": 1}, "consume": {"consumer": 1}}.get(cmd, {})
        assert rig.ask(PEER, cmd, queue="q", **fields).code == ShuttingDown.code
    assert rig.ask(OTHER, "hello", client="x").code == ShuttingDown.code
    closed = [f for _, f in rig.node.close(rig.now)]
    assert len(closed) == 1


def test_a_draining_node_still_settles_and_comes_to_rest(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b")
    got = rig.get("q", 1)
    rig.node.begin_drain(rig.now)
    assert rig.settle("nack", got, delay_ms=0)["count"] == 1
    assert rig.is_quiet


def test_a_pause_of_the_broker_is_nobodys_silence(rig: NodeRig) -> None:
    rig.hello(b"\0quik", timeout_ms=1_000)
    rig.now += 60_000
    rig.node.excuse_silence(rig.now)
    assert rig.ask(b"\0quik", "ping").re == "pong"
    rig.pass_time(1_001)
    assert rig.ask(b"\0quik", "put", b"\x91\xa0", queue="q", count=1)["error"] == "no_session"
