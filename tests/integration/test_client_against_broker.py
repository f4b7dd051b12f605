"""Both clients against a real broker process, in health."""

from __future__ import annotations

import pytest

from patterns import (
    LeaseLost,
    QueueDeleted,
    QueueFull,
    QueueNotEmpty,
    QueueNotFound,
    SettingsMismatch,
    UnknownSetting,
)
from tests.integration.conftest import Connect, ready
from tests.support.waiting import wait_until


def test_everything_put_comes_back_as_it_was_put(connect: Connect) -> None:
    orders = connect().queue("orders")
    orders.put({"item": "laptop"}, {"trace": "t-1"}, type="event", id="o-1")
    orders.put("text", priority=9, ttl=60)
    orders.put(b"raw").wait(20)
    urgent, first, second = [orders.get(5) for _ in range(3)]
    assert (urgent.body, urgent.priority) == ("text", 9)
    assert (first.body, first.headers, first.type) == (
        {"item": "laptop"},
        {"trace": "t-1"},
        "event",
    )
    assert (first.id, second.body, second.id) == ("o-1", b"raw", "orders:2")
    assert first.put_at > 1_700_000_000


def test_ten_thousand_single_puts_are_consumed_in_order(connect: Connect) -> None:
    mq = connect()
    orders = mq.queue("orders")
    for number in range(10_000):
        orders.put(b"%d" % number)
    bodies = []
    for message in orders.consume(max=10_000, timeout=20):
        bodies.append(message.body)
        message.ack()
    mq.flush(20)
    assert bodies == [b"%d" % number for number in range(10_000)]
    assert (ready(orders), mq.counters["leases_lost"]) == (0, 0)


def test_batches_are_consumed_to_the_last(connect: Connect) -> None:
    mq = connect()
    orders = mq.queue("orders")
    orders.put_many(b"%d" % number for number in range(30_000)).wait(20)
    bodies: list[bytes] = []
    for batch in orders.consume_batches(1_000, timeout=20):
        bodies += batch.bodies
        batch.ack()
        if len(bodies) == 30_000:
            break
    mq.flush(20)
    assert bodies == [b"%d" % number for number in range(30_000)]
    assert ready(orders) == 0


def test_the_credit_in_bytes_never_runs_out(connect: Connect) -> None:
    orders = connect().queue("orders")
    body = b"x" * 200_000
    taken = 0
    for _ in range(10):
        orders.put_many([body] * 10).wait(20)
        for message in orders.consume(max=10, timeout=20):
            message.ack()
            taken += 1
    assert taken == 100


def test_a_nacked_message_comes_back_in_its_place_with_an_attempt(connect: Connect) -> None:
    orders = connect().queue("orders")
    orders.put_many([b"a", b"b"]).wait(20)
    first = orders.get(5)
    first.nack(delay=0, wait=True)
    again = orders.get(5)
    assert (again.body, again.attempts) == (b"a", 1)
    again.nack(delay=0, charge=False, wait=True)
    assert orders.get(5).attempts == 1


def test_a_rejected_message_is_gone(connect: Connect) -> None:
    orders = connect().queue("orders")
    orders.put(b"a").wait(20)
    orders.get(5).reject(wait=True)
    assert orders.get() is None


def test_a_lease_that_ended_is_lost_and_another_gets_the_message(connect: Connect) -> None:
    orders = connect().queue("orders")
    orders.put(b"a").wait(20)
    late = orders.get(5, lease=1)
    again = orders.get(20)
    assert (again.body, again.attempts) == (b"a", 1)
    with pytest.raises(LeaseLost):
        late.ack(wait=True)
    again.ack(wait=True)


def test_an_extended_lease_outlives_the_first(connect: Connect) -> None:
    orders = connect().queue("orders")
    orders.put(b"a").wait(20)
    message = orders.get(5, lease=1)
    message.extend(60)
    assert orders.get(timeout=1.5) is None
    message.ack(wait=True)


def test_leaving_a_loop_gives_the_unseen_back_in_order(connect: Connect) -> None:
    orders = connect().queue("orders")
    orders.put_many([b"%d" % number for number in range(100)]).wait(20)
    for message in orders.consume(credit=50):
        message.ack()
        break
    wait_until(lambda: ready(orders) == 99, "the unseen are back")
    bodies = []
    for message in orders.consume(max=99, timeout=20):
        assert message.attempts == 0
        bodies.append(message.body)
        message.ack()
    assert bodies == [b"%d" % number for number in range(1, 100)]


def test_auto_ack_leaves_nothing_behind(connect: Connect) -> None:
    orders = connect().queue("orders")
    orders.put_many([b"a", b"b"]).wait(20)
    assert [m.body for m in orders.consume(auto_ack=True, max=2)] == [b"a", b"b"]
    assert ready(orders) == 0


def test_settings_are_declared_once_and_compared(connect: Connect) -> None:
    mq = connect()
    orders = mq.queue("orders", lease=30.0, max_messages=2)
    mq.queue("orders", lease=30.0, max_messages=2)
    with pytest.raises(SettingsMismatch):
        mq.queue("orders", lease=31.0)
    with pytest.raises(UnknownSetting):
        mq.queue("invoices", colour="red")
    orders.put_many([b"a", b"b"]).wait(20)
    with pytest.raises(QueueFull):
        orders.put(b"c").wait(20)
    orders.get(5).ack(wait=True)
    orders.put(b"d").wait(20)


def test_queues_are_listed_counted_purged_and_deleted(connect: Connect) -> None:
    mq = connect()
    names = [f"queue-{number}" for number in range(5)]
    for name in names:
        mq.queue(name).put(b"x")
    mq.flush(20)
    assert mq.queues() == names
    last = mq.queue(names[-1])
    with pytest.raises(QueueNotEmpty):
        last.delete()
    assert last.purge() == 1
    last.delete()
    with pytest.raises(QueueNotFound):
        last.stats()
    assert mq.queues() == names[:-1]


def test_a_queue_deleted_and_made_anew_takes_puts_again(connect: Connect) -> None:
    orders = connect().queue("orders")
    for number in range(5):
        orders.put(b"%d" % number).wait(20)
    orders.delete(if_empty=False)
    confirms = [orders.put(b"again %d" % number) for number in range(5)]
    assert [confirm.wait(20).position for confirm in confirms] == list(range(5))


def test_a_deleted_queue_ends_its_consumers_by_name(connect: Connect) -> None:
    orders = connect().queue("orders")
    orders.put(b"a").wait(20)
    loop = orders.consume()
    next(loop).ack(wait=True)
    orders.delete()
    with pytest.raises(QueueDeleted):
        next(loop)


def test_two_consumers_share_the_work(connect: Connect) -> None:
    one, two = connect(), connect()
    one.queue("orders").put_many([b"%d" % number for number in range(2_000)]).wait(20)
    loops = [mq.queue("orders").consume(credit=10, timeout=5) for mq in (one, two)]
    seen: list[bytes] = []
    while len(seen) < 2_000:
        for loop in loops:
            message = next(loop, None)
            if message is not None:
                seen.append(message.body)
                message.ack()
    assert sorted(map(int, seen)) == list(range(2_000))
