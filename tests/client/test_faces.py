"""What both clients do with a broker that works: one body, two faces."""

from __future__ import annotations

from typing import Any

import pytest

from patterns import (
    BatchResult,
    CannotDecode,
    ClientClosed,
    LeaseLost,
    NameNotAllowed,
    PutResult,
    QueueFull,
    QueueNotFound,
    SettingsMismatch,
    TooLarge,
    WaitTimeout,
)
from tests.client.conftest import Connect
from tests.client.faults import refuse
from tests.client.scripted_broker import ScriptedBroker
from tests.support.waiting import wait_until


def test_a_put_is_confirmed_with_its_place(connect: Connect) -> None:
    orders = connect().queue("orders")
    first = orders.put({"item": "laptop"})
    second = orders.put(b"raw", {"trace": "t-1"}, type="event", id="order-2")
    assert second.wait(10) == PutResult("orders", 1, "order-2", 1, False)
    assert first.wait(10) == PutResult("orders", 0, "orders:0", 1, False)
    assert first.done


def test_a_message_tells_all_that_was_put_with_it(connect: Connect) -> None:
    orders = connect().queue("orders")
    orders.put({"item": "laptop"}, {"trace": "t-1"}, type="event", priority=7, id="o-1").wait(10)
    message = orders.get(5)
    assert message.body == {"item": "laptop"}
    assert message.raw == b'{"item":"laptop"}'
    assert message.headers == {"trace": "t-1"}
    assert (message.type, message.content_type) == ("event", "application/json")
    assert (message.id, message.priority, message.attempts) == ("o-1", 7, 0)
    assert (message.queue, message.position) == ("orders", 0)
    assert message.put_at == 1_700_000_000.0


def test_many_puts_are_consumed_in_order_and_acked(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq = connect()
    orders = mq.queue("orders")
    for number in range(2_500):
        orders.put(b"%d" % number)
    bodies = []
    for message in orders.consume(max=2_500):
        bodies.append(message.body)
        message.ack()
    assert bodies == [b"%d" % number for number in range(2_500)]
    mq.flush(10)
    assert broker.queue("orders").bodies == []
    assert mq.counters["settles_confirmed"] == 2_500


def test_put_many_gives_one_confirm_for_all(connect: Connect) -> None:
    orders = connect().queue("orders")
    confirm = orders.put_many((b"%d" % number for number in range(250)), batch=100)
    assert confirm.wait(10) == [
        BatchResult("orders", 0, 100, 1, False),
        BatchResult("orders", 100, 100, 1, False),
        BatchResult("orders", 200, 50, 1, False),
    ]
    assert confirm.done


def test_batches_are_consumed_and_acked_whole(connect: Connect, broker: ScriptedBroker) -> None:
    mq = connect()
    orders = mq.queue("orders")
    orders.put_many([b"a", b"b", "text", {"j": 1}]).wait(10)
    bodies: list[Any] = []
    for batch in orders.consume_batches(10):
        assert [message.body for message in batch] == batch.bodies
        bodies += batch.bodies
        batch.ack(wait=True)
        if len(bodies) == 4:
            break
    assert bodies == [b"a", b"b", "text", {"j": 1}]
    assert broker.queue("orders").bodies == []


def test_idle_time_ends_an_iteration(connect: Connect) -> None:
    orders = connect().queue("orders")
    orders.put(b"only").wait(10)
    bodies = []
    for message in orders.consume(timeout=0.05):
        bodies.append(message.body)
        message.ack()
    assert bodies == [b"only"]


def test_a_get_takes_what_is_there_and_no_more(connect: Connect) -> None:
    orders = connect().queue("orders")
    assert orders.get() is None
    assert orders.get_many(5) == []
    orders.put_many([b"a", b"b", b"c"]).wait(10)
    messages = orders.get_many(2, 5)
    assert [message.body for message in messages] == [b"a", b"b"]
    assert orders.get(5).body == b"c"


def test_a_block_acks_at_its_end_and_nacks_on_an_exception(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq = connect()
    orders = mq.queue("orders")
    orders.put_many([b"good", b"bad"]).wait(10)
    with orders.get(5) as message:
        assert message.is_held
    with pytest.raises(ZeroDivisionError), orders.get(5):
        _ = 1 / 0
    mq.flush(10)
    assert broker.queue("orders").bodies == [b"bad"]
    assert orders.get(5).attempts == 1


def test_a_block_leaves_alone_what_was_settled_inside(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq = connect()
    orders = mq.queue("orders")
    orders.put(b"odd").wait(10)
    with orders.get(5) as message:
        message.reject(wait=True)
    assert broker.queue("orders").rejected == [0]


def test_a_settle_that_is_waited_for_is_at_the_broker(
    connect: Connect, broker: ScriptedBroker
) -> None:
    orders = connect().queue("orders")
    orders.put_many([b"a", b"b", b"c"]).wait(10)
    one, two, three = orders.get_many(3, 5)
    one.ack(wait=True)
    two.nack(delay=0, charge=False, wait=True)
    three.reject(wait=True)
    assert broker.queue("orders").bodies == [b"b"]
    (nack,) = broker.commands("nack")
    assert (nack["delay_ms"], nack["charge"]) == (0, False)


def test_a_message_is_settled_once(connect: Connect) -> None:
    orders = connect().queue("orders")
    orders.put(b"a").wait(10)
    message = orders.get(5)
    message.ack()
    with pytest.raises(LeaseLost):
        message.ack()
    with pytest.raises(LeaseLost):
        message.nack()


def test_extending_holds_a_message_longer(connect: Connect, broker: ScriptedBroker) -> None:
    orders = connect().queue("orders")
    orders.put(b"a").wait(10)
    message = orders.get(5)
    message.extend(60)
    (extend,) = broker.commands("extend")
    assert extend["lease_ms"] == 60_000
    message.ack(wait=True)


def test_a_lease_that_was_lost_is_told_to_whoever_waits(
    connect: Connect, broker: ScriptedBroker
) -> None:
    orders = connect().queue("orders")
    orders.put_many([b"a", b"b"]).wait(10)
    one, two = orders.get_many(2, 5)
    for message in broker.queue("orders").messages.values():
        message.holder = b"somebody else"
    with pytest.raises(LeaseLost):
        one.ack(wait=True)
    with pytest.raises(LeaseLost):
        two.extend()
    assert not two.is_held


def test_a_lease_that_was_lost_is_counted_and_told_when_nobody_waits(
    connect: Connect, broker: ScriptedBroker
) -> None:
    told: list[Exception] = []
    mq = connect(on_error=told.append)
    orders = mq.queue("orders")
    orders.put(b"a").wait(10)
    message = orders.get(5)
    broker.queue("orders").messages[0].holder = b"somebody else"
    message.ack()
    wait_until(lambda: bool(told), "the error was told")
    assert [type(error) for error in told] == [LeaseLost]
    assert mq.counters["leases_lost"] == 1


def test_leaving_an_iteration_gives_the_unseen_back(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq = connect()
    orders = mq.queue("orders")
    orders.put_many([b"%d" % number for number in range(10)]).wait(10)
    loop = orders.consume(credit=8)
    next(loop).ack()
    held = next(loop)
    loop.close()
    wait_until(lambda: broker.queue("orders").ready_count == 8, "eight are back")
    assert [m.attempts for m in broker.queue("orders").messages.values()] == [0] * 9
    held.ack(wait=True)
    assert len(broker.queue("orders").bodies) == 8


def test_an_auto_ack_consumer_has_nothing_to_settle(
    connect: Connect, broker: ScriptedBroker
) -> None:
    orders = connect().queue("orders")
    orders.put_many([b"a", b"b"]).wait(10)
    bodies = []
    for message in orders.consume(auto_ack=True, max=2):
        bodies.append(message.body)
        message.ack()
    assert bodies == [b"a", b"b"]
    assert broker.commands("ack") == []


def test_the_credit_given_is_what_is_asked(connect: Connect, broker: ScriptedBroker) -> None:
    orders = connect().queue("orders")
    orders.put(b"a").wait(10)
    next(orders.consume(credit=7, lease=9, concurrency=3))
    (consume,) = broker.commands("consume")
    assert (consume["credit"], consume["lease_ms"], consume["concurrency"]) == (7, 9_000, 3)


def test_a_body_that_cannot_be_decoded_keeps_its_bytes(connect: Connect) -> None:
    orders = connect().queue("orders")
    orders.put(b"{", content_type="application/json").wait(10)
    message = orders.get(5)
    with pytest.raises(CannotDecode):
        _ = message.body
    assert message.raw == b"{"


def test_an_error_that_is_waited_for_is_raised_there_and_only_there(
    connect: Connect, broker: ScriptedBroker
) -> None:
    broker.faults.append(refuse("put", "queue_full"))
    mq = connect()
    orders = mq.queue("orders")
    confirm = orders.put(b"a")
    with pytest.raises(QueueFull):
        confirm.wait(10)
    orders.put(b"b").wait(10)
    mq.flush(10)
    assert mq.counters["puts_failed"] == 1


def test_an_ignored_error_is_raised_by_the_next_flush(
    connect: Connect, broker: ScriptedBroker
) -> None:
    broker.faults.append(refuse("put", "queue_full"))
    mq = connect()
    mq.queue("orders").put(b"a")
    with pytest.raises(QueueFull):
        mq.flush(10)
    mq.flush(10)


def test_an_ignored_error_is_raised_by_the_next_put(
    connect: Connect, broker: ScriptedBroker
) -> None:
    broker.faults.append(refuse("put", "queue_full"))
    mq = connect()
    orders = mq.queue("orders")
    confirm = orders.put(b"a")
    wait_until(lambda: bool(confirm.done), "the put failed")
    with pytest.raises(QueueFull):
        orders.put(b"b")
    orders.put(b"c").wait(10)
    assert broker.queue("orders").bodies == [b"c"]


def test_an_ignored_error_is_told_to_on_error_instead(
    connect: Connect, broker: ScriptedBroker
) -> None:
    broker.faults.append(refuse("put", "queue_full"))
    told: list[Exception] = []
    mq = connect(on_error=told.append)
    mq.queue("orders").put(b"a")
    wait_until(lambda: bool(told), "the error was told")
    mq.flush(10)
    assert [type(error) for error in told] == [QueueFull]


def test_a_wait_may_end_before_the_confirm_and_be_taken_up_again(
    connect: Connect, broker: ScriptedBroker
) -> None:
    orders = connect().queue("orders")
    broker.hold_replies()
    confirm = orders.put(b"a")
    with pytest.raises(WaitTimeout):
        confirm.wait(0.01)
    broker.release_replies()
    assert confirm.wait(10).position == 0


def test_settings_declare_the_queue_in_milliseconds(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq = connect()
    mq.queue("orders", lease=30.0, max_messages=100)
    mq.queue("orders", lease=30.0, max_messages=100)
    assert broker.queue("orders").settings == {"lease_ms": 30_000, "max_messages": 100}
    with pytest.raises(SettingsMismatch):
        mq.queue("orders", lease=31.0)


def test_queues_are_listed_page_by_page(connect: Connect) -> None:
    mq = connect()
    for name in ("e", "d", "c", "b", "a"):
        mq.queue(name).put(b"x")
    mq.flush(10)
    assert mq.queues() == ["a", "b", "c", "d", "e"]
    assert mq.stats() == {"ready": 5}


def test_a_queue_tells_its_stats_and_can_be_purged_and_deleted(connect: Connect) -> None:
    mq = connect()
    orders = mq.queue("orders")
    orders.put_many([b"a", b"b"]).wait(10)
    assert orders.stats() == {"ready": 2}
    assert orders.purge() == 2
    assert orders.delete() == 0
    with pytest.raises(QueueNotFound):
        orders.stats()


def test_what_cannot_be_is_refused_before_anything_is_sent(connect: Connect) -> None:
    mq = connect()
    with pytest.raises(NameNotAllowed):
        mq.queue("no spaces")
    with pytest.raises(TooLarge):
        mq.queue("orders").put(bytes(17 * 2**20))


def test_closing_flushes_and_says_bye(connect: Connect, broker: ScriptedBroker) -> None:
    mq = connect()
    orders = mq.queue("orders")
    for number in range(100):
        orders.put(b"%d" % number)
    mq.close()
    assert len(broker.queue("orders").bodies) == 100
    assert len(broker.commands("bye")) == 1


def test_a_closed_client_says_so(connect: Connect) -> None:
    mq = connect()
    orders = mq.queue("orders")
    orders.put(b"a").wait(10)
    message = orders.get(5)
    mq.close()
    with pytest.raises(ClientClosed):
        orders.put(b"b")
    with pytest.raises(ClientClosed):
        orders.get()
    with pytest.raises(ClientClosed):
        message.ack()
    with pytest.raises(ClientClosed):
        mq.flush()
