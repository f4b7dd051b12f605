"""One broker process for each test of a pattern, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from patterns import Client
from tests.support.broker_process import BrokerProcess


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def mq(broker: BrokerProcess) -> Iterator[Client]:
    with Client(broker.endpoint) as client:
        yield client
