"""What becomes of deliveries, settles and requests of a session when their queue moves."""

from __future__ import annotations

from typing import Any

import pytest

from broker.client.credit import CreditWindow
from broker.client.delivery import Part
from broker.client.ledger import ACK
from broker.errors import LeaseLost
from tests.client.cluster_rig import ClusterRig, Q, connected, taken_over_by, told


def consume(rig: ClusterRig, credit: int = 10) -> Any:
    consumer = rig.session.consumers.add(Q, CreditWindow(credit), None, False, 1)
    (sent,) = rig.at("a", "consume")
    rig.reply(sent, epoch=1)
    return consumer


def take(rig: ClusterRig, consumer: Any, limit: int = 100) -> list[Part]:
    return rig.session.consumers.take(consumer, limit, rig.now)


def test_at_the_new_owner_held_messages_are_taken_again_before_consuming() -> None:
    rig = connected()
    consumer = consume(rig)
    rig.deliver([b"x"] * 4, tag=rig.tag())
    ((run, _, _),) = take(rig, consumer, 2)
    run.ledger.ack(run, 0)
    taken_over_by(rig, "b")
    assert told(rig.at("b"), "ranges", "credit") == [
        ("extend", [[0, 4, 0]], None),
        ("ack", [[0, 1, 0]], None),
        ("consume", None, 7),
    ]


def test_a_delivery_of_an_owner_that_lost_the_queue_is_dropped_and_counted() -> None:
    rig = connected()
    consumer = consume(rig)
    old = rig.tag()
    rig.move(Q, "b")
    rig.deliver([b"new"], first=3, tag=rig.tag())
    rig.deliver([b"old"], first=3, tag=old)
    assert [run.elements for run, _, _ in take(rig, consumer)] == [[b"new"]]
    assert rig.session.counters.messages_stale == 1


def test_a_delivery_of_a_newer_epoch_makes_the_client_look_at_the_map() -> None:
    rig = connected()
    consume(rig)
    rig.move(Q, "b")
    rig.deliver([b"x"], tag=rig.tag())
    rig.after(0)
    rig.tell_map()
    (cancel,) = rig.at("a", "cancel")
    assert rig.at("b") == []
    rig.reply(cancel)
    assert told(rig.at("b")) == [("consume",)]


def test_what_is_on_the_way_where_a_consumer_leaves_is_taken_before_it_begins_elsewhere() -> None:
    rig = connected()
    consumer = consume(rig)
    rig.move(Q, "b")
    rig.deliver([b"1"], tag=rig.tag())
    rig.after(0)
    rig.tell_map()
    (cancel,) = rig.at("a", "cancel")
    rig.deliver([b"2"], first=1, tag=rig.tag())
    rig.reply(cancel)
    assert told(rig.at("b"), "credit") == [("consume", 8)]
    assert [run.elements for run, _, _ in take(rig, consumer)] == [[b"1"], [b"2"]]


def test_a_broker_that_does_not_end_a_consumer_keeps_it_for_half_a_second_at_most() -> None:
    rig = connected()
    consume(rig)
    rig.move(Q, "b")
    rig.deliver([b"1"], tag=rig.tag())
    rig.after(0)
    rig.tell_map()
    rig.after(500)
    assert told(rig.at("b")) == [("consume",)]


def test_what_another_broker_passed_on_is_settled_there_while_that_session_lasts() -> None:
    rig = connected()
    consumer = consume(rig)
    rig.move(Q, "b")
    rig.deliver([b"x"] * 2, tag=rig.tag())
    ((run, _, _),) = take(rig, consumer)
    rig.after(0)
    rig.tell_map()
    (cancel,) = rig.at("a", "cancel")
    rig.reply(cancel)
    assert told(rig.at("b")) == [("consume",)]
    run.ledger.settle(ACK, run, 0)
    rig.session.settles.flush()
    assert told(rig.at("a"), "ranges", "credit") == [("ack", [[0, 1, 0]], None)]
    assert rig.at("b") == []
    rig.lose_line(rig.session.lines[0])
    assert told(rig.at("b"), "ranges") == [("extend", [[0, 2, 0]]), ("ack", [[0, 1, 0]])]


def test_what_still_comes_from_a_broker_that_the_queue_left_goes_back_there() -> None:
    rig = connected()
    consume(rig)
    a = rig.session.lines[0]
    rig.move(Q, "b")
    rig.deliver([b"x"], tag=rig.tag())
    rig.after(0)
    rig.tell_map()
    (cancel,) = rig.at("a", "cancel")
    rig.reply(cancel)
    rig.deliver([b"y"], first=1, tag=rig.tag(), line=a)
    assert told(rig.at("a"), "ranges", "charge") == [("nack", [[1, 1, 0]], False)]


@pytest.mark.parametrize("error", ["not_primary", "outcome_unknown", "shutting_down"])
def test_a_settle_that_the_owner_could_not_do_is_sent_again(error: str) -> None:
    rig = connected()
    consumer = consume(rig)
    rig.deliver([b"x"], tag=rig.tag())
    ((run, _, _),) = take(rig, consumer)
    run.ledger.settle(ACK, run, 0)
    (settle,) = rig.session.settles.flush_ledger(run.ledger)
    (ack,) = rig.at("a", "ack")
    rig.refuse(ack, error)
    rig.move(Q, "b")
    rig.after(0)
    rig.tell_map()
    extend, ack = rig.at("b")
    assert (extend.cmd, ack.cmd) == ("extend", "ack")
    rig.reply(extend, held=[[0, 1, 0]], lost=[], lease_ms=30_000)
    rig.reply(ack, count=1)
    assert settle.value()["count"] == 1


def test_messages_are_not_lost_to_an_owner_that_could_not_tell_yet() -> None:
    rig = connected()
    consumer = consume(rig)
    rig.deliver([b"x"], tag=rig.tag())
    ((run, _, _),) = take(rig, consumer)
    taken_over_by(rig, "b")
    extend, *_ = rig.at("b")
    rig.refuse(extend, "not_primary")
    rig.after(500)
    (extend,) = rig.at("b", "extend")
    rig.reply(extend, held=[], lost=[[0, 1, 0]], lease_ms=30_000)
    with pytest.raises(LeaseLost):
        run.ledger.settle(ACK, run, 0)


def test_a_consumer_that_stays_where_it_is_is_granted_what_was_settled_when_the_map_came() -> None:
    rig = connected()
    consumer = consume(rig)
    # The same broker reigns anew and keeps its consumers; the client's map is older.
    rig.move(Q, "a")
    rig.deliver([b"x"] * 4, tag=rig.tag())
    ((run, _, _),) = take(rig, consumer, 3)
    run.ledger.ack(run, 0)
    rig.after(0)
    rig.tell_map()
    assert told(rig.at("a"), "ranges", "credit") == [
        ("extend", [[0, 4, 0]], None),
        ("ack", [[0, 1, 0]], 1),
    ]


def test_credit_that_was_refused_makes_the_consumer_begin_anew() -> None:
    rig = connected()
    consumer = consume(rig)
    rig.deliver([b"x"] * 10, tag=rig.tag())
    refused = {"v": 1, "re": "failed", "code": 205, "error": "not_primary", "text": ""}
    rig.receive({**refused, "cmd": "credit", "consumer": consumer.number})
    rig.after(500)
    assert told(rig.at("a")) == [("cancel",), ("consume",)]
    assert rig.session.troubles == []


@pytest.mark.parametrize("error", ["not_primary", "outcome_unknown", "shutting_down"])
def test_a_request_that_the_owner_could_not_answer_is_asked_again(error: str) -> None:
    rig = connected()
    request = rig.session.requests.ask({"cmd": "purge", "queue": Q}, rig.now)
    rig.refuse(rig.at("a")[0], error)
    rig.move(Q, "b")
    rig.after(0)
    rig.tell_map()
    (again,) = rig.at("b", "purge")
    rig.reply(again, count=7)
    assert request.value()["count"] == 7


def test_a_waiting_get_is_asked_again_at_the_new_owner_and_its_first_answer_counts() -> None:
    rig = connected()
    fields = {"cmd": "get", "queue": Q, "max": 5}
    request = rig.session.requests.ask(fields, rig.now, rig.now + 10_000)
    (former,) = rig.at("a", "get")
    rig.put(b"x")
    rig.refuse(rig.at("a", "put")[0], "not_primary")
    rig.move(Q, "b")
    rig.after(0)
    rig.tell_map()
    get, _ = rig.at("b")
    run = {"first": 0, "count": 1}
    answer = {"v": 1, "re": "messages", "queue": Q, "tag": rig.tag(), "runs": [run]}
    rig.receive({**answer, "req": get["req"]}, [b"x"], line=get.line)
    assert [found.elements for found in request.value()] == [[b"x"]]
    run["first"] = 1
    rig.receive({**answer, "req": former["req"]}, [b"y"], line=former.line)
    assert told(rig.at("a"), "ranges") == [("nack", [[1, 1, 0]])]
