"""What an operator does to a cluster: make it, change who belongs to it, look at it.

Owns reads and conditional writes of the coordinator's keys from outside of any broker.  Law: it
writes the config, the members and what an operator answers for; who holds a slot is the business
of the brokers.  Each write is conditional on what was read, so two operators undo nothing of
one another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from broker.cluster.ownership import ClusterConfig, Member, SlotConfig
from broker.cluster.view import ClusterView, Swap
from broker.errors import (
    CoordinatorRefused,
    CoordinatorUnreachable,
    NotReached,
    OperationRefused,
    UnknownCluster,
)
from broker.server.cluster_report import held_by, is_on_ring, ranges
from broker.server.cluster_wanted import with_min_isr
from broker.server.config import Config
from broker.server.etcd_client import EtcdClient, KeyEvent, OutcomeOpen
from broker.server.etcd_endpoint import EtcdAccess, EtcdError, Refused
from broker.server.etcd_keys import (
    Value,
    apply_change,
    create_cluster,
    decode_event,
    decode_value,
    encode_value,
    key_of,
    prefix_of,
)

#: Between two looks of a command that waits.
_LOOK_EVERY_S = 0.2


@contextmanager
def open_admin(access: Config) -> Iterator[ClusterAdmin]:
    """What goes wrong at etcd leaves here as an error of ours."""
    client = EtcdClient(
        EtcdAccess(
            access.etcd,
            ca=str(access.etcd_ca or ""),
            cert=str(access.etcd_cert or ""),
            key=str(access.etcd_key or ""),
        )
    )
    try:
        yield ClusterAdmin(client, access.cluster)
    except OutcomeOpen as error:
        text = f"whether the change was carried out is not known, look at it first: {error}"
        raise CoordinatorUnreachable(text) from None
    except Refused as error:
        raise CoordinatorRefused(str(error)) from None
    except EtcdError as error:
        raise CoordinatorUnreachable(str(error)) from None
    finally:
        client.close()


class ClusterAdmin:
    def __init__(self, client: EtcdClient, cluster: str) -> None:
        self._client = client
        self._cluster = cluster

    def find(self) -> ClusterView | None:
        """All keys at one revision; None where there is no cluster of that name."""
        view = ClusterView()
        for stored in self._client.list_prefix(prefix_of(self._cluster)).keys:
            event = KeyEvent(stored.key, stored.revision, stored)
            change = decode_event(self._cluster, event)
            if change is not None:
                apply_change(view, change)
        return None if view.config is None else view

    def read(self) -> ClusterView:
        view = self.find()
        if view is None:
            raise UnknownCluster(
                f"etcd holds no cluster {self._cluster}: make it with `msgqueue cluster init`"
            )
        return view

    def create(self, config: ClusterConfig, slot: SlotConfig) -> bool:
        """Makes the cluster with every slot as ``slot``; false when there is one already."""
        return create_cluster(self._client, self._cluster, config, slot)

    def set_min_isr(self, min_isr: int) -> ClusterConfig:
        def change(value: Value | None) -> ClusterConfig:
            if not isinstance(value, ClusterConfig):
                raise UnknownCluster(f"etcd holds no cluster {self._cluster}")
            return with_min_isr(value, min_isr)

        changed = self._update("config", "", change)
        assert isinstance(changed, ClusterConfig)
        return changed

    def add(self, broker: str, *, weight: int | None = None, zone: str | None = None) -> Member:
        """Makes it a member, or one that drains no longer; what is None stays as it is."""

        def change(value: Value | None) -> Member:
            member = value if isinstance(value, Member) else Member()
            return Member(
                weight=member.weight if weight is None else weight,
                zone=member.zone if zone is None else zone,
            )

        self.read()
        member = self._update("members", broker, change)
        assert isinstance(member, Member)
        return member

    def drain(self, broker: str) -> None:
        """The primaries then move every slot away from it."""

        def change(value: Value | None) -> Member:
            if not isinstance(value, Member):
                raise OperationRefused(f"{broker} is no member of the cluster")
            return replace(value, draining=True)

        members = self.read().members
        if not any(is_on_ring(member) for name, member in members.items() if name != broker):
            raise OperationRefused(f"no other broker could take the slots of {broker}")
        self._update("members", broker, change)

    def remove(self, broker: str, *, lost: bool) -> list[int]:
        """Gives the slots that still name it, which only a ``lost`` broker may have."""
        view = self.read()
        if broker not in view.members:
            raise OperationRefused(f"{broker} is no member of the cluster")
        if broker in view.brokers:
            raise OperationRefused(f"{broker} is alive: drain it and stop it first")
        holding = held_by(view, broker)
        if holding and not lost:
            raise OperationRefused(
                f"{broker} holds a copy of {len(holding)} slots ({ranges(holding)}):"
                " drain it first, or add --lost when its disk will never come back"
            )
        self._client.delete(key_of(self._cluster, "members", broker))
        return holding

    def carry_out(self, swap: Swap) -> bool:
        """False when somebody else has changed the slot since."""
        key = key_of(self._cluster, "slots", str(swap.slot))
        return self._client.put_if(key, encode_value(swap.config), swap.revision).is_done

    def wait_until(
        self, missing: Callable[[ClusterView], str], timeout_ms: int | None
    ) -> ClusterView:
        """Until ``missing`` finds nothing; what it found last is the text of NotReached."""
        ends_at = None if timeout_ms is None else time.monotonic() + timeout_ms / 1_000
        while True:
            view = self.read()
            left = missing(view)
            if not left:
                return view
            if ends_at is not None and time.monotonic() >= ends_at:
                raise NotReached(left)
            time.sleep(_LOOK_EVERY_S)

    def _update(self, kind: str, name: str, change: Callable[[Value | None], Value]) -> Value:
        """Puts what ``change`` makes of the key, again when somebody else was quicker."""
        key = key_of(self._cluster, kind, name)
        stored = self._client.get(key)
        while True:
            value = change(None if stored is None else decode_value(kind, stored))
            revision = 0 if stored is None else stored.revision
            answer = self._client.put_if(key, encode_value(value), revision)
            if answer.is_done:
                return value
            stored = answer.found
