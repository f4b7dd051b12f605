"""A real etcd with one cluster a test, and brokers that are keys in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.console import Console
from tests.support.etcd_process import EtcdProcesses


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcesses]:
    with EtcdProcesses(tmp_path_factory.mktemp("etcd")) as etcd:
        yield etcd


@pytest.fixture
def console(etcd: EtcdProcesses, tmp_path: Path) -> Iterator[Console]:
    """An operator's, of a cluster that is not made yet."""
    with Console(etcd.endpoints[0], tmp_path.name) as console:
        yield console
