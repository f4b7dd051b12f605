"""NATS core through nats-py: publish, which gathers by itself, and a callback."""

import asyncio
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contender import missing_of
from bench.fanout.contender import CHANNEL, IDLE_SECONDS, Publish, Subscribe, Take
from bench.machine import has_program, package_version, program_version
from bench.processes import Server, free_port, launch, wait_until_listening

_PENDING_MESSAGES = 1_000_000
_PENDING_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class NatsCore:
    """One nats-server without JetStream."""

    name: str = "NATS core"
    kind: str = "peer"
    client: str = "nats-py; publish, a flush a batch, a callback"

    def missing(self) -> str:
        """Name the packages that are not there."""
        return missing_of(
            [
                (has_program("nats-server"), "nats-server (Debian)"),
                (importlib.util.find_spec("nats") is not None, "nats-py (PyPI)"),
            ]
        )

    def version(self) -> str:
        """Return the versions of broker and client."""
        return f"{program_version('nats-server', '--version')}; {package_version('nats-py')}"

    def start(self, directory: Path) -> Server:
        """Start nats-server."""
        port = free_port()
        settings = ["-a", "127.0.0.1", "-p", str(port)]
        return wait_until_listening(launch(["nats-server", *settings], port, directory))

    @contextmanager
    def open_publisher(self, port: int) -> Iterator[Publish]:
        """Yield a publisher that flushes after each list."""
        with asyncio.Runner() as runner, _connected(runner, port) as connection:

            async def publish_all(bodies: list[bytes]) -> None:
                for body in bodies:
                    await connection.publish(CHANNEL, body)
                await connection.flush()

            yield lambda bodies: runner.run(publish_all(bodies))

    @contextmanager
    def open_subscriber(self, port: int) -> Iterator[Subscribe]:
        """Yield a subscriber."""
        with asyncio.Runner() as runner, _connected(runner, port) as connection:
            waiting: list[bytes] = []
            came = asyncio.Event()

            async def on_message(message: Any) -> None:
                waiting.append(message.data)
                came.set()

            async def subscribe() -> None:
                await connection.subscribe(
                    CHANNEL,
                    cb=on_message,
                    pending_msgs_limit=_PENDING_MESSAGES,
                    pending_bytes_limit=_PENDING_BYTES,
                )
                await connection.flush()

            runner.run(subscribe())
            yield lambda take: runner.run(_receive(waiting, came, take))


async def _receive(waiting: list[bytes], came: asyncio.Event, take: Take) -> None:
    more = True
    while more:
        if not waiting:
            came.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(came.wait(), IDLE_SECONDS)
        bodies = waiting.copy()
        waiting.clear()
        more = take(bodies)


@contextmanager
def _connected(runner: asyncio.Runner, port: int) -> Iterator[Any]:
    import nats

    connection = runner.run(nats.connect(f"nats://127.0.0.1:{port}"))
    try:
        yield connection
    finally:
        runner.run(connection.close())
