"""What only the async client has: tasks, cancellation, an event loop that stays free."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from patterns import AsyncClient, ClientClosed
from tests.client.scripted_broker import ScriptedBroker
from tests.support.waiting import DEADLINE_S, wait_until


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, DEADLINE_S))


def test_many_tasks_wait_for_their_own_confirms(broker: ScriptedBroker) -> None:
    async def main() -> None:
        async with AsyncClient(broker.address) as mq:
            queue = await mq.queue("q")

            async def put(number: int) -> int | None:
                return (await (await queue.put(b"%d" % number)).wait(20)).position

            places = await asyncio.gather(*[put(number) for number in range(500)])
            assert sorted(place for place in places if place is not None) == list(range(500))

    run(main())


def test_producer_and_consumer_share_the_loop(broker: ScriptedBroker) -> None:
    async def main() -> None:
        async with AsyncClient(broker.address) as mq:
            queue = await mq.queue("q")

            async def produce() -> None:
                for number in range(5_000):
                    await queue.put(b"%d" % number)

            async def consume() -> list[bytes]:
                bodies = []
                async for message in queue.consume(max=5_000):
                    bodies.append(message.body)
                    await message.ack()
                return bodies

            _, bodies = await asyncio.gather(produce(), consume())
            assert bodies == [b"%d" % number for number in range(5_000)]

    run(main())


def test_a_task_that_puts_without_an_end_lets_others_run(broker: ScriptedBroker) -> None:
    async def main() -> None:
        async with AsyncClient(broker.address) as mq:
            queue = await mq.queue("q")
            is_over = False

            async def others() -> None:
                nonlocal is_over
                for _ in range(10):
                    await asyncio.sleep(0)
                is_over = True

            other = asyncio.create_task(others())
            while not is_over:
                await queue.put(b"x")
            await other

    run(main())


def test_a_cancelled_get_gives_back_what_comes_too_late(broker: ScriptedBroker) -> None:
    async def main() -> None:
        async with AsyncClient(broker.address) as mq:
            queue = await mq.queue("q")
            await (await queue.put(b"a")).wait(10)
            broker.hold_replies()
            task = asyncio.create_task(queue.get(timeout=60))
            await asyncio.to_thread(wait_until, lambda: broker.queue("q").ready_count == 0, "held")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            broker.release_replies()
            await asyncio.to_thread(wait_until, lambda: broker.queue("q").ready_count == 1, "back")
            assert mq.counters["messages_given_back"] == 1

    run(main())


def test_a_cancelled_iteration_gives_the_unseen_back(broker: ScriptedBroker) -> None:
    async def main() -> None:
        async with AsyncClient(broker.address) as mq:
            queue = await mq.queue("q")
            await (await queue.put_many([b"%d" % number for number in range(10)])).wait(10)
            async with aclosing(queue.consume(credit=10)) as messages:
                async for message in messages:
                    await message.ack()
                    break
            await mq.flush(10)
            await asyncio.to_thread(wait_until, lambda: broker.queue("q").ready_count == 9, "back")

    run(main())


def test_closing_ends_the_waits_of_other_tasks(broker: ScriptedBroker) -> None:
    async def main() -> None:
        mq = AsyncClient(broker.address)
        await mq.connect()
        queue = await mq.queue("q")
        waiting = asyncio.create_task(anext(queue.consume()))
        await asyncio.to_thread(wait_until, lambda: bool(broker.commands("consume")), "consuming")
        await mq.close()
        with pytest.raises(ClientClosed):
            await waiting

    run(main())


def test_an_async_client_is_connected_before_it_is_used(broker: ScriptedBroker) -> None:
    async def main() -> None:
        mq = AsyncClient(broker.address)
        with pytest.raises(ClientClosed, match="connect"):
            await mq.stats()
        await mq.connect()
        assert mq.is_connected
        await mq.close()

    run(main())


def test_tasks_that_wait_for_room_all_get_their_turn(broker: ScriptedBroker) -> None:
    async def main() -> None:
        async with AsyncClient(broker.address, batch=1, unconfirmed_bytes_max=50) as mq:
            queue = await mq.queue("q")

            async def put(number: int) -> None:
                for _ in range(20):
                    await queue.put(b"%d" % number)

            await asyncio.gather(*[put(number) for number in range(20)])
            await mq.flush(20)
            assert len(broker.queue("q").bodies) == 400

    run(main())


def test_a_consumer_waits_again_after_news_that_brought_nothing(broker: ScriptedBroker) -> None:
    async def main() -> None:
        async with AsyncClient(broker.address) as mq:
            queue = await mq.queue("q")
            one, two = queue.consume(credit=1), queue.consume(credit=1)
            first, second = asyncio.create_task(anext(one)), asyncio.create_task(anext(two))
            await asyncio.to_thread(
                wait_until, lambda: len(broker.commands("consume")) == 2, "both consume"
            )
            for body in (b"a", b"b"):
                await (await queue.put(body)).wait(10)
            assert {(await first).body, (await second).body} == {b"a", b"b"}

    run(main())
