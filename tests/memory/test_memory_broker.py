"""The broker in memory: the same broker and clients, and a clock that a test moves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from broker.testing import MemoryBroker
from patterns import Client, LeaseLost, MsgQueueError, Queue, QueueNotFound, WaitTimeout

START = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def broker() -> Iterator[MemoryBroker]:
    with MemoryBroker(now=START) as made:
        yield made


@pytest.fixture
def mq(broker: MemoryBroker) -> Client:
    return broker.client()


def test_what_one_client_puts_another_gets(broker: MemoryBroker) -> None:
    broker.client().queue("orders").put({"item": "book"}, {"trace": "t-1"}, priority=9)
    message = broker.client().queue("orders").get()
    assert message is not None
    assert message.body == {"item": "book"}
    assert (message.headers["trace"], message.priority) == ("t-1", 9)


def test_the_clock_stands_still_until_it_is_moved(broker: MemoryBroker, mq: Client) -> None:
    mq.queue("orders").put("later", delay=60)
    assert broker.now == START
    assert mq.queue("orders").get() is None
    broker.advance(seconds=59.999)
    assert mq.queue("orders").get() is None
    broker.advance(seconds=0.001)
    assert mq.queue("orders").get() is not None


def test_a_wait_takes_no_time_and_the_clock_moves_on(broker: MemoryBroker, mq: Client) -> None:
    orders = mq.queue("orders")
    orders.put("later", delay=3600)
    message = orders.get(timeout=7200)
    assert message is not None
    assert broker.now == START + timedelta(hours=1)
    message.ack()
    assert orders.get(timeout=1800) is None
    assert broker.now == START + timedelta(minutes=90)


def test_a_lease_ends_and_the_late_holder_is_told(broker: MemoryBroker, mq: Client) -> None:
    orders = mq.queue("orders", lease=30)
    orders.put("once")
    first = orders.get()
    assert first is not None
    broker.advance(seconds=31)
    again = orders.get()
    assert again is not None
    assert again.attempts == 1
    with pytest.raises(LeaseLost):
        first.ack(wait=True)


def test_a_consumer_takes_what_is_there_and_ends_when_idle(mq: Client) -> None:
    orders = mq.queue("orders")
    orders.put_many([str(number) for number in range(500)])
    taken = []
    for message in orders.consume(timeout=1.0):
        with message:
            taken.append(message.body)
    assert taken == [str(number) for number in range(500)]
    assert orders.stats()["ready"] == 0


def test_a_client_that_has_nothing_to_do_for_days_keeps_what_it_holds(
    broker: MemoryBroker, mq: Client
) -> None:
    orders = mq.queue("orders", lease=12 * 3600)
    orders.put("held")
    message = orders.get()
    assert message is not None
    broker.advance(hours=11)
    message.ack(wait=True)
    assert mq.counters["sessions"] == 1


def test_a_client_that_ends_gives_back_what_it_held(broker: MemoryBroker) -> None:
    with broker.client() as first:
        first.queue("orders").put("held").wait()
        assert first.queue("orders").get() is not None
    again = broker.client().queue("orders").get()
    assert again is not None


def test_a_restart_keeps_what_was_confirmed(broker: MemoryBroker, mq: Client) -> None:
    kept, lost = mq.queue("kept"), mq.queue("lost", durable=False)
    kept.put("kept").wait()
    lost.put("lost").wait()
    assert kept.get() is not None
    broker.restart()
    again = kept.get(timeout=5)
    assert again is not None
    assert again.attempts == 0
    assert lost.get(timeout=5) is None


def test_a_schedule_puts_as_the_clock_moves(broker: MemoryBroker, mq: Client) -> None:
    nightly = {"cron": "30 2 * * *", "body": "all", "content_type": "text/plain"}
    reports = mq.queue("reports", schedules={"nightly": nightly})
    broker.advance(days=3)
    put_at = [datetime.fromtimestamp(m.put_at or 0, UTC) for m in reports.get_many(10)]
    assert put_at == [START + timedelta(days=day, hours=2, minutes=30) for day in range(3)]


def test_a_transaction_moves_and_a_dead_letter_says_why(mq: Client) -> None:
    orders = mq.queue("orders", dead_letter="failed", max_attempts=1)
    orders.put("good")
    orders.put("bad")
    good, bad = orders.get_many(2)
    with mq.transaction() as tx:
        tx.ack(good)
        tx.put("invoices", "for good")
    bad.reject(wait=True)
    invoice, letter = mq.queue("invoices").get(timeout=1), mq.queue("failed").get(timeout=1)
    assert invoice is not None
    assert invoice.body == "for good"
    assert letter is not None
    assert letter.death is not None
    assert letter.death.reason == "rejected"


def test_errors_are_the_brokers_own() -> None:
    with MemoryBroker(auto_declare=False) as broker, pytest.raises(QueueNotFound):
        broker.client().queue("orders").put("x").wait()


def test_what_waits_for_ever_is_told_after_a_week(broker: MemoryBroker, mq: Client) -> None:
    with pytest.raises(WaitTimeout, match="a week"):
        mq.queue("orders").get(timeout=None)


def test_lost_leases_are_told_to_on_error(broker: MemoryBroker) -> None:
    told: list[MsgQueueError] = []
    mq = broker.client(on_error=told.append)
    orders = mq.queue("orders", lease=1)
    orders.put("slow")
    message = orders.get()
    assert message is not None
    broker.advance(seconds=5)
    message.ack()
    mq.flush()
    assert [error.name for error in told] == ["lease_lost"]


def _day_of(seed: int) -> list[tuple[str, int, float]]:
    """A busy day with failures, as one client saw it."""
    seen: list[tuple[str, int, float]] = []
    with MemoryBroker(now=START, seed=seed) as broker:
        jobs = broker.client().queue("jobs", backoff=5, backoff_max=600, max_attempts=6)
        for number in range(20):
            jobs.put(str(number), delay=number * 60)
        for message in jobs.consume(timeout=900):
            seen.append((message.body, message.attempts, broker.now.timestamp()))
            if len(seen) % 3:
                message.nack()
            else:
                message.ack()
    return seen


def test_one_seed_gives_one_run() -> None:
    assert _day_of(1) == _day_of(1)
    assert _day_of(1) != _day_of(2)


def test_tasks_of_one_loop_share_the_clock() -> None:
    async def consume(broker: MemoryBroker) -> list[str]:
        taken = []
        async with broker.async_client() as mq:
            async for message in (await mq.queue("orders")).consume(timeout=60):
                async with message:
                    taken.append(message.body)
        return taken

    async def produce(broker: MemoryBroker) -> None:
        async with broker.async_client() as mq:
            orders = await mq.queue("orders")
            for number in range(5):
                await (await orders.put(str(number), delay=number * 10)).wait()

    async def main() -> None:
        broker = MemoryBroker(now=START)
        taken, _ = await asyncio.gather(consume(broker), produce(broker))
        assert taken == ["0", "1", "2", "3", "4"]
        assert broker.now == START + timedelta(seconds=100)

    asyncio.run(main())


def test_advance_wakes_a_task_that_waits() -> None:
    async def main() -> None:
        broker = MemoryBroker(now=START)
        async with broker.async_client() as mq:
            orders = await mq.queue("orders")
            await (await orders.put("later", delay=60)).wait()
            waiting = asyncio.create_task(orders.get(timeout=3600))
            await asyncio.sleep(0)
            broker.advance(seconds=60)
            message = await waiting
            assert message is not None
            assert broker.now == START + timedelta(seconds=60)

    asyncio.run(main())


def _take_all(queue: Queue, taken: list[str]) -> None:
    for message in queue.consume(timeout=5, max=100):
        with message:
            taken.append(message.body)


def test_the_clock_stands_while_another_thread_works_on_an_answer(
    broker: MemoryBroker, mq: Client
) -> None:
    with broker.client().serve("double", lambda request: request.body * 2):
        answers = [mq.call("double", number, timeout=1).body for number in range(20)]
    assert answers == [2 * number for number in range(20)]
    assert broker.now - START < timedelta(seconds=1)


def test_every_subscriber_gets_what_is_published_to_a_channel(
    broker: MemoryBroker, mq: Client
) -> None:
    subscriptions = [
        broker.client().subscribe("orders.>", timeout=1),
        broker.client().subscribe("orders.*", timeout=1),
        broker.client().subscribe("orders.us", timeout=1),
    ]
    for number in range(3):
        mq.publish("orders.eu", number)
    assert mq.publish("orders.us", "last").wait(5).subscriptions == 3
    heard = [[event.body for event in subscription] for subscription in subscriptions]
    assert heard == [[0, 1, 2, "last"], [0, 1, 2, "last"], ["last"]]


def test_a_late_subscriber_gets_the_last_value(broker: MemoryBroker, mq: Client) -> None:
    kitchen = mq.channel("temperature.kitchen", history=True, durable=True)
    kitchen.publish(20)
    kitchen.publish(21).wait(5)
    broker.restart()
    late = mq.subscribe("temperature.>", start="last", timeout=1)
    assert [event.body for event in late] == [21]


def test_in_real_time_threads_wait_for_one_another() -> None:
    with MemoryBroker(real_time=True) as broker:
        taken: list[str] = []
        queue = broker.client().queue("orders")
        thread = threading.Thread(target=_take_all, args=(queue, taken))
        thread.start()
        mq = broker.client()
        for number in range(100):
            mq.queue("orders").put(str(number))
            mq.flush()
        thread.join(timeout=30)
        assert taken == [str(number) for number in range(100)]
