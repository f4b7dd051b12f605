"""Dead letters, redrives and transactions, over one real broker that is killed meanwhile."""

from __future__ import annotations

import time
from typing import Any

import pytest

from broker.model.slots import slot_of
from patterns import Client, LeaseLost, TransactionSpansSlots
from tests.integration.conftest import bodies, kill_9
from tests.support.broker_process import BrokerProcess
from tests.support.waiting import wait_until

WAIT_S = 60


def take(queue: Any, **fields: Any) -> Any:
    message = queue.get(WAIT_S, **fields)
    assert message is not None
    return message


def with_dead_letters(mq: Client, name: str, **settings: Any) -> tuple[Any, Any]:
    """A queue and its dead-letter queue."""
    dead = mq.queue(f"{name}-dead", lease=30.0)
    return mq.queue(name, dead_letter=dead.name, **settings), dead


def test_after_one_try_and_three_retries_a_message_is_a_dead_letter(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue, dead = with_dead_letters(mq, name)
    queue.put(b"bad").wait(WAIT_S)
    for attempts in range(4):
        message = take(queue)
        assert message.attempts == attempts
        message.nack(delay=0, wait=True)
        if attempts == 2:
            kill_9(shared)
    letter = take(dead)
    assert (letter.body, letter.attempts) == (b"bad", 0)
    assert (letter.death.reason, letter.death.attempts) == ("attempts", 4)
    wait_until(lambda: queue.stats()["messages"] == 0, "it has left its queue")


def test_a_dead_letter_says_why_from_where_how_often_and_when(mq: Client, name: str) -> None:
    queue, dead = with_dead_letters(mq, name)
    before = time.time()
    queue.put({"n": 1}, {"trace": "t"}, id="one", type="event", priority=7).wait(WAIT_S)
    take(queue).nack(delay=0, wait=True)
    take(queue).reject(wait=True)
    letter = take(dead)
    headers = letter.headers
    assert (headers["x-death-reason"], headers["x-death-queue"]) == ("rejected", name)
    assert (headers["x-death-attempts"], headers["trace"]) == (1, "t")
    assert headers["x-death-time"] >= before - 1
    assert (letter.body, letter.id, letter.type, letter.priority) == ({"n": 1}, "one", "event", 7)


def test_where_there_is_no_dead_letter_queue_it_is_dropped_and_counted(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name, max_attempts=1)
    queue.put_many([b"rejected", b"failed"]).wait(WAIT_S)
    take(queue).reject(wait=True)
    take(queue).nack(wait=True)
    counters = queue.stats()["counters"]
    assert (counters["rejected"], counters["exhausted"], counters["dropped"]) == (1, 1, 2)
    kill_9(shared)
    assert queue.stats()["messages"] == 0


def test_what_a_dead_letter_queue_does_not_take_stays_counts_and_comes_in_order(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    dead = mq.queue(f"{name}-dead", max_messages=1)
    dead.put(b"there already").wait(WAIT_S)
    queue = mq.queue(name, dead_letter=dead.name)
    queue.put_many([b"a", b"b"]).wait(WAIT_S)
    for _ in range(2):
        take(queue).reject(wait=True)
    kill_9(shared)
    wait_until(lambda: queue.stats()["last_transfer_error"] is not None, "it was refused")
    stats = queue.stats()
    assert (stats["departing"], stats["departed_to"]) == (2, {dead.name: 2})
    assert (stats["messages"], stats["ready"]) == (2, 0)
    assert "queue_full" in stats["last_transfer_error"]
    dead.update(max_messages=None)
    wait_until(lambda: queue.stats()["departing"] == 0, "all have left")
    assert bodies(dead.browse()) == [b"there already", b"a", b"b"]


def test_many_deaths_over_kills_lose_and_double_nothing(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue, dead = with_dead_letters(mq, name)
    put = [b"%d" % number for number in range(400)]
    queue.put_many(put).wait(WAIT_S)
    for number, message in enumerate(queue.get_many(400, WAIT_S)):
        message.reject()
        if number in (150, 300):
            mq.flush(WAIT_S)
            kill_9(shared)
    wait_until(lambda: queue.stats()["messages"] == 0, "all are dead")
    assert sorted(bodies(dead.browse())) == sorted(put)


def test_a_redrive_sends_them_back_by_selector_bound_and_rate(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue, dead = with_dead_letters(mq, name)
    for number in range(4):
        queue.put(b"%d" % number, {"kind": "even" if number % 2 == 0 else "odd"})
    mq.flush(WAIT_S)
    for _ in range(4):
        take(queue).reject(wait=True)
    wait_until(lambda: dead.stats()["ready"] == 4, "four are dead")
    assert dead.redrive(selector={"kind": "even"}).wait(WAIT_S) == 2
    wait_until(lambda: queue.stats()["ready"] == 2, "two are back")
    assert dead.redrive(max=1, per_second=1_000).wait(WAIT_S) == 1
    kill_9(shared)
    wait_until(lambda: queue.stats()["ready"] == 3, "three are back")
    assert sorted(bodies(queue.browse())) == [b"0", b"1", b"2"]
    assert bodies(dead.browse()) == [b"3"]
    assert dead.redrive(to=f"{name}-other").wait(WAIT_S) == 1
    other = take(mq.queue(f"{name}-other"))
    assert (other.body, other.attempts, other.death) == (b"3", 0, None)


def test_a_transaction_happens_whole_over_a_kill(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    source = mq.queue(name)
    source.put_many([b"a", b"b"]).wait(WAIT_S)
    with mq.transaction() as tx:
        tx.ack(take(source))
        for number in range(3):
            tx.put(f"{name}-one", b"%d" % number)
        tx.put(f"{name}-two", b"x")
    kill_9(shared)
    wait_until(lambda: mq.stats()["departing"] == 0, "all have arrived")
    assert bodies(source.browse()) == [b"b"]
    assert bodies(mq.queue(f"{name}-one").browse()) == [b"0", b"1", b"2"]
    assert bodies(mq.queue(f"{name}-two").browse()) == [b"x"]


def test_one_lost_lease_refuses_the_whole_transaction(mq: Client, name: str) -> None:
    source = mq.queue(name)
    mq.queue(f"{name}-to", lease=30.0)
    source.put_many([b"held", b"lost"]).wait(WAIT_S)
    held, lost = take(source), take(source, lease=1)
    wait_until(lambda: source.stats()["ready"] == 1, "one lease has ended")
    tx = mq.transaction()
    tx.ack(held)
    tx.ack(lost)
    tx.put(f"{name}-to", b"never")
    with pytest.raises(LeaseLost):
        tx.commit(WAIT_S)
    assert mq.queue(f"{name}-to").stats()["messages"] == 0
    held.ack(wait=True)
    assert bodies(source.browse()) == [b"lost"]


def test_settles_of_two_slots_are_refused_by_name(mq: Client, name: str) -> None:
    names = (f"{name}-{number}" for number in range(1_000))
    other = next(each for each in names if slot_of(each, 64) != slot_of(name, 64))
    tx = mq.transaction()
    for each in (name, other):
        mq.queue(each).put(b"a").wait(WAIT_S)
        tx.ack(take(mq.queue(each)))
    with pytest.raises(TransactionSpansSlots):
        tx.commit(WAIT_S)
    assert [mq.queue(each).stats()["messages"] for each in (name, other)] == [1, 1]


def test_an_exception_in_the_block_puts_and_settles_nothing(mq: Client, name: str) -> None:
    source, target = mq.queue(name), mq.queue(f"{name}-to", lease=30.0)
    source.put(b"a").wait(WAIT_S)
    message = take(source)

    def fail() -> None:
        with mq.transaction() as tx:
            tx.ack(message)
            tx.put(target.name, b"never")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    message.ack(wait=True)
    assert (source.stats()["messages"], target.stats()["messages"]) == (0, 0)
