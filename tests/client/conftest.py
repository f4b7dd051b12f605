"""Both faces and a scripted broker, for the tests that hold for either."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from patterns import Client
from tests.client.blocking import BlockingClient
from tests.client.scripted_broker import ScriptedBroker

#: Makes a client of the face under test, connected to the scripted broker.
Connect = Callable[..., Any]


@pytest.fixture
def broker() -> Iterator[ScriptedBroker]:
    with ScriptedBroker() as running:
        yield running


@pytest.fixture(params=[Client, BlockingClient], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest, broker: ScriptedBroker) -> Iterator[Connect]:
    with ExitStack() as clients:

        def make(address: str | None = None, **options: Any) -> Any:
            made = request.param(address or broker.address, **options)
            return clients.enter_context(made)

        yield make
