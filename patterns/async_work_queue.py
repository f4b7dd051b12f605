"""The worker of ``work_queue`` for asyncio: coroutines in tasks.

    async def send(message: AsyncMessage) -> None:
        await deliver(message.body)            # raise to have it tried again

    async with AsyncClient() as mq:
        await AsyncWorker(mq, "emails", send, concurrency=100).run()

Retries, leases and the end are those of ``work_queue``.

Law: at least once, as there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from broker.client.async_client import AsyncClient
from broker.client.async_message import AsyncMessage
from broker.errors import MsgQueueError
from patterns.work_queue import SIGNALS, log, retry_of


class AsyncWorker:
    """As ``Worker``, with coroutines in tasks; the options are the same.

    What is not finished after ``drain`` seconds is cancelled.
    """

    def __init__(
        self,
        mq: AsyncClient,
        queue: str,
        handle: Callable[[AsyncMessage], Awaitable[object]],
        *,
        concurrency: int = 1,
        lease: float = 30.0,
        prefetch: int = 0,
        drain: float = 30.0,
    ) -> None:
        self._mq = mq
        self._name = queue
        self._handle = handle
        self._concurrency = concurrency
        self._lease = lease
        self._credit = concurrency + prefetch
        self._drain = drain
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ends ``run`` soon; from the loop's thread."""
        self._stopping.set()

    async def run(self) -> None:
        """Works until ``stop``, SIGTERM or Ctrl-C; raises what the client raises."""
        loop = asyncio.get_running_loop()
        handled = SIGNALS if threading.current_thread() is threading.main_thread() else ()
        for number in handled:
            loop.add_signal_handler(number, self.stop)
        taking = asyncio.create_task(self._take())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([taking, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            taking.cancel()
            stopping.cancel()
            (failed, _) = await asyncio.gather(taking, stopping, return_exceptions=True)
            await self._finish()
            for number in handled:
                loop.remove_signal_handler(number)
        await self._mq.flush()
        if isinstance(failed, Exception):
            raise failed

    async def _take(self) -> None:
        queue = await self._mq.queue(self._name)
        coming = queue.consume(
            credit=self._credit, concurrency=self._concurrency, lease=self._lease
        )
        # Closed at once when this task is cancelled: what was not begun goes back free.
        async with aclosing(coming):
            async for message in coming:
                task = asyncio.create_task(self._work(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                while len(self._tasks) >= self._concurrency:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def _work(self, message: AsyncMessage) -> None:
        keeping = asyncio.create_task(self._keep_lease(message))
        try:
            await self._handle(message)
        except asyncio.CancelledError:
            await message.nack(charge=False)
        except Exception as error:
            again = retry_of(error, message)
            if message.is_held:
                await (message.nack(again.delay, again.charge) if again else message.reject())
        else:
            if message.is_held:
                await message.ack()
        finally:
            keeping.cancel()

    async def _keep_lease(self, message: AsyncMessage) -> None:
        while message.is_held:
            await asyncio.sleep(self._lease / 3)
            try:
                await message.extend(self._lease)
            except MsgQueueError as error:
                log.warning("the lease of %s: %s: %s", message.id, error.name, error)

    async def _finish(self) -> None:
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._drain)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
