"""NATS request and reply through nats-py: request, and a queue group that responds."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.calling.contender import SERVICE, WAIT_SECONDS, CallFor, Work
from bench.calling.msgqueue_calls import in_tasks, until
from bench.fanout.nats_core import NatsCore
from bench.processes import Server


@dataclass(frozen=True, slots=True)
class NatsRequests:
    """One nats-server without JetStream."""

    name: str = "NATS request-reply"
    kind: str = "peer"
    client: str = "nats-py; request, a queue group; a task a caller"

    def missing(self) -> str:
        """Name the packages that are not there."""
        return NatsCore().missing()

    def version(self) -> str:
        """Return the versions of broker and client."""
        return NatsCore().version()

    def start(self, directory: Path) -> Server:
        """Start nats-server."""
        return NatsCore().start(directory)

    @contextmanager
    def open_worker(self, port: int) -> Iterator[Work]:
        """Yield a member of the queue group."""
        with asyncio.Runner() as runner:
            connection = runner.run(_connect(port))

            async def respond(message: Any) -> None:
                await message.respond(message.data)

            async def subscribe() -> None:
                await connection.subscribe(SERVICE, queue="workers", cb=respond)
                await connection.flush()

            runner.run(subscribe())
            yield lambda is_over: runner.run(until(is_over))
            runner.run(connection.close())

    @contextmanager
    def open_callers(self, port: int) -> Iterator[CallFor]:
        """Yield tasks over one connection."""

        async def run(seconds: float, callers: int) -> list[float]:
            connection = await _connect(port)

            async def call(body: bytes) -> bytes:
                answer: bytes = (await connection.request(SERVICE, body, timeout=WAIT_SECONDS)).data
                return answer

            try:
                return await in_tasks(call, seconds, callers)
            finally:
                await connection.close()

        yield lambda seconds, callers: asyncio.run(run(seconds, callers))


async def _connect(port: int) -> Any:
    import nats

    return await nats.connect(f"nats://127.0.0.1:{port}")
