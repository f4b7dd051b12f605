"""Where the brokers of a test meet: keys in one process, or a real etcd."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Protocol

from broker.cluster.ownership import ClusterConfig, Member
from broker.server.coordinator import Coordinator
from broker.server.etcd_client import EtcdClient
from broker.server.etcd_coordinator import EtcdCoordinator
from broker.server.etcd_endpoint import EtcdAccess
from broker.server.etcd_keys import create_cluster
from broker.server.local_coordinator import LocalCoordinator, LocalKeys
from tests.coordinator.watcher import Watcher, record

CONFIG = ClusterConfig(id="c0ffee", slots=4, replication=3, min_isr=2)
#: Long enough for a busy machine, and little above the least that etcd grants.
TENURE_MS = 3_000
_names = count()


class Place(Protocol):
    def open(
        self,
        broker_id: str,
        *,
        incarnation: str = "i1",
        member: Member | None = None,
        cluster_id: str = "",
    ) -> Watcher:
        """A coordinator that is not started yet."""


class LocalPlace:
    def __init__(self, config: ClusterConfig | None = CONFIG) -> None:
        self.keys = LocalKeys(config)

    def open(
        self,
        broker_id: str,
        *,
        incarnation: str = "i1",
        member: Member | None = None,
        cluster_id: str = "",
    ) -> Watcher:
        def open_coordinator(wake: Callable[[], None]) -> Coordinator:
            return LocalCoordinator(
                self.keys,
                wake,
                broker_id=broker_id,
                record=record(incarnation),
                member=member,
                cluster_id=cluster_id,
            )

        return Watcher(open_coordinator)


class EtcdPlace:
    """A cluster of its own in a running etcd: ``name`` is drawn when none is given."""

    def __init__(
        self,
        access: EtcdAccess,
        config: ClusterConfig | None = CONFIG,
        *,
        tenure_ms: int = TENURE_MS,
    ) -> None:
        self.access = access
        self.cluster = f"test-{next(_names)}"
        self.tenure_ms = tenure_ms
        self.client = EtcdClient(access)
        if config is not None:
            assert create_cluster(self.client, self.cluster, config)

    def open(
        self,
        broker_id: str,
        *,
        incarnation: str = "i1",
        member: Member | None = None,
        cluster_id: str = "",
    ) -> Watcher:
        def open_coordinator(wake: Callable[[], None]) -> Coordinator:
            return EtcdCoordinator(
                self.access,
                wake,
                cluster=self.cluster,
                broker_id=broker_id,
                record=record(incarnation),
                member=member,
                cluster_id=cluster_id,
                tenure_ms=self.tenure_ms,
            )

        return Watcher(open_coordinator)

    def close(self) -> None:
        self.client.close()
