"""Both faces and a real broker process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from patterns import Client
from tests.client.blocking import BlockingClient
from tests.support.broker_process import BrokerProcess
from tests.support.wire import WireClient, WireClients

Connect = Callable[..., Any]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path) as running:
        yield running


@pytest.fixture(params=[Client, BlockingClient], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest, broker: BrokerProcess) -> Iterator[Connect]:
    with ExitStack() as clients:

        def make(address: str | None = None, **options: Any) -> Any:
            made = request.param(address or broker.endpoint, **options)
            return clients.enter_context(made)

        yield make


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """One broker for the tests of a module, which use queues of different names."""
    with BrokerProcess(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def mq(shared: BrokerProcess) -> Iterator[Client]:
    with Client(shared.endpoint) as client:
        yield client


@pytest.fixture
def wire(shared: BrokerProcess) -> Iterator[Callable[..., WireClient]]:
    """Opens sessions that speak in frames."""
    with WireClients() as clients:
        yield partial(clients.open, shared.endpoint)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Of a queue that no other test has."""
    return str(request.function.__name__)


def kill_9(broker: BrokerProcess) -> None:
    """The broker dies and comes back; clients find it again by themselves."""
    broker.kill()
    broker.restart()


def ready(queue: Any) -> int:
    count: int = queue.stats()["ready"]
    return count


def bodies(messages: Any) -> list[Any]:
    return [message.body for message in messages]
