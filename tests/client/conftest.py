"""Both faces and a scripted broker, for the tests that hold for either."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from patterns import Client
from tests.client.blocking import BlockingClient
from tests.client.scripted_broker import ScriptedBroker

#: Makes a client of the face under test, connected to the scripted broker.
Connect = Callable[..., Any]


#: Makes a handler that may block, out of a plain one.
Handling = Callable[[Callable[[Any], Any]], Callable[[Any], Any]]


@pytest.fixture
def broker() -> Iterator[ScriptedBroker]:
    with ScriptedBroker() as running:
        yield running


@pytest.fixture(params=[Client, BlockingClient], ids=["sync", "async"])
def face(request: pytest.FixtureRequest) -> Any:
    """The client class under test, as if it were the sync one."""
    return request.param


@pytest.fixture
def connect(face: Any, broker: ScriptedBroker) -> Iterator[Connect]:
    with ExitStack() as clients:

        def make(address: str | None = None, **options: Any) -> Any:
            return clients.enter_context(face(address or broker.address, **options))

        yield make


@pytest.fixture
def handling(face: Any) -> Handling:
    """A handler of an async server runs in a thread of its own, so that it may wait as well."""
    if face is Client:
        return lambda handler: handler

    def in_thread(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
        async def handle(request: Any) -> Any:
            return await asyncio.to_thread(handler, request)

        return handle

    return in_thread
