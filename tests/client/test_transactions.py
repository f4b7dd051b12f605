"""Transactions of both clients: what they send, and that they happen once."""

from __future__ import annotations

from typing import Any

import pytest

from broker.client.options import credit_window
from broker.client.put_batch import PutBatch, PutSpec
from patterns import BadField, LeaseLost, ResourceAlarm, TransactionSpansSlots, WaitTimeout
from tests.client.conftest import Connect
from tests.client.faults import ignore, refuse
from tests.client.rig import Rig, Sent
from tests.client.scripted_broker import ScriptedBroker
from tests.support.waiting import wait_until

# The faces


def one_order(connect: Connect, broker: ScriptedBroker) -> tuple[Any, Any]:
    """A client, and the one message of its queue."""
    mq = connect()
    broker.put_directly("orders", [b"a"])
    return mq, mq.queue("orders").get(5)


def test_the_end_of_the_block_commits(connect: Connect, broker: ScriptedBroker) -> None:
    mq, order = one_order(connect, broker)
    with mq.transaction() as tx:
        tx.ack(order)
        tx.put("invoices", b"x")
        tx.put("invoices", b"y")
        tx.put("log", {"done": 1}, type="note", priority=9)
        assert broker.commands("transact") == []
    assert broker.queue("orders").bodies == []
    assert broker.queue("invoices").bodies == [b"x", b"y"]
    assert broker.queue("log").bodies == [b'{"done":1}']
    (sent,) = broker.commands("transact")
    assert [put["count"] for put in sent["puts"]] == [2, 1]
    assert (sent["puts"][1]["type"], sent["puts"][1]["priority"]) == ("note", 9)
    assert not order.is_held


def test_an_exception_gives_it_up_and_the_message_stays_held(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq, order = one_order(connect, broker)

    def fail() -> None:
        with mq.transaction() as tx:
            tx.ack(order)
            tx.put("invoices", b"x")
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert broker.commands("transact") == []
    order.ack(wait=True)
    assert broker.queue("orders").bodies == []


def test_a_lost_lease_is_raised_and_nothing_has_happened(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq, order = one_order(connect, broker)
    broker.queue("orders").give_back_all(next(iter(broker.sessions.values())).id)
    tx = mq.transaction()
    tx.ack(order)
    tx.put("invoices", b"x")
    with pytest.raises(LeaseLost):
        tx.commit()
    assert broker.queue("invoices").bodies == []
    assert broker.queue("orders").bodies == [b"a"]


def test_batches_are_settled_as_a_whole(connect: Connect, broker: ScriptedBroker) -> None:
    mq = connect()
    broker.put_directly("orders", [b"a", b"b", b"c"])
    for batch in mq.queue("orders").consume_batches(max=3, timeout=5):
        with mq.transaction() as tx:
            tx.ack(batch)
            tx.put("sums", b"abc"[: len(batch)])
        if not broker.queue("orders").bodies:
            break
    assert broker.queue("orders").bodies == []


def test_a_consumer_goes_on_behind_its_transactions(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq = connect()
    broker.put_directly("orders", [b"%d" % n for n in range(200)])
    seen = []
    for order in mq.queue("orders").consume(credit=4, max=200, timeout=5):
        with mq.transaction() as tx:
            tx.ack(order)
            tx.put("done", order.raw)
        seen.append(order.raw)
    assert seen == broker.queue("done").bodies == [b"%d" % n for n in range(200)]


def test_it_happens_once_though_its_answer_is_lost(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq, order = one_order(connect, broker)
    broker.hold_replies()
    tx = mq.transaction()
    tx.ack(order)
    tx.put("invoices", b"x")
    with pytest.raises(WaitTimeout):
        tx.commit(timeout=0.3)
    wait_until(lambda: bool(broker.commands("transact")), "the transaction came")
    broker.drop_held()
    tx.commit(timeout=20)
    assert broker.queue("invoices").bodies == [b"x"]
    assert len(broker.commands("transact")) >= 2
    assert len({(s["producer"], s["seq"]) for s in broker.commands("transact")}) == 1


def test_what_is_refused_for_now_is_tried_again(connect: Connect, broker: ScriptedBroker) -> None:
    mq, order = one_order(connect, broker)
    broker.faults.append(refuse("transact", "resource_alarm", times=2))
    with mq.transaction() as tx:
        tx.ack(order)
    assert len(broker.commands("transact")) == 3
    assert broker.queue("orders").bodies == []


def test_a_commit_that_is_never_answered_ends_in_time(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq, order = one_order(connect, broker)
    broker.faults.append(ignore("transact"))
    tx = mq.transaction()
    tx.ack(order)
    with pytest.raises(WaitTimeout):
        tx.commit(timeout=0.2)
    broker.faults.clear()
    broker.restart()
    tx.commit(timeout=20)
    assert broker.queue("orders").bodies == []


def test_an_empty_transaction_sends_nothing(connect: Connect, broker: ScriptedBroker) -> None:
    mq = connect()
    with mq.transaction():
        pass
    assert broker.commands("transact") == []


def test_puts_alone_are_refused(connect: Connect) -> None:
    mq = connect()
    tx = mq.transaction()
    tx.put("invoices", b"x")
    with pytest.raises(BadField, match="settles at least one"):
        tx.commit()


def test_what_is_settled_already_cannot_be_settled_again(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq, order = one_order(connect, broker)
    order.ack(wait=True)
    with pytest.raises(LeaseLost):
        mq.transaction().ack(order)


def test_a_message_is_settled_once_in_a_transaction(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq, order = one_order(connect, broker)
    tx = mq.transaction()
    tx.ack(order)
    tx.ack(order)
    with pytest.raises(BadField, match="twice"):
        tx.commit()


def test_queues_of_two_slots_are_refused_before_anything_is_sent(
    connect: Connect, broker: ScriptedBroker
) -> None:
    """A tag begins with its slot, and these two of the scripted broker do so differently."""
    mq, order = one_order(connect, broker)
    broker.put_directly("tasks", [b"b"])
    task = mq.queue("tasks").get(5)
    tx = mq.transaction()
    tx.ack(order)
    tx.ack(task)
    with pytest.raises(TransactionSpansSlots):
        tx.commit()
    assert broker.commands("transact") == []


def test_a_committed_transaction_takes_nothing_more(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq, order = one_order(connect, broker)
    tx = mq.transaction()
    tx.ack(order)
    tx.commit()
    with pytest.raises(BadField, match="committed"):
        tx.put("invoices", b"x")
    tx.commit()
    assert len(broker.commands("transact")) == 1


# The session by hand


def begun(rig: Rig, count: int = 1) -> tuple[Any, Sent]:
    """A transaction over the first ``count`` of three messages, and how it was sent."""
    consumer = rig.session.consumers.add("q", credit_window(3, 1, None), None, False, 1)
    rig.reply(rig.only("consume"), epoch=1)
    rig.deliver([b"a", b"b", b"c"], tag=b"\0\1" + b"t" * 24)
    parts = rig.session.consumers.take(consumer, count, rig.now)
    batch = PutBatch("out", PutSpec(), 1, 0)
    batch.add_first(b"x", 6)
    transaction = rig.session.transactions.begin(parts, [batch])
    return transaction, rig.only("transact")


def test_after_a_reconnect_it_is_sent_again_behind_what_is_taken_again() -> None:
    rig = Rig()
    transaction, first = begun(rig)
    extend, again, *_ = rig.reconnect()
    assert (extend.cmd, extend["ranges"]) == ("extend", [[0, 3, 0]])
    assert again.cmd == "transact"
    assert (again["producer"], again["seq"]) == (first["producer"], first["seq"])
    assert again.frames == first.frames
    rig.reply(again, duplicate=True, copies=1)
    assert transaction.done
    assert transaction.error is None


def test_an_unknown_outcome_is_asked_again_under_the_same_number() -> None:
    rig = Rig()
    transaction, first = begun(rig)
    rig.refuse(first, "outcome_unknown")
    rig.after(1_000)
    again = next(sent for sent in rig.sent() if sent.cmd == "transact")
    assert again["seq"] == first["seq"]
    rig.refuse(again, "lease_lost")
    assert isinstance(transaction.error, LeaseLost)
    assert "the first may count" in transaction.error.text


def test_a_slot_that_forgot_the_producer_is_given_another_number() -> None:
    rig = Rig()
    drawn = iter(range(100))
    rig.session.transactions._draw = lambda count: bytes([next(drawn)]) * count
    transaction, first = begun(rig)
    rig.refuse(first, "producer_expired")
    again = rig.only("transact")
    assert again["producer"] != first["producer"]
    assert again["seq"] == 0
    rig.reply(again, settled=1, puts=1, copies=1)
    assert transaction.done


def test_what_was_settled_frees_credit() -> None:
    rig = Rig()
    _, sent = begun(rig, 2)
    rig.reply(sent, settled=2, puts=1, copies=1)
    assert rig.only("credit")["messages"] == 2


def test_its_messages_are_held_until_the_answer() -> None:
    rig = Rig()
    transaction, sent = begun(rig)
    ((_, ((run, start, stop),), ranges),) = transaction.settled
    assert list(run.held(start, stop)) == ranges == [(0, 1, 0)]
    rig.reply(sent, settled=1, puts=1, copies=1)
    assert list(run.held(start, stop)) == []


def test_a_refusal_leaves_its_messages_held() -> None:
    rig = Rig()
    transaction, sent = begun(rig)
    rig.refuse(sent, "lease_lost")
    ((_, ((run, start, stop),), _),) = transaction.settled
    assert list(run.held(start, stop)) == [(0, 1, 0)]


def test_a_failure_that_nobody_waits_for_is_told() -> None:
    rig = Rig()
    _, sent = begun(rig)
    rig.refuse(sent, "lease_lost")
    (trouble,) = rig.session.troubles
    assert isinstance(trouble, LeaseLost)


def test_the_end_of_a_client_waits_for_it() -> None:
    rig = Rig()
    transaction, _ = begun(rig)
    assert transaction in rig.session.unconfirmed


def test_a_refusal_for_now_is_no_failure() -> None:
    assert ResourceAlarm.retryable
    rig = Rig()
    transaction, sent = begun(rig)
    rig.refuse(sent, "resource_alarm")
    assert not transaction.done


def test_a_delivery_that_crosses_the_end_of_a_client_is_no_failure() -> None:
    """All is confirmed at once, so that the bye may overtake the last deliveries."""
    rig = Rig()
    _, sent = begun(rig)
    rig.reply(sent, settled=1, puts=1, copies=1)
    rig.session.consumers.leave_all()
    rig.session.say_bye(rig.now)
    rig.deliver([b"late"], first=3, tag=b"\0\1" + b"t" * 24)
    assert len(rig.session.unconfirmed) > 0
    rig.session.require_confirmed()
