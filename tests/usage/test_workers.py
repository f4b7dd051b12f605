"""Workers, over a broker in memory whose clock runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from broker.testing import MemoryBroker
from patterns import AsyncMessage, Message
from patterns.async_work_queue import AsyncWorker
from patterns.work_queue import Reject, Retry, Worker


@pytest.fixture
def memory() -> Iterator[MemoryBroker]:
    with MemoryBroker(real_time=True) as made:
        yield made


def test_what_a_handler_raises_says_what_becomes_of_the_message(memory: MemoryBroker) -> None:
    mq = memory.client()
    jobs = mq.queue("jobs", dead_letter="failed", max_attempts=2, backoff=0.01, backoff_max=0.01)
    for body in ("good", "bad", "busy", "broken"):
        jobs.put(body)
    mq.flush()
    tried: list[tuple[str, int]] = []

    def handle(message: Message) -> None:
        tried.append((message.body, message.attempts))
        if message.body == "bad":
            raise Reject
        if message.body == "busy" and ("broken", 1) not in tried:
            raise Retry(0.01, charge=False)
        if message.body == "broken":
            raise ZeroDivisionError
        if message.body == "busy":
            worker.stop()

    worker = Worker(mq, "jobs", handle, concurrency=2)
    worker.run()
    assert set(tried) == {("good", 0), ("bad", 0), ("broken", 0), ("broken", 1), ("busy", 0)}
    dead = [letter.body for letter in mq.queue("failed").get_many(2, timeout=5)]
    assert dead[0] == "bad"


def test_a_stopped_worker_gives_back_what_it_did_not_finish(memory: MemoryBroker) -> None:
    mq = memory.client()
    jobs = mq.queue("jobs")
    jobs.put_many(["a", "b", "c"]).wait(5)
    begun, go_on = threading.Event(), threading.Event()

    def handle(message: Message) -> None:
        begun.set()
        go_on.wait(30)

    worker = Worker(mq, "jobs", handle, prefetch=1, drain=0.0)
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert begun.wait(30)
    worker.stop()
    thread.join(30)
    go_on.set()
    again = jobs.get_many(3, timeout=5)
    assert [(message.body, message.attempts) for message in again] == [
        ("a", 0),
        ("b", 0),
        ("c", 0),
    ]


def test_an_async_worker_finishes_what_is_in_hand_and_cancels_what_is_late() -> None:
    async def main() -> None:
        broker = MemoryBroker(real_time=True)
        async with broker.async_client() as mq:
            jobs = await mq.queue("jobs")
            await (await jobs.put_many(["late", "quick", "more"])).wait(5)
            done: list[str] = []

            async def handle(message: AsyncMessage) -> None:
                if message.body == "late":
                    await asyncio.Event().wait()
                done.append(message.body)
                if len(done) == 2:
                    worker.stop()

            worker = AsyncWorker(mq, "jobs", handle, concurrency=2, drain=0.01)
            await worker.run()
            assert done == ["quick", "more"]
            late = await jobs.get(timeout=5)
            assert late is not None
            assert (late.body, late.attempts) == ("late", 0)
            assert await jobs.get() is None

    asyncio.run(main())
