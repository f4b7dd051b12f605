"""What the consuming and settling side of a session sends, and when."""

from __future__ import annotations

import pytest

from broker.client.consumer import Consumer
from broker.client.credit import CreditWindow
from broker.client.delivery import LOST, Part
from broker.client.ledger import ACK
from broker.errors import LeaseLost, QueueDeleted, QueueNotFound
from tests.client.rig import Rig


def consume(rig: Rig, credit: int | None = None, *, auto_ack: bool = False) -> Consumer:
    window = CreditWindow(credit)
    return rig.session.consumers.add("q", window, None, auto_ack, 1)


def take(rig: Rig, consumer: Consumer, limit: int = 1_000) -> list[Part]:
    return rig.session.consumers.take(consumer, limit, rig.now)


def ack_all(parts: list[Part]) -> None:
    for run, start, stop in parts:
        for index in range(start, stop):
            run.ledger.ack(run, index)


def count(parts: list[Part]) -> int:
    return sum(stop - start for _, start, stop in parts)


def test_a_consumer_begins_with_a_credit_of_32() -> None:
    rig = Rig()
    consume(rig)
    sent = rig.only("consume")
    assert (sent["queue"], sent["consumer"], sent["credit"]) == ("q", 1, 32)
    assert sent["credit_bytes"] == 4 * 2**20


def test_acks_and_credit_travel_together_before_the_buffer_runs_dry() -> None:
    rig = Rig()
    consumer = consume(rig, 10)
    rig.sent()
    rig.deliver([b"x"] * 10)
    ack_all(take(rig, consumer))
    assert rig.sent() == []
    assert take(rig, consumer) == []
    sent = rig.only("ack")
    assert sent["ranges"] == [[0, 10, 0]]
    assert (sent["consumer"], sent["credit"]) == (1, 10)


def test_half_a_window_of_acks_goes_without_waiting_for_the_end() -> None:
    rig = Rig()
    consumer = consume(rig, 10)
    rig.sent()
    rig.deliver([b"x"] * 10)
    parts = take(rig, consumer, 5)
    run = parts[0][0]
    gathered = [run.ledger.ack(run, index) for index in range(5)]
    assert gathered[-1] >= run.ledger.flush_at
    assert gathered[-2] < run.ledger.flush_at


def test_gathered_acks_go_when_the_linger_ends() -> None:
    rig = Rig(linger_ms=5)
    consumer = consume(rig, 10)
    rig.sent()
    rig.deliver([b"x"] * 4)
    ack_all(take(rig, consumer, 1))
    rig.session.settles.gathered(rig.now)
    rig.after(5)
    sent = rig.only("ack")
    assert sent["ranges"] == [[0, 1, 0]]


def test_credit_never_exceeds_the_window() -> None:
    rig = Rig()
    consumer = consume(rig, 10)
    granted = rig.sent("consume")[0]["credit"]
    first = 0
    for size in (3, 7, 1, 9, 4, 10, 2):
        at_broker = granted - first
        rig.deliver([b"x"] * min(size, at_broker), first=first)
        first += min(size, at_broker)
        ack_all(take(rig, consumer, 2))
        take(rig, consumer, 0)
        granted += sum(sent.header.get("credit", 0) for sent in rig.sent("ack"))
        (ledger,) = rig.session.settles.of_consumer(1)
        held = ledger.held()
        assert granted - first + sum(n for _, n, _ in held) <= 10


def test_an_auto_ack_consumer_gets_its_credit_by_itself() -> None:
    rig = Rig()
    consumer = consume(rig, 10, auto_ack=True)
    assert rig.sent("consume")[0]["auto_ack"] is True
    rig.deliver([b"x"] * 10)
    assert count(take(rig, consumer, 4)) == 4
    assert rig.sent() == []
    take(rig, consumer, 4)
    sent = rig.only("credit")
    assert (sent["consumer"], sent["messages"]) == (1, 8)
    assert "req" not in sent.header


def test_leaving_gives_back_what_was_not_looked_at_and_cancels() -> None:
    rig = Rig()
    consumer = consume(rig, 10)
    rig.sent()
    rig.deliver([b"x"] * 10)
    ((run, start, stop),) = take(rig, consumer, 6)
    run.ledger.ack(run, 0)
    rig.session.consumers.leave(consumer, [(run, start + 2, stop)])
    ack, *nacks, cancel = rig.sent()
    assert (ack.cmd, ack["ranges"]) == ("ack", [[0, 1, 0]])
    assert sorted(r for nack in nacks for r in nack["ranges"]) == [[2, 4, 0], [6, 4, 0]]
    assert {(n.cmd, n["charge"], n["delay_ms"]) for n in nacks} == {("nack", False, 0)}
    assert (cancel.cmd, cancel["consumer"]) == ("cancel", 1)
    assert rig.session.counters.messages_given_back == 8


def test_a_delivery_that_crosses_with_the_leaving_goes_back() -> None:
    rig = Rig()
    consumer = consume(rig, 10)
    rig.session.consumers.leave(consumer)
    cancel = rig.sent()[-1]
    rig.deliver([b"x"] * 3)
    nack = rig.only("nack")
    assert nack["ranges"] == [[0, 3, 0]]
    rig.reply(cancel)
    rig.deliver([b"x"] * 2, first=3)
    nack = rig.only("nack")
    assert nack["ranges"] == [[3, 2, 0]]


def test_prefetched_messages_of_an_auto_ack_consumer_are_counted_when_it_leaves() -> None:
    rig = Rig()
    consumer = consume(rig, 10, auto_ack=True)
    rig.deliver([b"x"] * 5)
    rig.session.consumers.leave(consumer, take(rig, consumer, 2))
    assert rig.session.counters.messages_unseen == 5


def test_on_a_new_connection_held_messages_are_taken_again_before_consuming() -> None:
    rig = Rig()
    consumer = consume(rig, 10)
    rig.sent()
    rig.deliver([b"x"] * 10)
    ((run, _, _),) = take(rig, consumer, 4)
    run.ledger.ack(run, 0)
    extend, ack, again = rig.reconnect()
    assert (extend.cmd, extend["ranges"], extend["consumer"]) == ("extend", [[0, 10, 0]], 1)
    assert (ack.cmd, ack["ranges"]) == ("ack", [[0, 1, 0]])
    # Nine are on hand, prefetched or not, so that one more is what the window allows.
    assert (again.cmd, again["consumer"], again["credit"]) == ("consume", 1, 1)


def test_what_is_acked_while_disconnected_is_taken_again_and_then_acked() -> None:
    rig = Rig()
    consumer = consume(rig, 10)
    rig.sent()
    rig.deliver([b"x"] * 2)
    parts = take(rig, consumer)
    rig.lose()
    ack_all(parts)
    rig.welcome()
    extend, ack, again = rig.sent()
    assert (extend.cmd, extend["ranges"]) == ("extend", [[0, 2, 0]])
    assert (ack.cmd, ack["ranges"]) == ("ack", [[0, 2, 0]])
    assert again["credit"] == 10


def test_messages_that_a_reconnect_lost_are_marked_and_free_their_credit() -> None:
    rig = Rig()
    consumer = consume(rig, 10)
    rig.sent()
    rig.deliver([b"x"] * 10)
    ((run, _, _),) = take(rig, consumer, 2)
    extend, again = rig.reconnect()
    assert again["credit"] == 0
    rig.reply(extend, held=[[0, 1, 0]], lost=[[1, 9, 0]], lease_ms=30_000)
    assert list(run.marks) == [0] + [LOST] * 9
    assert rig.session.counters.leases_lost == 9
    assert consumer.window.due().messages == 9


def test_an_unconfirmed_settle_is_sent_again_and_its_loss_told_as_doubtful() -> None:
    rig = Rig()
    consumer = consume(rig, 10)
    rig.sent()
    rig.deliver([b"x"] * 2)
    ack_all(take(rig, consumer))
    take(rig, consumer)
    assert [sent.cmd for sent in rig.sent()] == ["ack"]
    _, ack, _ = rig.reconnect()
    rig.refuse(ack, "lease_lost", lost=[[0, 2, 0]])
    (trouble,) = rig.session.troubles
    assert isinstance(trouble, LeaseLost)
    assert "again after a reconnect" in trouble.text
    assert rig.session.counters.leases_lost == 2


def test_a_settle_refused_for_now_is_sent_again_later() -> None:
    rig = Rig()
    consumer = consume(rig, 10)
    rig.sent()
    rig.deliver([b"x"])
    ((run, _, _),) = take(rig, consumer)
    run.ledger.settle(ACK, run, 0)
    (settle,) = rig.session.settles.flush_ledger(run.ledger)
    rig.refuse(rig.only("ack"), "shutting_down")
    assert rig.session.unconfirmed == [settle]
    rig.after(500)
    again, *_ = rig.sent()
    assert again.cmd == "ack"
    rig.reply(again, count=1)
    assert settle.value()["count"] == 1


def test_a_consumer_whose_settle_was_refused_with_its_credit_begins_anew_with_all_of_it() -> None:
    rig = Rig()
    consumer = consume(rig, 10)
    rig.sent()
    rig.deliver([b"x"] * 8)
    parts = take(rig, consumer)
    for run, start, stop in parts:
        for index in range(start, stop):
            run.ledger.settle(ACK, run, index)
    rig.session.settles.flush()
    refused = rig.only("ack")
    assert refused["credit"] == 8
    rig.refuse(refused, "not_primary")
    rig.after(500)
    again, cancel, begun = rig.sent()
    assert (again.cmd, cancel.cmd, begun.cmd) == ("ack", "cancel", "consume")
    assert "credit" not in again.header
    assert begun["credit"] == 10


def test_a_refused_consume_is_the_consumers_error() -> None:
    rig = Rig()
    consumer = consume(rig)
    rig.refuse(rig.only("consume"), "queue_not_found")
    with pytest.raises(QueueNotFound):
        take(rig, consumer)


def test_a_consume_refused_while_shutting_down_is_tried_again() -> None:
    rig = Rig()
    consume(rig)
    rig.refuse(rig.only("consume"), "shutting_down")
    rig.after(500)
    assert [sent["credit"] for sent in rig.sent("consume")] == [32]


def test_a_deleted_queue_ends_its_consumers_after_what_is_prefetched() -> None:
    rig = Rig()
    consumer = consume(rig)
    rig.deliver([b"x"])
    rig.receive({"v": 1, "re": "cancelled", "consumer": 1, "code": 129, "error": "queue_deleted"})
    assert count(take(rig, consumer)) == 1
    with pytest.raises(QueueDeleted):
        take(rig, consumer)


def test_messages_of_an_abandoned_get_go_back() -> None:
    rig = Rig()
    request = rig.session.requests.ask({"cmd": "get", "queue": "q", "max": 5}, rig.now, 2_000)
    get = rig.only("get")
    assert get["timeout_ms"] == 1_000
    rig.session.requests.abandon(request)
    header = {"queue": "q", "tag": b"tag", "runs": [{"first": 7, "count": 2}]}
    rig.receive({"v": 1, "re": "messages", "req": get["req"], **header}, [b"a", b"b"])
    nack = rig.only("nack")
    assert (nack["ranges"], nack["charge"]) == ([[7, 2, 0]], False)


def test_a_waiting_get_is_asked_again_for_the_rest_of_its_time() -> None:
    rig = Rig()
    rig.session.requests.ask({"cmd": "get", "queue": "q", "max": 5}, rig.now, rig.now + 10_000)
    rig.sent()
    (get,) = rig.reconnect()
    assert get["timeout_ms"] == 8_000


def test_a_delete_whose_answer_was_lost_is_no_error_the_second_time() -> None:
    rig = Rig()
    request = rig.session.requests.ask({"cmd": "delete", "queue": "q"}, rig.now)
    rig.sent()
    (delete,) = rig.reconnect()
    rig.refuse(delete, "queue_not_found")
    assert request.value() == {"count": 0}
