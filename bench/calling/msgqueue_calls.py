"""MsgQueue's services through the clients that its users import; never behind `patterns`."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.calling.contender import (
    IDLE_SECONDS,
    SERVICE,
    WAIT_SECONDS,
    CallFor,
    IsOver,
    Work,
    body_of,
    in_threads,
    require_echo,
)
from bench.peers.msgqueue import COMMAND, MsgQueue
from bench.processes import Service

_PLACES = 16
BROKER = MsgQueue(command=(*COMMAND, "--publish-listen", "", "--raw-listen", ""))


@dataclass(frozen=True, slots=True)
class MsgQueueThreads:
    """`Client`: callers are threads, a worker is a thread."""

    name: str = "MsgQueue, Client"
    kind: str = "ours"
    client: str = "call and serve; a thread a caller, four a worker"

    def missing(self) -> str:
        """Name what this working tree does not have yet."""
        return BROKER.missing()

    def version(self) -> str:
        """Return the commit and the libraries below."""
        return BROKER.version()

    def start(self, directory: Path) -> Service:
        """Start the broker."""
        return BROKER.start(directory)

    @contextmanager
    def open_worker(self, port: int) -> Iterator[Work]:
        """Yield a worker with four threads."""
        from patterns import Client

        with Client(BROKER.addresses(port)) as mq, mq.serve(SERVICE, _echo, concurrency=4):
            yield _wait

    @contextmanager
    def open_callers(self, port: int) -> Iterator[CallFor]:
        """Yield threads over one client."""
        from patterns import Client

        with Client(BROKER.addresses(port)) as mq:

            def call(body: bytes) -> bytes:
                return mq.call(SERVICE, body, timeout=WAIT_SECONDS).raw

            yield lambda seconds, callers: in_threads(call, seconds, callers)


@dataclass(frozen=True, slots=True)
class MsgQueueTasks:
    """`AsyncClient`: callers are tasks, and so is each request of a worker."""

    name: str = "MsgQueue, AsyncClient"
    kind: str = "ours"
    client: str = "call and serve; a task a caller, 16 a worker"

    def missing(self) -> str:
        """Name what this working tree does not have yet."""
        return BROKER.missing()

    def version(self) -> str:
        """Return the commit and the libraries below."""
        return BROKER.version()

    def start(self, directory: Path) -> Service:
        """Start the broker."""
        return BROKER.start(directory)

    @contextmanager
    def open_worker(self, port: int) -> Iterator[Work]:
        """Yield a worker with places for all callers."""
        from patterns import AsyncClient

        with asyncio.Runner() as runner:
            mq = AsyncClient(BROKER.addresses(port))

            async def serve() -> None:
                await mq.connect()
                await mq.serve(SERVICE, _echo, concurrency=_PLACES)

            runner.run(serve())
            yield lambda is_over: runner.run(until(is_over))
            runner.run(mq.close())

    @contextmanager
    def open_callers(self, port: int) -> Iterator[CallFor]:
        """Yield tasks over one client."""
        yield lambda seconds, callers: asyncio.run(_call_in_tasks(port, seconds, callers))


async def _call_in_tasks(port: int, seconds: float, callers: int) -> list[float]:
    from patterns import AsyncClient

    async with AsyncClient(BROKER.addresses(port)) as mq:
        return await in_tasks(lambda body: _call(mq, body), seconds, callers)


async def _call(mq: Any, body: bytes) -> bytes:
    answer: bytes = (await mq.call(SERVICE, body, timeout=WAIT_SECONDS)).raw
    return answer


async def until(is_over: IsOver) -> None:
    """Let the tasks of the loop work until it is over."""
    while not is_over():  # noqa: ASYNC110 - another process says so
        await asyncio.sleep(IDLE_SECONDS)


async def in_tasks(call: Any, seconds: float, callers: int) -> list[float]:
    """Let each caller be a task."""
    ends_at = time.monotonic() + seconds
    samples: list[float] = []

    async def run(caller: int) -> None:
        number = caller << 32
        while time.monotonic() < ends_at:
            number += 1
            body = body_of(number)
            began_at = time.perf_counter()
            answer = await call(body)
            samples.append(time.perf_counter() - began_at)
            require_echo(body, answer)

    await asyncio.gather(*[run(caller) for caller in range(callers)])
    return samples


def _echo(request: Any) -> bytes:
    raw: bytes = request.raw
    return raw


def _wait(is_over: IsOver) -> None:
    while not is_over():
        time.sleep(IDLE_SECONDS)
