"""A running broker and raw clients for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker_process import BrokerProcess
from tests.support.wire import WireClient, WireClients


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path) as broker:
        yield broker


@pytest.fixture
def clients() -> Iterator[WireClients]:
    with WireClients() as clients:
        yield clients


@pytest.fixture
def client(broker: BrokerProcess, clients: WireClients) -> WireClient:
    """A client of ``broker`` that has said hello."""
    return clients.open(broker.endpoint)
