"""``MemoryBroker``: what a unit test makes, asks for clients, and moves the clock of.

from broker.testing import MemoryBroker

def test_an_order_is_tried_again_after_a_minute():
    with MemoryBroker() as broker:
        mq = broker.client()
        orders = mq.queue("orders", backoff=60)
        orders.put({"item": "book"})
        orders.get().nack()
        assert orders.get() is None
        broker.advance(seconds=90)
        assert orders.get().attempts == 1
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from random import Random
from types import TracebackType
from typing import Any, Self

from broker.client.async_calls import AsyncCalls
from broker.client.async_client import AsyncClient
from broker.client.session import SessionOptions
from broker.client.sync_calls import SyncCalls
from broker.client.sync_client import Client
from broker.client.sync_driver import OnError
from broker.limits import SESSION_TIMEOUT_MAX
from broker.node.settings import NodeSettings
from broker.testing.memory.calls import AsyncMemoryCalls, MemoryCalls, session_of
from broker.testing.memory.passing import Passing
from broker.testing.memory.world import World

#: Not to be reached by anybody: the clients never open it.
_ADDRESS = "tcp://in-memory:1"
#: The clock stands while a test is at work; a client that has no time is not silent.
_OPTIONS = {"session_timeout": SESSION_TIMEOUT_MAX / 1000, "linger": 0.0}


class MemoryBroker:
    """A broker for the unit tests of one process.

    ``client()`` and ``async_client()`` give what ``Client`` and ``AsyncClient`` are, with the same
    options.  The clock stands still: it moves by ``advance``, and by waits, which take no time.
    So ``get(timeout=60)`` returns at once, with a message that comes due within the minute or
    without one and a minute later.  A wait without an end gives up after a week, with WaitTimeout.

    - ``now``: what the clock shows at first; the machine's time if not given.
    - ``seed``: of all random bits, such as the jitter of a backoff.
    - ``real_time``: the clock runs, and waits wait.  For tests whose threads or tasks sleep, and
      those in which the thread that made the broker waits for other things than the broker.
    - ``auto_declare``: whether a put makes its queue, as with a broker's ``--auto-declare``.
    """

    def __init__(
        self,
        *,
        now: datetime | float | None = None,
        seed: int = 0,
        real_time: bool = False,
        auto_declare: bool = True,
    ) -> None:
        start = now.timestamp() if isinstance(now, datetime) else now
        now_ms = round((time.time() if start is None else start) * 1000)
        settings = NodeSettings(
            "memory", "memory", auto_declare=auto_declare, publish_addresses=(_ADDRESS,)
        )
        world = World(now_ms, Random(seed).randbytes, settings)
        self._passing = Passing(world, real_time=real_time)
        self._clients: list[Client] = []

    def client(self, **options: Any) -> Client:
        """A client with the options of ``Client``; it is closed with the broker."""
        client = _MemoryClient(self._passing, **{**_OPTIONS, **options})
        self._clients.append(client)
        return client

    def async_client(self, **options: Any) -> AsyncClient:
        """A client with the options of ``AsyncClient``, for ``async with``."""
        return _AsyncMemoryClient(self._passing, **{**_OPTIONS, **options})

    def advance(
        self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0
    ) -> None:
        """Lets so much time pass, with all that is due in it."""
        passed = timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days)
        self._passing.advance(round(passed / timedelta(milliseconds=1)))

    @property
    def now(self) -> datetime:
        """What the broker's clock shows, in UTC."""
        return datetime.fromtimestamp(self._passing.world.now_ms / 1000, UTC)

    def restart(self) -> None:
        """As after a ``kill -9``: durable queues stay, transient ones and deliveries do not."""
        with self._passing.lock:
            self._passing.world.restart()

    def close(self) -> None:
        """Closes the clients that ``client`` gave."""
        while self._clients:
            self._clients.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _MemoryClient(Client):
    def __init__(self, passing: Passing, **options: Any) -> None:
        self._passing = passing
        super().__init__(_ADDRESS, **options)

    def _make_calls(
        self, options: SessionOptions, on_error: OnError | None, request_timeout: float
    ) -> SyncCalls:
        options.started_at_ms = self._passing.world.now_ms
        session = session_of(self._passing, options)
        return MemoryCalls(self._passing, session, on_error, options.linger_ms, request_timeout)


class _AsyncMemoryClient(AsyncClient):
    def __init__(self, passing: Passing, **options: Any) -> None:
        self._passing = passing
        super().__init__(_ADDRESS, **options)

    def _make_calls(self) -> AsyncCalls:
        self._options.started_at_ms = self._passing.world.now_ms
        session = session_of(self._passing, self._options)
        return AsyncMemoryCalls(self._passing, session, self._on_error, self._request_timeout)
