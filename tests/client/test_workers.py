"""The worker's side of a session: where it serves, what it is given, and what it says of that."""

from __future__ import annotations

from broker.errors import NameNotAllowed
from tests.client.call_rig import both_connected, reply_to, request, serve, withdraw
from tests.client.cluster_rig import ClusterRig, Q, taken_over_by, told
from tests.client.rig import Rig


def served_at(rig: ClusterRig, broker: str) -> None:
    """That broker confirms that it has the worker."""
    (sent,) = rig.at(broker, "serve")
    rig.reply(sent)


def test_a_service_is_served_with_so_many_places() -> None:
    rig = Rig()
    worker = serve(rig, "prices", 4)
    sent = rig.only("serve")
    assert (sent["service"], sent["worker"], sent["concurrency"]) == ("prices", 1, 4)
    assert not worker.is_serving
    rig.reply(sent)
    assert worker.is_serving


def test_an_answer_names_its_request() -> None:
    rig = Rig()
    worker = serve(rig)
    rig.reply(rig.only("serve"))
    request(rig, worker, b"c1", headers={"a": 1}, content_type="text/plain")
    taken = worker.take()
    assert taken is not None
    assert (taken.body, taken.headers, taken.attempt) == ("body", {"a": 1}, 1)
    rig.session.serving.answer(worker, taken, {"type": "t"}, b"done", end=True)
    sent = rig.only("answer")
    assert (sent["call"], sent["worker"], sent["type"], sent.frames) == (
        b"c1",
        worker.number,
        "t",
        [b"done"],
    )
    assert "end" not in sent.header


def test_a_request_knows_how_much_time_is_left() -> None:
    rig = Rig()
    worker = serve(rig)
    request(rig, worker, timeout_ms=1_000)
    taken = worker.take()
    assert taken is not None
    rig.now += 400
    assert taken.remaining == 0.6
    rig.now += 4_000
    assert taken.remaining == 0


def test_parts_are_said_before_the_end() -> None:
    rig = Rig()
    worker = serve(rig)
    rig.sent()
    request(rig, worker, stream=True)
    taken = worker.take()
    assert taken is not None
    assert taken.stream
    rig.session.serving.answer(worker, taken, {}, b"1", end=False)
    rig.session.serving.answer(worker, taken, {}, b"", end=True)
    assert [sent.header.get("end", True) for sent in rig.sent("answer")] == [False, True]


def test_a_worker_is_served_again_on_the_next_connection() -> None:
    rig = Rig()
    worker = serve(rig)
    rig.reply(rig.only("serve"))
    (again,) = rig.reconnect()
    assert not worker.is_serving
    assert again.cmd == "serve"
    rig.reply(again)
    assert worker.is_serving


def test_nothing_is_said_of_a_request_whose_connection_is_gone() -> None:
    rig = Rig()
    worker = serve(rig, concurrency=2)
    rig.reply(rig.only("serve"))
    request(rig, worker, b"c1")
    request(rig, worker, b"c2")
    taken = worker.take()
    assert taken is not None
    rig.reconnect()
    assert taken.is_cancelled
    assert worker.take() is None
    rig.session.serving.answer(worker, taken, {}, b"done", end=True)
    assert rig.sent() == []
    assert rig.session.counters.answers_unwanted == 1
    assert rig.session.counters.requests_dropped == 1


def test_a_cancelled_request_that_nobody_has_begun_frees_its_place_at_once() -> None:
    rig = Rig()
    worker = serve(rig)
    rig.sent()
    request(rig, worker, b"c1")
    withdraw(rig, worker, b"c1")
    assert rig.only("fail")["call"] == b"c1"
    assert worker.take() is None


def test_a_cancelled_request_in_hand_frees_its_place_when_its_handler_ends() -> None:
    rig = Rig()
    worker = serve(rig)
    rig.sent()
    request(rig, worker, b"c1")
    taken = worker.take()
    withdraw(rig, worker, b"c1")
    assert taken is not None
    assert taken.is_cancelled
    assert rig.sent() == []
    rig.session.serving.fail(worker, taken, "Stopped", "")
    assert rig.only("fail")["call"] == b"c1"


def test_when_the_service_has_moved_nothing_is_said_of_what_came_before() -> None:
    rig = Rig()
    worker = serve(rig, concurrency=2)
    rig.reply(rig.only("serve"))
    request(rig, worker, b"c1")
    taken = worker.take()
    assert taken is not None
    request(rig, worker, b"c2")
    withdraw(rig, worker, None)
    rig.session.serving.answer(worker, taken, {}, b"late", end=True)
    assert rig.sent() == []
    assert worker.is_serving
    request(rig, worker, b"c3")
    reply_to(rig, worker)
    assert rig.only("answer")["call"] == b"c3"


def test_a_worker_that_leaves_finishes_what_crossed_with_that() -> None:
    rig = Rig()
    worker = serve(rig)
    rig.reply(rig.only("serve"))
    rig.session.serving.leave(worker)
    leaving = rig.only("unserve")
    request(rig, worker, b"c1")
    rig.reply(leaving)
    assert not worker.is_over
    reply_to(rig, worker)
    assert rig.only("answer")["call"] == b"c1"
    assert worker.has_ended
    assert rig.reconnect() == []


def test_a_worker_that_leaves_while_there_is_no_connection_is_over() -> None:
    rig = Rig()
    worker = serve(rig)
    rig.reply(rig.only("serve"))
    rig.lose()
    rig.session.serving.leave(worker)
    assert worker.has_ended
    rig.welcome()
    assert rig.sent() == []


def test_a_refusal_that_may_pass_is_asked_again() -> None:
    rig = Rig()
    worker = serve(rig)
    rig.refuse(rig.only("serve"), "limit_reached")
    rig.after(500)
    rig.reply(rig.only("serve"))
    assert worker.is_serving


def test_a_refusal_for_good_ends_the_worker() -> None:
    rig = Rig()
    worker = serve(rig)
    rig.refuse(rig.only("serve"), "name_not_allowed")
    assert isinstance(worker.error, NameNotAllowed)
    assert worker.has_ended


def test_a_broker_that_gives_to_a_worker_that_is_gone_gets_its_place_back() -> None:
    rig = Rig()
    worker = serve(rig)
    rig.reply(rig.only("serve"))
    rig.session.serving.leave(worker)
    rig.reply(rig.only("unserve"))
    request(rig, worker, b"c1")
    assert rig.only("fail")["call"] == b"c1"


def test_a_failure_that_is_told_of_an_answer_is_counted() -> None:
    rig = Rig()
    worker = serve(rig)
    rig.sent()
    request(rig, worker)
    reply_to(rig, worker)
    rig.receive({"v": 1, "re": "failed", "code": 156, "error": "call_not_found", "cmd": "answer"})
    assert rig.session.counters.answers_unwanted == 1


def test_a_worker_serves_at_the_owner_of_its_service() -> None:
    rig = both_connected()
    serve(rig, Q)
    assert told(rig.at("a"), "service") == [("serve", Q)]
    assert rig.at("b") == []


def test_a_worker_serves_at_the_next_owner_when_the_former_is_gone() -> None:
    rig = both_connected()
    worker = serve(rig, Q)
    served_at(rig, "a")
    taken_over_by(rig, "b")
    served_at(rig, "b")
    assert worker.is_serving


def test_a_worker_that_moves_serves_there_before_it_leaves_the_former_owner() -> None:
    rig = both_connected()
    worker = serve(rig, Q)
    served_at(rig, "a")
    request(rig, worker, b"c1", line=rig.line_to("a"))
    rig.move(Q, "b")
    rig.session._routing.doubt()
    rig.after(3_000)
    rig.tell_map()
    (again,) = rig.at("b", "serve")
    assert rig.at("a") == []
    rig.reply(again)
    assert told(rig.at("a"), "worker") == [("unserve", worker.number)]
    reply_to(rig, worker)
    assert told(rig.at("a"), "call") == [("answer", b"c1")]


def test_a_worker_that_comes_back_before_it_left_stays() -> None:
    rig = both_connected()
    worker = serve(rig, Q)
    served_at(rig, "a")
    for owner in ("b", "a"):
        rig.move(Q, owner)
        rig.session._routing.doubt()
        rig.after(3_000)
        rig.tell_map()
    assert told(rig.at("b")) == [("serve",), ("unserve",)]
    assert rig.at("a") == []
    assert worker.is_serving
