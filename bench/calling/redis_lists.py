"""Calls over Redis lists: requests in one list, the replies of each caller in a list of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bench.calling.contender import (
    IDLE_SECONDS,
    SERVICE,
    WAIT_SECONDS,
    CallFor,
    IsOver,
    Work,
    in_threads,
)
from bench.fanout.redis_pubsub import RedisPubSub
from bench.processes import Server

_HEX_BYTES = 32


@dataclass(frozen=True, slots=True)
class RedisLists:
    """One redis-server without persistence."""

    name: str = "Redis lists"
    kind: str = "peer"
    client: str = "redis-py with hiredis; RPUSH and BLPOP; a thread and a connection a caller"

    def missing(self) -> str:
        """Name the packages that are not there."""
        return RedisPubSub().missing()

    def version(self) -> str:
        """Return the versions of broker and client."""
        return RedisPubSub().version()

    def start(self, directory: Path) -> Server:
        """Start redis-server."""
        return RedisPubSub().start(directory)

    @contextmanager
    def open_worker(self, port: int) -> Iterator[Work]:
        """Yield a worker that takes from the list of requests."""
        import redis

        with redis.Redis(host="127.0.0.1", port=port) as connection:

            def work(is_over: IsOver) -> None:
                while not is_over():
                    taken = connection.blpop([SERVICE], timeout=IDLE_SECONDS)
                    if taken is not None:
                        caller, body = taken[1][:_HEX_BYTES], taken[1][_HEX_BYTES:]
                        connection.rpush(caller, body)

            yield work

    @contextmanager
    def open_callers(self, port: int) -> Iterator[CallFor]:
        """Yield threads, each with a list and a connection of its own."""
        import redis

        own = threading.local()

        def call(body: bytes) -> bytes:
            if not hasattr(own, "connection"):
                own.connection = redis.Redis(host="127.0.0.1", port=port)
                own.name = uuid4().hex.encode()
            own.connection.rpush(SERVICE, own.name + body)
            came = own.connection.blpop([own.name], timeout=WAIT_SECONDS)
            return bytes(came[1]) if came else b""

        yield lambda seconds, callers: in_threads(call, seconds, callers)
