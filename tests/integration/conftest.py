"""Both faces and a real broker process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from patterns import Client
from tests.client.blocking import BlockingClient
from tests.support.broker_process import BrokerProcess

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


def ready(queue: Any) -> int:
    count: int = queue.stats()["ready"]
    return count
