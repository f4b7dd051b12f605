"""Calls and servers of either face, with a broker that fails as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from patterns import (
    BadField,
    CallTimeout,
    CannotEncode,
    HandlerFailed,
    NameNotAllowed,
    NoResponder,
    Overloaded,
    ResponderLost,
    Result,
    TooLarge,
    WaitTimeout,
)
from tests.client.conftest import Connect, Handling
from tests.client.faults import ignore, refuse
from tests.client.scripted_broker import ScriptedBroker
from tests.support.waiting import DEADLINE_S, wait_until

WITHIN_S = 60.0


def echo(request: Any) -> Any:
    return request.body


def is_serving(server: Any) -> Callable[[], bool]:
    return lambda: bool(server.is_serving)


@pytest.mark.parametrize("body", [b"\x00\xff", "text", {"a": [1, None]}, 1.5, None, b""])
def test_a_body_comes_back_as_the_handler_gave_it(connect: Connect, body: Any) -> None:
    connect().serve("echo", echo)
    assert connect().call("echo", body, timeout=WITHIN_S).body == body


def test_what_stands_beside_a_body_travels_both_ways(connect: Connect) -> None:
    def handler(request: Any) -> Result:
        told = {"name": request.headers["name"], "type": request.type, "got": request.service}
        return Result(b"<x/>", content_type="text/xml", type="answer", headers=told)

    connect().serve("echo", handler)
    answer = connect().call("echo", "x", timeout=WITHIN_S, type="question", headers={"name": 7})
    assert (answer.content_type, answer.type, answer.body) == ("text/xml", "answer", b"<x/>")
    assert answer.headers == {"name": 7, "type": "question", "got": "echo"}


def test_nobody_there_is_told_at_once(connect: Connect) -> None:
    with pytest.raises(NoResponder):
        connect().call("echo", timeout=WITHIN_S)


def test_a_full_service_is_told_by_name(connect: Connect, broker: ScriptedBroker) -> None:
    broker.faults.append(refuse("call", "overloaded"))
    with pytest.raises(Overloaded):
        connect().call("echo", timeout=WITHIN_S)


def test_what_a_handler_raises_comes_with_its_name_and_its_words(connect: Connect) -> None:
    def handler(request: Any) -> None:
        raise KeyError(request.body)

    connect().serve("find", handler)
    with pytest.raises(HandlerFailed, match=r"^laptop$") as failed:
        connect().call("find", "laptop", timeout=WITHIN_S)
    assert failed.value.remote_error == "KeyError"


@pytest.mark.parametrize(
    ("given", "error"), [(object(), CannotEncode), (b"x" * (16 * 1024 * 1024 + 1), TooLarge)]
)
def test_an_answer_that_cannot_travel_is_a_failure(
    connect: Connect, given: Any, error: type[Exception]
) -> None:
    connect().serve("odd", lambda _: given)
    with pytest.raises(HandlerFailed) as failed:
        connect().call("odd", timeout=WITHIN_S)
    assert failed.value.remote_error == error.__name__


def test_a_call_that_cannot_travel_raises_and_asks_nobody(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq = connect()
    refused: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"body": object()}, CannotEncode),
        ({"timeout": 0}, BadField),
        ({"timeout": 3_601}, BadField),
        ({"headers": {"a": "x" * 16_000}}, TooLarge),
        ({"headers": {"a": []}}, CannotEncode),
        ({"type": "x" * 256}, TooLarge),
    ]
    for given, error in refused:
        with pytest.raises(error):
            mq.call("echo", **given)
    with pytest.raises(NameNotAllowed):
        mq.call("no name", timeout=1)
    with pytest.raises(BadField):
        mq.call_all("echo", workers=0, timeout=1)
    with pytest.raises(BadField):
        mq.serve("echo", echo, concurrency=0)
    assert broker.commands("call") == broker.commands("serve") == []


def test_at_the_deadline_the_handler_is_told_and_its_answer_is_nobodys(
    connect: Connect, handling: Handling
) -> None:
    noticed = threading.Event()

    def handler(request: Any) -> bytes:
        wait_until(lambda: request.is_cancelled, "the handler is told")
        noticed.set()
        return b"too late"

    worker = connect()
    worker.serve("slow", handling(handler))
    with pytest.raises(CallTimeout):
        connect().call("slow", timeout=0.2)
    assert noticed.wait(DEADLINE_S)
    wait_until(lambda: worker.counters["answers_unwanted"] == 1, "the late answer is counted")


def test_a_handler_knows_how_long_its_caller_waits(connect: Connect) -> None:
    connect().serve("time", lambda request: request.remaining)
    assert 0 < connect().call("time", timeout=WITHIN_S).body <= WITHIN_S


def test_parts_come_as_the_handler_yields_them(connect: Connect) -> None:
    goes_on = threading.Event()

    def handler(_: Any) -> Iterator[Any]:
        yield "first"
        assert goes_on.wait(DEADLINE_S)
        yield Result(b"second", type="last")

    connect().serve("count", handler)
    came = []
    for part in connect().call("count", stream=True, timeout=WITHIN_S):
        came.append((part.body, part.type))
        goes_on.set()
    assert came == [("first", None), (b"second", "last")]


def test_who_leaves_a_stream_cancels_it(connect: Connect, broker: ScriptedBroker) -> None:
    def handler(request: Any) -> Iterator[int]:
        return iter(range(1_000_000))

    worker = connect()
    server = worker.serve("endless", handler)
    answers = connect().call("endless", stream=True, timeout=WITHIN_S)
    for part in answers:
        assert part.body == 0
        break
    answers.close()
    wait_until(lambda: bool(broker.commands("cancel_call")), "the broker is told")
    server.close(WITHIN_S)


def test_a_failure_after_some_parts_is_raised_behind_them(connect: Connect) -> None:
    def handler(_: Any) -> Iterator[int]:
        def parts() -> Iterator[int]:
            yield 1
            raise RuntimeError("broke")

        return parts()

    connect().serve("breaks", handler)
    parts = iter(connect().call("breaks", stream=True, timeout=WITHIN_S))
    assert next(parts).body == 1
    with pytest.raises(HandlerFailed, match="broke"):
        next(parts)


def test_parts_for_a_caller_that_takes_none_are_a_failure(connect: Connect) -> None:
    connect().serve("count", lambda _: iter([1, 2]))
    with pytest.raises(HandlerFailed) as failed:
        connect().call("count", timeout=WITHIN_S)
    assert failed.value.remote_error == "NotAStream"


def test_all_workers_are_asked_and_each_says_its_own(connect: Connect) -> None:
    def fails(_: Any) -> None:
        raise ValueError("not me")

    for handler in (lambda _: "a", lambda _: "b", fails):
        connect().serve("who", handler)
    found = connect().call_all("who", timeout=WITHIN_S)
    assert found.asked == 3
    assert sorted(answer.body for answer in found.answers if answer.error is None) == ["a", "b"]
    (failed,) = [answer.error for answer in found.answers if answer.error is not None]
    assert isinstance(failed, HandlerFailed)
    assert sorted(answer.worker for answer in found.answers) == [0, 1, 2]


def test_so_many_workers_are_asked(connect: Connect) -> None:
    for _ in range(3):
        connect().serve("who", lambda _: "me")
    answers = connect().scatter("who", workers=2, timeout=WITHIN_S)
    assert [answer.body for answer in answers] == ["me", "me"]
    assert answers.asked == 2


def test_nobody_to_ask_is_told(connect: Connect) -> None:
    with pytest.raises(NoResponder):
        connect().call_all("who", timeout=WITHIN_S)


def test_as_many_requests_at_once_as_the_server_has_places(
    connect: Connect, handling: Handling
) -> None:
    together = threading.Barrier(4)

    def handler(_: Any) -> bytes:
        together.wait(DEADLINE_S)
        return b"met"

    connect().serve("meet", handling(handler), concurrency=4)
    callers = [connect() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(mq.call, "meet", timeout=WITHIN_S) for mq in callers]
        assert [call.result().body for call in calls] == [b"met"] * 4


def test_a_server_that_closes_answers_what_it_has_in_hand(
    connect: Connect, handling: Handling, broker: ScriptedBroker
) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def handler(_: Any) -> bytes:
        has_begun.set()
        assert may_end.wait(DEADLINE_S)
        return b"done"

    server = connect().serve("slow", handling(handler))
    caller = connect()
    with ThreadPoolExecutor(2) as threads:
        call = threads.submit(caller.call, "slow", timeout=WITHIN_S)
        assert has_begun.wait(DEADLINE_S)
        closing = threads.submit(server.close, WITHIN_S)
        wait_until(lambda: bool(broker.commands("unserve")), "no more is wanted")
        assert not closing.done()
        may_end.set()
        assert call.result().body == b"done"
        closing.result()
    assert server.wait(WITHIN_S)
    with pytest.raises(NoResponder):
        caller.call("slow", timeout=WITHIN_S)


def test_a_server_that_cannot_close_in_time_says_so(connect: Connect, handling: Handling) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def handler(_: Any) -> None:
        has_begun.set()
        may_end.wait(DEADLINE_S)

    server = connect().serve("slow", handling(handler))
    caller = connect()
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(caller.call, "slow", timeout=WITHIN_S)
        assert has_begun.wait(DEADLINE_S)
        with pytest.raises(WaitTimeout):
            server.close(0.05)
        may_end.set()
        call.exception(DEADLINE_S)


def test_closing_the_client_closes_its_servers(
    connect: Connect, face: Any, broker: ScriptedBroker
) -> None:
    with face(broker.address) as mq:
        server = mq.serve("echo", echo)
        assert connect().call("echo", b"x", timeout=WITHIN_S).body == b"x"
    assert not server.is_serving
    assert [header["cmd"] for header in broker.seen][-2:] == ["unserve", "bye"]


def test_a_server_serves_again_after_the_broker_was_away(
    connect: Connect, broker: ScriptedBroker
) -> None:
    server, caller = connect().serve("echo", echo), connect()
    broker.restart()
    wait_until(lambda: len(broker.commands("serve")) == 2 and server.is_serving, "it serves again")
    assert caller.call("echo", b"x", timeout=WITHIN_S).body == b"x"


def test_a_refused_service_raises(connect: Connect, broker: ScriptedBroker) -> None:
    broker.faults.append(refuse("serve", "bad_field"))
    with pytest.raises(BadField):
        connect().serve("echo", echo)


def test_a_call_that_was_under_way_when_the_connection_broke(
    connect: Connect, broker: ScriptedBroker
) -> None:
    connect().serve("echo", echo)
    callers = [connect(), connect()]
    broker.faults.append(ignore("call", 2))
    with ThreadPoolExecutor(2) as threads:
        once = threads.submit(callers[0].call, "echo", b"x", timeout=WITHIN_S)
        wait_until(lambda: len(broker.commands("call")) == 1, "the first call has come")
        again = threads.submit(callers[1].call, "echo", b"x", timeout=WITHIN_S, idempotent=True)
        wait_until(lambda: len(broker.commands("call")) == 2, "both calls have come")
        broker.restart()
        with pytest.raises(ResponderLost):
            once.result()
        assert again.result().body == b"x"


def test_a_call_to_a_broker_that_does_not_own_the_service_is_sent_again(
    connect: Connect, broker: ScriptedBroker
) -> None:
    connect().serve("echo", echo)
    broker.faults.append(refuse("call", "not_primary", 2))
    caller = connect()
    assert caller.call("echo", b"x", timeout=WITHIN_S).body == b"x"
    assert caller.counters["calls_resent"] == 2


def test_an_idempotent_call_goes_to_another_worker_when_the_first_is_lost(
    connect: Connect, broker: ScriptedBroker, handling: Handling
) -> None:
    has_begun = threading.Event()
    caller = connect()

    def never(request: Any) -> None:
        has_begun.set()
        wait_until(lambda: request.is_cancelled, "the connection is gone")

    with ThreadPoolExecutor(1) as threads:
        connect().serve("echo", handling(never))
        call = threads.submit(caller.call, "echo", b"x", timeout=WITHIN_S, idempotent=True)
        assert has_begun.wait(DEADLINE_S)
        connect().serve("echo", lambda request: request.attempt)
        broker.end_session_of_worker(1)
        assert call.result().body == 2


def test_services_are_listed_page_by_page(connect: Connect) -> None:
    server = connect()
    for name in ("a", "b", "c", "d", "e"):
        server.serve(name, echo)
    assert list(connect().services()) == ["a", "b", "c", "d", "e"]


def test_a_handler_may_call_another_service_over_the_same_client(
    connect: Connect, face: Any
) -> None:
    mq = connect()
    mq.serve("inner", lambda request: request.body + 1)

    def outer(request: Any) -> Any:
        return mq.call("inner", request.body, timeout=WITHIN_S).body * 10

    async def async_outer(request: Any) -> Any:
        inner = mq._wrapped.call("inner", request.body, timeout=WITHIN_S)
        return (await inner).body * 10

    mq.serve("outer", outer if face.__name__ == "Client" else async_outer)
    assert connect().call("outer", 4, timeout=WITHIN_S).body == 50
