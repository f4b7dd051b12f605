"""RabbitMQ through pika: persistent messages, publisher confirms, acknowledges by range.

Never publishes through pika's BlockingConnection, which waits for each confirm; the asynchronous
connection keeps thousands of them outstanding. The broker, its Erlang port mapper and all its
files are the benchmark's own.
"""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, takewhile
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
from bench.machine import package_version
from bench.processes import Service, free_port, launch, wait_until
from bench.traffic import Load, Sink, Supply

HOME = Path("/usr/lib/rabbitmq")
_PUBLISHED_AT_ONCE = 200
_REFILL_BELOW = UNCONFIRMED_MESSAGES - _PUBLISHED_AT_ONCE
_PREFETCH = 10_000

# The port mapper runs in the server's process group, so that it ends together with it.
_START = """
epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 &
until epmd -port "$ERL_EPMD_PORT" -names >/dev/null 2>&1; do sleep 0.05; done
exec "$1"
"""

# No busy waiting: RabbitMQ's own advice where others need the processors too.
_ERLANG = "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none"

_CONFIG = """
listeners.tcp.1 = 127.0.0.1:{port}
disk_free_limit.absolute = 64MB
log.console = false
"""


@dataclass(frozen=True, slots=True)
class RabbitMQ:
    """One durable queue, `classic` or `quorum` (with a single member)."""

    queue_type: str
    kind: str = "peer"
    synced: bool = True
    nodes: int = 1

    @property
    def name(self) -> str:
        """The name in the tables."""
        return f"RabbitMQ, {self.queue_type} queue"

    @property
    def durability(self) -> str:
        """What a confirm says."""
        if self.queue_type == "quorum":
            return "publisher confirm after fdatasync of the Raft log (one member)"
        return (
            "publisher confirm of a persistent message, after fsync unless it was consumed before"
        )

    def missing(self) -> str:
        """Name the packages that are not there."""
        return missing_of(
            [
                (HOME.exists(), "rabbitmq-server (Debian)"),
                (importlib.util.find_spec("pika") is not None, "pika (PyPI)"),
            ]
        )

    def version(self) -> str:
        """Return the versions of broker and client."""
        # Asking rabbitmqctl would start a port mapper that outlives the benchmark.
        servers = (path.name for path in HOME.glob("lib/rabbitmq_server-*"))
        return f"{next(servers, 'unknown')}; {package_version('pika')}"

    def start(self, directory: Path) -> Service:
        """Start a node of its own name, port mapper and files."""
        port = free_port()
        env = node_environment(directory, port, home=directory, mapper_port=free_port())
        command = ["sh", "-c", _START, "sh", str(HOME / "bin" / "rabbitmq-server")]
        server = launch(command, port, directory, env=env)
        wait_until(server, lambda: answers(port))
        return server

    def prepare(self, port: int) -> None:
        """Declare the queue."""
        import pika

        connection = pika.BlockingConnection(_parameters(port))
        arguments: dict[str, str | int] = {"x-queue-type": self.queue_type}
        if self.queue_type == "quorum":
            arguments |= {"x-quorum-initial-group-size": self.nodes}
        connection.channel().queue_declare(QUEUE, durable=True, arguments=arguments)
        connection.close()

    @contextmanager
    def open_producer(self, port: int, load: Load) -> Iterator[Produce]:
        """Yield a producer: AMQP has no batches, so every load is the same to it."""
        with _opened(port) as channel:
            publisher = _Publisher(channel)
            yield publisher.run

    @contextmanager
    def open_consumer(self, port: int, load: Load) -> Iterator[Consume]:
        """Yield a consumer that acknowledges a batch by its last message, or each message."""
        with _opened(port) as channel:
            yield lambda sink: _consume(channel, load, sink)

    @contextmanager
    def open_waiting_producer(self, port: int) -> Iterator[PutOne]:
        """Yield a call that publishes and waits for the confirm."""
        import pika

        connection = pika.BlockingConnection(_parameters(port))
        channel = connection.channel()
        channel.confirm_delivery()
        persistent = pika.BasicProperties(delivery_mode=2)
        yield lambda body: channel.basic_publish("", QUEUE, body, persistent)
        connection.close()


def node_name(port: int) -> str:
    """Return the name of the node that clients find on this port."""
    return f"bench{port}@localhost"


def node_environment(
    directory: Path, port: int, *, home: Path, mapper_port: int, extra_config: str = ""
) -> dict[str, str]:
    """Return what a node must know; `home` holds the cookie that nodes of one cluster share."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "rabbitmq.conf"
    config.write_text(_CONFIG.format(port=port) + extra_config)
    return {
        "HOME": str(home),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(mapper_port),
        "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_NODENAME": node_name(port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
    }


def _parameters(port: int) -> Any:
    import pika

    return pika.ConnectionParameters("127.0.0.1", port)


def answers(port: int) -> bool:
    """Tell whether a node takes connections."""
    import pika

    try:
        pika.BlockingConnection(_parameters(port)).close()
    except (OSError, pika.exceptions.AMQPError):
        return False
    return True


@contextmanager
def _opened(port: int) -> Iterator[Any]:
    """Yield an open channel of an asynchronous connection whose loop stands still."""
    import pika

    opened: list[Any] = []

    def on_channel(channel: Any) -> None:
        opened.append(channel)
        channel.connection.ioloop.stop()

    connection = pika.SelectConnection(
        _parameters(port),
        on_open_callback=lambda connection: connection.channel(on_open_callback=on_channel),
        on_close_callback=lambda connection, _: connection.ioloop.stop(),
    )
    connection.ioloop.start()
    yield opened[0]
    connection.close()
    connection.ioloop.start()


def _close(channel: Any) -> None:
    """Close the channel and wait: the broker has then taken every settle sent on it."""
    channel.add_on_close_callback(lambda closed, _: closed.connection.ioloop.stop())
    channel.close()


class _Publisher:
    """Publishes as fast as the window of unconfirmed messages allows."""

    def __init__(self, channel: Any) -> None:
        import pika

        self._channel = channel
        self._loop = channel.connection.ioloop
        self._persistent = pika.BasicProperties(delivery_mode=2)
        self._unconfirmed: dict[int, None] = {}
        self._bodies: Iterator[bytes] = iter(())
        self._has_bodies = True
        self._published = 0
        self._refused = 0
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._loop.stop())
        self._loop.start()

    def run(self, supply: Supply) -> None:
        """Publish all that the supply gives and return when all of it is confirmed."""
        self._bodies = supply.singles()
        self._loop.call_later(0, self._fill_window)
        self._loop.start()
        if self._refused:
            raise RuntimeError(f"RabbitMQ refused {self._refused} messages")

    def _fill_window(self) -> None:
        while self._has_bodies and len(self._unconfirmed) <= _REFILL_BELOW:
            bodies = list(islice(self._bodies, _PUBLISHED_AT_ONCE))
            self._has_bodies = bool(bodies)
            for body in bodies:
                self._published += 1
                self._unconfirmed[self._published] = None
                self._channel.basic_publish("", QUEUE, body, self._persistent)
        if not self._has_bodies and not self._unconfirmed:
            self._loop.stop()

    def _on_confirm(self, frame: Any) -> None:
        """Forget what is confirmed; the tags lie in the dictionary in rising order."""
        method = frame.method
        self._refused += method.NAME == "Basic.Nack"
        if method.multiple:
            for tag in list(takewhile(method.delivery_tag.__ge__, self._unconfirmed)):
                del self._unconfirmed[tag]
        else:
            del self._unconfirmed[method.delivery_tag]
        self._fill_window()


def _consume(channel: Any, load: Load, sink: Sink) -> None:
    """Take messages as they are pushed; a batch is acknowledged by its last message."""
    waiting: list[bytes] = []

    def on_message(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        waiting.append(body)
        more = True
        if len(waiting) >= load.batch:
            more = sink.take(waiting)
            waiting.clear()
        if load.singly:
            channel.basic_ack(method.delivery_tag)
        elif not waiting:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if not more:
            _close(channel)

    def on_qos(_frame: Any) -> None:
        channel.basic_consume(QUEUE, on_message)

    channel.basic_qos(prefetch_count=_PREFETCH, callback=on_qos)
    channel.connection.ioloop.start()
