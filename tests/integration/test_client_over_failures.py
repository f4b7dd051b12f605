"""Both clients and a real broker process that dies, or whose line is cut."""

from __future__ import annotations

import threading
from typing import Any

from patterns import Client
from tests.integration.conftest import Connect, ready
from tests.integration.wire_cutter import WireCutter
from tests.support.broker_process import BrokerProcess


def test_puts_over_kill_9_are_all_there_once_and_in_order(
    connect: Connect, broker: BrokerProcess
) -> None:
    mq = connect(batch=50)
    orders = mq.queue("orders")
    confirms = []
    for number in range(6_000):
        confirms.append(orders.put(b"%d" % number))
        if number in (1_500, 4_000):
            confirms[number - 200].wait(30)
            broker.kill()
            broker.restart()
    mq.flush(60)
    assert all(confirm.done for confirm in confirms)
    bodies = []
    for message in orders.consume(max=6_000, timeout=20):
        bodies.append(message.body)
        message.ack()
    assert bodies == [b"%d" % number for number in range(6_000)]


def test_consuming_over_kill_9_sees_every_message_and_acks_it_once(
    connect: Connect, broker: BrokerProcess
) -> None:
    mq = connect()
    orders = mq.queue("orders")
    orders.put_many([b"%d" % number for number in range(5_000)]).wait(30)
    seen: list[int] = []
    for message in orders.consume(timeout=20):
        seen.append(int(message.body))
        message.ack()
        if len(seen) in (1_000, 3_000):
            broker.kill()
            broker.restart()
        if len(set(seen)) == 5_000:
            break
    mq.flush(60)
    assert sorted(set(seen)) == list(range(5_000))
    assert orders.get() is None
    assert len(seen) == 5_000


def test_a_held_message_is_acked_after_kill_9(connect: Connect, broker: BrokerProcess) -> None:
    mq = connect()
    orders = mq.queue("orders")
    orders.put_many([b"a", b"b"]).wait(20)
    held = orders.get(5)
    broker.kill()
    broker.restart()
    held.ack(wait=True)
    message = orders.get(5)
    assert (message.body, message.attempts) == (b"b", 0)
    message.ack(wait=True)


def test_producer_and_consumer_go_on_while_the_broker_dies_again_and_again(
    broker: BrokerProcess,
) -> None:
    total = 20_000
    seen: list[int] = []
    is_over = threading.Event()

    def consume() -> None:
        with Client(broker.endpoint) as mq:
            while len(set(seen)) < total:
                for message in mq.queue("orders").consume(timeout=1):
                    seen.append(int(message.body))
                    message.ack()
                    if len(seen) >= total and len(set(seen)) == total:
                        break
        is_over.set()

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    with Client(broker.endpoint) as mq:
        for number in range(total):
            mq.queue("orders").put(b"%d" % number)
            if number % 5_000 == 2_500:
                broker.kill()
                broker.restart()
        mq.flush(60)
        assert is_over.wait(60)
        consumer.join()
        assert sorted(set(seen)) == list(range(total))
        assert mq.queue("orders").get() is None


def test_a_broker_that_is_stopped_in_order_loses_nothing(
    connect: Connect, broker: BrokerProcess
) -> None:
    mq = connect()
    orders = mq.queue("orders")
    confirms = [orders.put(b"%d" % number) for number in range(500)]
    assert broker.terminate() == 0
    broker.restart()
    confirms += [orders.put(b"%d" % number) for number in range(500, 1_000)]
    for confirm in confirms:
        confirm.wait(30)
    assert ready(orders) == 1_000


def test_puts_over_a_cut_line_are_all_there_once_and_in_order(
    connect: Connect, broker: BrokerProcess
) -> None:
    with WireCutter(broker.endpoint) as line:
        mq = connect(line.endpoint, batch=50)
        orders = mq.queue("orders")
        for number in range(6_000):
            orders.put(b"%d" % number)
            if number % 1_000 == 500:
                line.cut()
        mq.flush(60)
        bodies: list[Any] = []
        for message in orders.consume(max=6_000, timeout=20):
            bodies.append(message.body)
            message.ack()
        assert bodies == [b"%d" % number for number in range(6_000)]
        assert mq.counters["sessions"] > 1
        mq.close()


def test_consuming_over_a_cut_line_sees_every_message(
    connect: Connect, broker: BrokerProcess
) -> None:
    with WireCutter(broker.endpoint) as line:
        mq = connect(line.endpoint)
        orders = mq.queue("orders")
        orders.put_many([b"%d" % number for number in range(5_000)]).wait(30)
        seen: list[int] = []
        for message in orders.consume(timeout=20):
            seen.append(int(message.body))
            message.ack()
            if len(seen) in (500, 1_500, 4_000):
                line.cut()
            if len(set(seen)) == 5_000:
                break
        mq.flush(60)
        assert sorted(set(seen)) == list(range(5_000))
        assert orders.get() is None
        mq.close()


def test_a_held_message_is_acked_after_the_line_was_cut(
    connect: Connect, broker: BrokerProcess
) -> None:
    with WireCutter(broker.endpoint) as line:
        mq = connect(line.endpoint)
        orders = mq.queue("orders")
        orders.put(b"a").wait(20)
        held = orders.get(5)
        line.cut()
        held.ack(wait=True)
        assert orders.get() is None
        mq.close()
