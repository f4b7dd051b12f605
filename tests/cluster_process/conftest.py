"""Three broker processes and an etcd for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster_process import ClusterProcess
from tests.support.wire import WireClients


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def clients() -> Iterator[WireClients]:
    with WireClients() as clients:
        yield clients
