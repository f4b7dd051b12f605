"""Redis publish/subscribe through redis-py with hiredis: pipelines of PUBLISH."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contender import missing_of
from bench.fanout.contender import CHANNEL, IDLE_SECONDS, Publish, Subscribe, Take
from bench.machine import has_program, package_version, program_version
from bench.processes import Server, free_port, launch, wait_until_listening


@dataclass(frozen=True, slots=True)
class RedisPubSub:
    """One redis-server without persistence."""

    name: str = "Redis publish/subscribe"
    kind: str = "peer"
    client: str = "redis-py with hiredis; a pipeline a batch, listen"

    def missing(self) -> str:
        """Name the packages that are not there."""
        return missing_of(
            [
                (has_program("redis-server"), "redis-server (Debian)"),
                (importlib.util.find_spec("redis") is not None, "redis (PyPI)"),
                (importlib.util.find_spec("hiredis") is not None, "hiredis (PyPI)"),
            ]
        )

    def version(self) -> str:
        """Return the versions of broker and client."""
        server = " ".join(program_version("redis-server", "--version").split()[:3])
        return f"{server}; {package_version('redis')}, {package_version('hiredis')}"

    def start(self, directory: Path) -> Server:
        """Start redis-server; it may hold back as much for a slow subscriber as it has to."""
        port = free_port()
        settings = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)]
        settings += ["--save", "", "--appendonly", "no"]
        settings += ["--client-output-buffer-limit", "pubsub 0 0 0"]
        return wait_until_listening(launch(["redis-server", *settings], port, directory))

    @contextmanager
    def open_publisher(self, port: int) -> Iterator[Publish]:
        """Yield a publisher that sends one pipeline a list."""
        import redis

        with redis.Redis(host="127.0.0.1", port=port) as connection:

            def publish(bodies: list[bytes]) -> None:
                if len(bodies) == 1:
                    connection.publish(CHANNEL, bodies[0])
                    return
                pipeline = connection.pipeline(transaction=False)
                for body in bodies:
                    pipeline.publish(CHANNEL, body)
                pipeline.execute()

            yield publish

    @contextmanager
    def open_subscriber(self, port: int) -> Iterator[Subscribe]:
        """Yield a subscriber."""
        import redis

        with redis.Redis(host="127.0.0.1", port=port, socket_timeout=IDLE_SECONDS) as connection:
            pubsub = connection.pubsub()
            pubsub.subscribe(CHANNEL)
            pubsub.parse_response()
            yield lambda take: _receive(pubsub, take)


def _receive(pubsub: Any, take: Take) -> None:
    from redis.exceptions import TimeoutError as Idle

    more = True
    while more:
        try:
            for message in pubsub.listen():
                if message["type"] == "message" and not take([message["data"]]):
                    return
        except Idle:
            more = take([])
