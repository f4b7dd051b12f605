"""NATS JetStream through nats-py: a file stream, plain publishes with a reply, a push consumer.

Never uses `publish_async` and `fetch`: both cost the client more than twice as much as the plain
publish and the plain subscription used here, which the server serves just the same. The server
writes to its file before it answers and syncs every two minutes; this version has no setting to
sync before the answer.
"""

import asyncio
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contender import (
    QUEUE,
    UNCONFIRMED_MESSAGES,
    Consume,
    Produce,
    PutOne,
    missing_of,
)
from bench.machine import has_program, package_version, program_version
from bench.processes import Service, free_port, launch, wait_until_listening
from bench.traffic import Load, Sink, Supply

CONSUMERS = {False: "by_batch", True: "one_by_one"}
_ACK = b"+ACK"
_DELIVERED_UNACKED_MAX = 20_000


@dataclass(frozen=True, slots=True)
class JetStream:
    """A stream on disk with one durable push consumer."""

    name: str = "NATS JetStream, file store"
    durability: str = "written to the file, synced by the kernel or after two minutes"
    synced: bool = False
    kind: str = "peer"

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

    def start(self, directory: Path) -> Service:
        """Start nats-server with JetStream."""
        port = free_port()
        settings = ["-js", "-sd", str(directory), "-a", "127.0.0.1", "-p", str(port)]
        return wait_until_listening(launch(["nats-server", *settings], port, directory))

    def prepare(self, port: int) -> None:
        """Make the stream and its two consumers: one acknowledges by range, one by message."""
        asyncio.run(self._prepare(port))

    @contextmanager
    def open_producer(self, port: int, load: Load) -> Iterator[Produce]:
        """Yield a producer: the protocol has no batches, so every load is the same to it."""
        with asyncio.Runner() as runner, self._connected(runner, port) as connection:
            yield lambda supply: runner.run(_produce(connection, supply))

    @contextmanager
    def open_consumer(self, port: int, load: Load) -> Iterator[Consume]:
        """Yield a consumer that acknowledges a batch by its last message, or each message."""
        consumer = CONSUMERS[load.singly]
        with asyncio.Runner() as runner, self._connected(runner, port, consumer) as connection:
            yield lambda sink: runner.run(_consume(connection, load, sink))

    @contextmanager
    def open_waiting_producer(self, port: int) -> Iterator[PutOne]:
        """Yield a call that publishes and waits for the answer."""
        with asyncio.Runner() as runner, self._connected(runner, port) as connection:
            stream = connection.jetstream()

            def put_one(body: bytes) -> None:
                runner.run(stream.publish(QUEUE, body))

            yield put_one

    async def connect(self, port: int, consumer: str = "") -> Any:
        """Connect to the server that serves the stream, or this consumer of it, best."""
        import nats

        return await nats.connect(f"nats://127.0.0.1:{port}")

    @contextmanager
    def _connected(self, runner: asyncio.Runner, port: int, consumer: str = "") -> Iterator[Any]:
        connection = runner.run(self.connect(port, consumer))
        try:
            yield connection
        finally:
            runner.run(connection.close())

    async def _prepare(self, port: int) -> None:
        import nats

        connection = await nats.connect(f"nats://127.0.0.1:{port}")
        await add_stream(connection.jetstream(), replicas=1)
        await connection.close()


async def add_stream(stream: Any, replicas: int) -> None:
    """Make the stream and its two consumers."""
    from nats.js.api import AckPolicy, ConsumerConfig, StorageType

    await stream.add_stream(
        name=QUEUE, subjects=[QUEUE], storage=StorageType.FILE, num_replicas=replicas
    )
    for singly, name in CONSUMERS.items():
        settings = ConsumerConfig(
            durable_name=name,
            deliver_subject=f"deliver.{name}",
            ack_policy=AckPolicy.EXPLICIT if singly else AckPolicy.ALL,
            max_ack_pending=_DELIVERED_UNACKED_MAX,
        )
        await stream.add_consumer(QUEUE, settings)


async def _produce(connection: Any, supply: Supply) -> None:
    """Publish with at most the allowed number of messages not yet answered."""
    confirmed = 0
    refusals: list[bytes] = []
    moved = asyncio.Event()

    async def on_answer(message: Any) -> None:
        nonlocal confirmed
        if b'"error"' in message.data:
            refusals.append(message.data)
        confirmed += 1
        moved.set()

    async def wait_until_confirmed(count: int) -> None:
        while confirmed < count:
            moved.clear()
            await moved.wait()
        if refusals:
            raise RuntimeError(f"JetStream refused a message: {refusals[0]!r}")

    inbox = connection.new_inbox()
    await connection.subscribe(inbox, cb=on_answer)
    for sent, body in enumerate(supply.singles()):
        if sent - confirmed >= UNCONFIRMED_MESSAGES:
            await wait_until_confirmed(sent + 1 - UNCONFIRMED_MESSAGES)
        await connection.publish(QUEUE, body, reply=inbox)
    await wait_until_confirmed(supply.count)


async def _consume(connection: Any, load: Load, sink: Sink) -> None:
    """Take messages as they are pushed; a batch is acknowledged by its last message."""
    finished = asyncio.Event()
    waiting: list[bytes] = []

    async def on_message(message: Any) -> None:
        waiting.append(message.data)
        more = True
        if len(waiting) >= load.batch:
            more = sink.take(waiting)
            waiting.clear()
        if load.singly or not waiting:
            await connection.publish(message.reply, _ACK)
        if not more:
            finished.set()

    await connection.subscribe(f"deliver.{CONSUMERS[load.singly]}", cb=on_message)
    await finished.wait()
    await connection.flush()
