"""How a broker joins its cluster: from the Config to a Membership.

Owns what the broker tells of itself.  The client of etcd is an extra, and is loaded only here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from broker.cluster.ownership import BrokerRecord, Member
from broker.node.node import Node
from broker.server.clock import Clock
from broker.server.config import Config
from broker.server.links import Links
from broker.server.membership import Membership
from broker.server.version import program_version


def join_cluster(
    config: Config,
    node: Node,
    links: Links,
    *,
    listening: Sequence[str],
    clock: Clock,
    wake: Callable[[], None],
    joined: Callable[[], None],
) -> Membership:
    """Starts the coordinator; ``joined`` is called when the cluster has been seen."""
    from broker.server.etcd_coordinator import EtcdCoordinator
    from broker.server.etcd_endpoint import EtcdAccess

    record = BrokerRecord(
        incarnation=node.incarnation,
        clients=config.advertise or tuple(listening),
        links=config.advertise_links or links.address,
        version=program_version(),
    )
    access = EtcdAccess(
        config.etcd,
        ca=str(config.etcd_ca or ""),
        cert=str(config.etcd_cert or ""),
        key=str(config.etcd_key or ""),
    )
    coordinator = EtcdCoordinator(
        access,
        wake,
        cluster=config.cluster,
        broker_id=config.broker_id,
        record=record,
        member=Member(config.weight, config.zone),
        cluster_id=node.cluster_id,
        tenure_ms=config.tenure,
    )
    coordinator.start()
    return Membership(
        node, links, coordinator, record, deadline_at=clock.deadline_at, joined=joined
    )
