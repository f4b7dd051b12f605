"""RabbitMQ's direct reply-to through pika: nothing is kept, confirmed or acknowledged."""

from collections import deque
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
    under_way,
)
from bench.peers.rabbitmq import RabbitMQ
from bench.processes import Service

_REPLIES = "amq.rabbitmq.reply-to"
_BROKER = RabbitMQ("classic")


@dataclass(frozen=True, slots=True)
class RabbitMQDirect:
    """One node; a queue in memory for requests, the pseudo-queue for replies."""

    name: str = "RabbitMQ direct reply-to"
    kind: str = "peer"
    client: str = "pika's BlockingConnection; auto-ack, so many calls under way"

    def missing(self) -> str:
        """Name the packages that are not there."""
        return _BROKER.missing()

    def version(self) -> str:
        """Return the versions of broker and client."""
        return _BROKER.version()

    def start(self, directory: Path) -> Service:
        """Start a node."""
        return _BROKER.start(directory)

    @contextmanager
    def open_worker(self, port: int) -> Iterator[Work]:
        """Yield a consumer of the queue."""
        import pika

        with _channel(port) as channel:

            def respond(_: Any, method: Any, properties: Any, body: bytes) -> None:
                answer = pika.BasicProperties(correlation_id=properties.correlation_id)
                channel.basic_publish("", properties.reply_to, body, answer)

            channel.basic_consume(SERVICE, respond, auto_ack=True)

            def work(is_over: IsOver) -> None:
                while not is_over():
                    channel.connection.process_data_events(IDLE_SECONDS)

            yield work

    @contextmanager
    def open_callers(self, port: int) -> Iterator[CallFor]:
        """Yield one connection with so many calls under way."""
        import pika

        with _channel(port) as channel:
            came: deque[tuple[int, bytes]] = deque()

            def take(_: Any, method: Any, properties: Any, body: bytes) -> None:
                came.append((int(properties.correlation_id), body))

            channel.basic_consume(_REPLIES, take, auto_ack=True)

            def send(number: int, body: bytes) -> None:
                ways = pika.BasicProperties(reply_to=_REPLIES, correlation_id=str(number))
                channel.basic_publish("", SERVICE, body, ways)

            def receive() -> tuple[int, bytes]:
                while not came:
                    channel.connection.process_data_events(WAIT_SECONDS)
                return came.popleft()

            yield lambda seconds, callers: under_way(send, receive, seconds, callers)


@contextmanager
def _channel(port: int) -> Iterator[Any]:
    import pika

    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))
    channel = connection.channel()
    channel.queue_declare(SERVICE)
    try:
        yield channel
    finally:
        connection.close()
