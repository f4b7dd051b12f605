"""Calls as threads and tasks make them: many at once, Ctrl-C, cancellation, servers of tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial

import pytest

from broker.client import sync_driver
from patterns import AsyncClient, Client, ClientClosed, HandlerFailed, Request, WaitTimeout
from tests.client.faults import ignore
from tests.client.scripted_broker import ScriptedBroker
from tests.client.test_tasks import run
from tests.client.test_threads import interrupt_after, run_all
from tests.support.waiting import wait_until


def test_many_threads_call_over_one_client_and_each_gets_its_own(broker: ScriptedBroker) -> None:
    with Client(broker.address) as worker, Client(broker.address) as mq:
        worker.serve("echo", lambda request: request.raw, concurrency=3)

        def work(thread: int) -> None:
            for number in range(50):
                body = b"%d %d" % (thread, number)
                assert mq.call("echo", body, timeout=60).raw == body

        run_all(*[partial(work, thread) for thread in range(8)])


def test_only_those_threads_wake_whose_answer_has_come(
    broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakes: list[object] = []
    wake = sync_driver._Waiter.wake

    def count(waiter: sync_driver._Waiter) -> None:
        wakes.append(waiter)
        wake(waiter)

    monkeypatch.setattr(sync_driver._Waiter, "wake", count)
    with Client(broker.address) as mq, Client(broker.address) as worker:
        worker.serve("echo", lambda request: request.raw)
        broker.faults.append(ignore("call", times=8))

        def wait() -> None:
            with pytest.raises(ClientClosed):
                mq.call("echo", timeout=60)

        threads = [threading.Thread(target=wait) for _ in range(8)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(broker.commands("call")) == 8, "all of them wait")
        wakes.clear()
        for _ in range(50):
            mq.call("echo", b"x", timeout=60)
        # Its own, and that of the one which receives in its place.
        assert len(wakes) <= 2 * 50
        mq.close()
        for thread in threads:
            thread.join()


def test_threads_call_and_serve_over_one_client(broker: ScriptedBroker) -> None:
    with Client(broker.address) as mq:
        mq.serve("echo", lambda request: request.raw, concurrency=2)

        def work() -> None:
            for _ in range(50):
                assert mq.call("echo", b"x", timeout=60).raw == b"x"

        run_all(*[work] * 4)


def test_ctrl_c_in_a_call_withdraws_it(broker: ScriptedBroker) -> None:
    with Client(broker.address) as mq:
        broker.faults.append(ignore("call"))
        with interrupt_after(lambda: bool(broker.commands("call"))):
            mq.call("echo", timeout=60)
        mq.queue("q").put(b"x").wait(60)
        # A second stroke may cost the connection, and the call with it.
        assert len(broker.commands("cancel_call")) + len(broker.commands("hello")) > 1


def test_closing_ends_a_call_in_another_thread(broker: ScriptedBroker) -> None:
    mq = Client(broker.address)
    broker.faults.append(ignore("call"))

    def wait() -> None:
        with pytest.raises(ClientClosed):
            mq.call("echo", timeout=60)

    def close() -> None:
        wait_until(lambda: bool(broker.commands("call")), "the other one waits")
        mq.close()

    run_all(wait, close)


def test_a_handler_may_close_its_own_server(broker: ScriptedBroker) -> None:
    with Client(broker.address) as worker, Client(broker.address) as mq:

        def handler(_: Request) -> bytes:
            server.close()
            return b"last"

        server = worker.serve("once", handler)
        assert mq.call("once", timeout=60).raw == b"last"
        assert server.wait(60)


def test_a_server_is_waited_for(broker: ScriptedBroker) -> None:
    with Client(broker.address) as mq:
        with mq.serve("echo", lambda request: request.raw) as server:
            assert not server.wait(0.01)
        assert server.wait(60)


def test_many_tasks_call_at_once(broker: ScriptedBroker) -> None:
    async def main() -> None:
        async with AsyncClient(broker.address) as worker, AsyncClient(broker.address) as mq:

            async def handler(request: Request) -> bytes:
                await asyncio.sleep(0)
                return request.raw

            await worker.serve("echo", handler, concurrency=50)

            async def call(number: int) -> bytes:
                return (await mq.call("echo", b"%d" % number, timeout=60)).raw

            came = await asyncio.gather(*[call(number) for number in range(300)])
            assert came == [b"%d" % number for number in range(300)]

    run(main())


def test_a_task_that_is_cancelled_withdraws_its_call_and_the_handler_is_cancelled(
    broker: ScriptedBroker,
) -> None:
    async def main() -> None:
        has_begun, was_cancelled = asyncio.Event(), asyncio.Event()

        async def handler(_: Request) -> None:
            has_begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                was_cancelled.set()

        async with AsyncClient(broker.address) as worker, AsyncClient(broker.address) as mq:
            await worker.serve("slow", handler)
            task = asyncio.create_task(mq.call("slow", timeout=60))
            await has_begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await was_cancelled.wait()
            assert len(broker.commands("cancel_call")) == 1

    run(main())


def test_an_async_generator_is_a_stream_and_ends_when_nobody_takes_it(
    broker: ScriptedBroker,
) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def handler(_: Request) -> AsyncIterator[int]:
            try:
                for number in range(1_000_000):
                    yield number
                    await asyncio.sleep(0)
            finally:
                ended.set()

        async with AsyncClient(broker.address) as worker, AsyncClient(broker.address) as mq:
            await worker.serve("endless", handler)
            came = []
            async with await mq.call("endless", stream=True, timeout=60) as answers:
                async for answer in answers:
                    came.append(answer.body)
                    if len(came) == 3:
                        break
            assert came == [0, 1, 2]
            await ended.wait()

    run(main())


def test_what_is_not_answered_when_a_server_closes_is_cancelled(broker: ScriptedBroker) -> None:
    async def main() -> None:
        has_begun = asyncio.Event()

        async def handler(_: Request) -> None:
            has_begun.set()
            await asyncio.Event().wait()

        async with AsyncClient(broker.address) as worker, AsyncClient(broker.address) as mq:
            server = await worker.serve("slow", handler)
            call = asyncio.create_task(mq.call("slow", timeout=60))
            await has_begun.wait()
            with pytest.raises(WaitTimeout):
                await server.close(0.01)
            with pytest.raises(HandlerFailed) as failed:
                await call
            assert failed.value.remote_error == "CancelledError"

    run(main())
