"""One etcd for all tests that leave it as it was; those that harm it start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker.server.etcd_endpoint import EtcdAccess
from tests.coordinator.places import EtcdPlace, LocalPlace, Place
from tests.support.etcd_process import EtcdProcesses


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcesses]:
    with EtcdProcesses(tmp_path_factory.mktemp("etcd")) as etcd:
        yield etcd


@pytest.fixture
def etcd_place(etcd: EtcdProcesses) -> Iterator[EtcdPlace]:
    place = EtcdPlace(EtcdAccess(etcd.endpoints))
    yield place
    place.close()


@pytest.fixture(params=["local", "etcd"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "local":
        return LocalPlace()
    found = request.getfixturevalue("etcd_place")
    assert isinstance(found, EtcdPlace)
    return found


@pytest.fixture(params=["local", "etcd"])
def empty_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """No cluster has been made there."""
    if request.param == "local":
        yield LocalPlace(None)
        return
    etcd = request.getfixturevalue("etcd")
    place = EtcdPlace(EtcdAccess(etcd.endpoints), None)
    yield place
    place.close()
