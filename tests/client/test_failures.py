"""What both clients do when connections, sessions and answers are lost: one body, two faces."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from patterns import ConnectionLost, LeaseLost, QueueDeleted, ResourceAlarm
from tests.client.conftest import Connect
from tests.client.faults import ignore, refuse
from tests.client.scripted_broker import ScriptedBroker
from tests.support.waiting import wait_until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_nobody_at_the_address_is_an_error_that_names_it(connect: Connect) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(ConnectionLost, match=address):
        connect(address, connect_timeout=0.2)


def test_the_first_address_that_answers_is_used(connect: Connect, broker: ScriptedBroker) -> None:
    mq = connect(f"tcp://127.0.0.1:{free_port()},{broker.address}")
    mq.queue("orders").put(b"a").wait(10)
    assert broker.queue("orders").bodies == [b"a"]


def test_the_other_broker_is_used_when_one_is_lost(
    connect: Connect, broker: ScriptedBroker
) -> None:
    with ScriptedBroker() as other:
        mq = connect(f"{broker.address},{other.address}")
        mq.queue("orders").put(b"a").wait(10)
        broker.stop()
        mq.queue("invoices").put(b"b").wait(10)
        assert other.queue("invoices").bodies == [b"b"]


def test_puts_over_a_restart_are_all_kept_once_and_in_order(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq = connect(batch=10)
    orders = mq.queue("orders")
    for number in range(3_000):
        orders.put(b"%d" % number)
        if number in (700, 1_900):
            broker.restart()
    mq.flush(30)
    assert broker.queue("orders").bodies == [b"%d" % number for number in range(3_000)]
    assert mq.counters["sessions"] >= 2


def test_puts_whose_confirms_were_lost_appear_once(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq = connect(batch=5)
    orders = mq.queue("orders")
    broker.hold_replies()
    confirms = [orders.put(b"%d" % number) for number in range(23)]
    wait_until(lambda: len(broker.queue("orders").bodies) == 23, "all were taken")
    broker.drop_held()
    assert [confirm.wait(20).duplicate for confirm in confirms] == [True] * 23
    assert len(broker.queue("orders").bodies) == 23
    assert mq.counters["batches_duplicate"] > 0


def test_confirms_may_come_in_any_order(connect: Connect, broker: ScriptedBroker) -> None:
    mq = connect(batch=1)
    orders = mq.queue("orders")
    broker.hold_replies()
    confirms = [orders.put(b"%d" % number) for number in range(20)]
    wait_until(lambda: len(broker.queue("orders").bodies) == 20, "all were taken")
    broker.release_replies(order=lambda held: held[::-1])
    assert [confirm.wait(10).position for confirm in confirms] == list(range(20))


def test_a_forgotten_session_is_begun_anew(connect: Connect, broker: ScriptedBroker) -> None:
    mq = connect()
    orders = mq.queue("orders")
    orders.put(b"a").wait(10)
    broker.forget_sessions()
    orders.put(b"b").wait(10)
    assert orders.stats() == {"ready": 2}
    assert [hello.get("resume") for hello in broker.commands("hello")] == [None, b"session-1"]


def test_a_closed_session_is_begun_anew(connect: Connect, broker: ScriptedBroker) -> None:
    mq = connect()
    broker.close_sessions()
    wait_until(lambda: len(broker.sessions) == 1, "the client is back")
    mq.queue("orders").put(b"b").wait(10)


def test_a_broker_that_says_nothing_any_more_is_left(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq = connect(session_timeout=1.0)
    broker.faults.append(ignore("put"))
    broker.faults.append(ignore("ping", times=2))
    assert mq.queue("orders").put(b"a").wait(20).position == 0
    assert mq.counters["sessions"] == 2


def test_an_idle_client_keeps_its_session_alive(connect: Connect, broker: ScriptedBroker) -> None:
    connect(session_timeout=1.0)
    wait_until(lambda: len(broker.commands("ping")) >= 3, "three pings")
    assert len(broker.commands("hello")) == 1


def test_an_alarm_holds_puts_back_until_it_ends(connect: Connect, broker: ScriptedBroker) -> None:
    broker.faults.append(refuse("put", "resource_alarm", times=3))
    mq = connect(batch=2)
    orders = mq.queue("orders")
    confirms = [orders.put(b"%d" % number) for number in range(6)]
    assert [confirm.wait(20).position for confirm in confirms] == list(range(6))
    assert broker.queue("orders").bodies == [b"%d" % number for number in range(6)]


def test_an_alarm_that_does_not_end_fails_the_put_at_its_time_limit(
    connect: Connect, broker: ScriptedBroker
) -> None:
    broker.faults.append(refuse("put", "resource_alarm", times=1_000))
    mq = connect(put_timeout=0.2)
    # The limit may end between an asking and its refusal: then the outcome is not known.
    with pytest.raises((ResourceAlarm, ConnectionLost), match="resource_alarm"):
        mq.queue("orders").put(b"a").wait(20)


def test_a_request_without_an_answer_fails_at_its_time_limit(
    connect: Connect, broker: ScriptedBroker
) -> None:
    broker.faults.append(ignore("stats", times=1_000))
    mq = connect(request_timeout=0.1)
    with pytest.raises(ConnectionLost, match="stats"):
        mq.stats()


def test_consuming_goes_on_over_a_restart_and_nothing_is_lost(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq = connect()
    orders = mq.queue("orders")
    orders.put_many([b"%d" % number for number in range(1_000)]).wait(10)
    bodies: list[bytes] = []
    for message in orders.consume(max=1_000):
        bodies.append(message.body)
        message.ack()
        if len(bodies) in (100, 600):
            broker.restart()
    mq.flush(30)
    assert bodies == [b"%d" % number for number in range(1_000)]
    assert broker.queue("orders").bodies == []


def test_a_limit_counts_what_was_seen_and_not_what_a_reconnect_took(
    connect: Connect, broker: ScriptedBroker
) -> None:
    orders = connect().queue("orders")
    orders.put_many([b"%d" % number for number in range(40)]).wait(10)
    bodies: list[bytes] = []
    for message in orders.consume(credit=20, max=20):
        if not bodies:
            # The rest of what is prefetched is somebody else's when the client is back.
            broker.forget_sessions()
            for position in range(1, 20):
                del broker.queue("orders").messages[position]
            wait_until(lambda: len(broker.commands("extend")) > 0, "the client is back")
        bodies.append(message.body)
        message.ack()
    assert len(bodies) == 20


def test_held_messages_can_be_settled_after_a_restart(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq = connect()
    orders = mq.queue("orders")
    orders.put_many([b"a", b"b"]).wait(10)
    one, two = orders.get_many(2, 5)
    broker.restart()
    one.ack(wait=True)
    two.ack(wait=True)
    assert broker.queue("orders").bodies == []


def test_acks_whose_answers_were_lost_are_sent_again(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq = connect()
    orders = mq.queue("orders")
    orders.put_many([b"a", b"b"]).wait(10)
    one, two = orders.get_many(2, 5)
    broker.faults.append(ignore("ack"))
    one.ack()
    two.ack()
    wait_until(lambda: len(broker.commands("ack")) == 1, "the ack was lost")
    broker.restart()
    mq.flush(20)
    assert broker.queue("orders").bodies == []
    assert mq.counters["leases_lost"] == 0


def test_a_message_that_a_reconnect_gave_away_is_lost_to_its_holder(
    connect: Connect, broker: ScriptedBroker
) -> None:
    told: list[Exception] = []
    mq = connect(on_error=told.append)
    orders = mq.queue("orders")
    orders.put_many([b"a", b"b"]).wait(10)
    one, two = orders.get_many(2, 5)
    broker.forget_sessions()
    for message in broker.queue("orders").messages.values():
        message.holder = b"somebody else"
    mq.stats()
    wait_until(lambda: not one.is_held, "the loss is known")
    with pytest.raises(LeaseLost):
        one.ack(wait=True)
    two.ack()
    wait_until(lambda: bool(told), "the error was told")
    assert isinstance(told[0], LeaseLost)


def test_a_get_goes_on_waiting_over_a_restart(connect: Connect, broker: ScriptedBroker) -> None:
    mq = connect()
    orders = mq.queue("orders")
    waiting = orders.consume(timeout=30)
    broker.put_directly("orders", [b"before"])
    assert next(waiting).body == b"before"
    broker.restart()
    broker.put_directly("orders", [b"after"])
    assert {next(waiting).body for _ in range(1)} <= {b"before", b"after"}


def test_a_deleted_queue_ends_an_iteration_by_name(
    connect: Connect, broker: ScriptedBroker
) -> None:
    orders = connect().queue("orders")
    orders.put(b"a").wait(10)
    loop = orders.consume()
    next(loop).ack()
    broker.delete_queue("orders")
    with pytest.raises(QueueDeleted):
        next(loop)


def test_a_reply_that_is_none_costs_a_reconnect_and_nothing_else(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq = connect()
    orders = mq.queue("orders")
    broker.say([b"\xc1 not msgpack"])
    orders.put(b"a").wait(10)
    wait_until(lambda: mq.counters["replies_broken"] == 1, "it was counted")
    assert mq.queue("orders").stats() == {"ready": 1}


def test_closing_without_a_broker_tells_what_is_not_confirmed(
    connect: Connect, broker: ScriptedBroker
) -> None:
    mq: Any = connect()
    orders = mq.queue("orders")
    orders.put(b"a").wait(10)
    broker.stop()
    orders.put(b"b")
    with pytest.raises(ConnectionLost):
        mq.close(0.1)
