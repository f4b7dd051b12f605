"""The slots of this broker's disk: opened from the store, made when they are first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from broker.cluster.ownership import ReplicaId, SlotConfig
from broker.cluster.view import Owned
from broker.core.machine import SlotMachine
from broker.errors import ConfigError, OtherCluster
from broker.node.replica import Replica
from broker.node.settings import NodeSettings
from broker.storage import keys
from broker.storage.recovery import open_machine
from broker.storage.slot_store import SlotStore
from broker.storage.store import Family, Store, WriteOps

_INCARNATION_BYTES = 8


class Replicas:
    """All slots by number.

    The epoch of every slot of a broker that is alone is its reign: one more at each start.
    """

    def __init__(
        self, store: Store, settings: NodeSettings, draw: Callable[[int], bytes], now: int
    ) -> None:
        self._store = store
        self._settings = settings
        self._draw = draw
        self._replicas: dict[int, Replica] = {}
        self._next_instance = 1
        self.reign = 0
        #: Names this disk: another one, or an empty one, has another.
        self.incarnation = ""
        #: How many slots there are; 0 while a new broker of a cluster was not told.
        self.slots = 0 if settings.cluster else settings.slots
        #: The cluster that the data belongs to; "" for none.
        self.cluster_id = ""
        #: What gives a new machine its ways to the subscribers.
        self._connect: Callable[[SlotMachine], None] = lambda _machine: None
        self._open(now)

    def __iter__(self) -> Iterator[Replica]:
        return iter(self._replicas.values())

    def find(self, slot: int) -> Replica | None:
        return self._replicas.get(slot)

    def connect_by(self, connect: Callable[[SlotMachine], None]) -> None:
        """``connect`` is called with each machine, now or when it is opened."""
        self._connect = connect
        for replica in self:
            connect(replica.machine)

    def require(self, slot: int, now: int) -> Replica:
        """The slot's copy, an empty one where there was none; a broker that is alone serves it."""
        replica = self._replicas.get(slot)
        if replica is None:
            ops = WriteOps()
            instance = self._next_instance
            self._next_instance += 1
            ops.put(Family.STATE, keys.slot_key(slot), msgpack.packb(instance))
            self.put_meta(ops)
            self._store.write(ops)
            replica = self._add(slot, instance, now)
        return replica

    def write(self, ops: WriteOps) -> None:
        if ops:
            self._store.write(ops)

    def join(self, ops: WriteOps, cluster_id: str, slots: int) -> None:
        """From now on the data belongs to this cluster; raises ConfigError when it cannot."""
        if self.slots not in (0, slots):
            raise ConfigError(f"the data has {self.slots} slots, the cluster has {slots}")
        if (self.cluster_id, self.slots) != (cluster_id, slots):
            self.cluster_id, self.slots = cluster_id, slots
            self.put_meta(ops)

    def new_instance(self, ops: WriteOps) -> int:
        instance = self._next_instance
        self._next_instance += 1
        self.put_meta(ops)
        return instance

    def replace_instance(self, ops: WriteOps, replica: Replica, instance: int, now: int) -> None:
        """The slot's rows are those of ``instance`` from now on; the former ones are erased."""
        promised, former = replica.store.promised_epoch, replica.store.instance
        ops.put(Family.STATE, keys.slot_key(replica.slot), msgpack.packb(instance))
        ops.put(Family.STATE, keys.promise_key(instance), msgpack.packb(promised))
        ops.delete(Family.STATE, keys.partial_key(instance))
        erase_instance(ops, former)
        self._store.write(ops)
        ops.clear()
        replica.replace_state(*self._open_machine(replica.slot, instance, now))

    def reopen(self, replica: Replica, now: int) -> None:
        """Reads the slot anew: what was volatile is gone."""
        machine, store = self._open_machine(replica.slot, replica.store.instance, now)
        replica.replace_state(machine, store)

    def _open(self, now: int) -> None:
        row = self._store.get(Family.STATE, keys.meta_key(keys.STORE_INSTANCE))
        if row is not None:
            self._read_meta(msgpack.unpackb(row))
        if not self.incarnation:
            self.incarnation = self._draw(_INCARNATION_BYTES).hex()
        self.reign += 1
        ops = WriteOps()
        self.put_meta(ops)
        low, high = keys.kind_keys(keys.STORE_INSTANCE, keys.StateKind.PARTIAL)
        for key, _ in self._store.scan(Family.STATE, low, high, 1 << 20, 1 << 30):
            instance, _ = keys.decode_state_key(key)
            erase_instance(ops, instance)
            ops.delete(Family.STATE, key)
        self._store.write(ops)
        # The reign is durable before anything of it is: an epoch never has two owners.
        self._store.sync()
        low, high = keys.kind_keys(keys.STORE_INSTANCE, keys.StateKind.SLOT)
        for key, value in self._store.scan(Family.STATE, low, high, 1 << 20, 1 << 30):
            slot, _ = keys.decode_state_key(key)
            self._add(slot, msgpack.unpackb(value), now)

    def _read_meta(self, meta: dict[str, Any]) -> None:
        self.reign, self._next_instance = meta["reign"], meta["next_instance"]
        # Directories of the first version name neither.
        self.incarnation = meta.get("incarnation", "")
        self.cluster_id = meta.get("cluster_id", "")
        if self._settings.cluster:
            self.slots = meta["slots"]
        elif self.cluster_id:
            raise OtherCluster(
                f"the data belongs to cluster {self.cluster_id}: start this broker with --cluster"
            )
        elif meta["slots"] != self._settings.slots:
            raise ConfigError(
                f"the data directory has {meta['slots']} slots, not {self._settings.slots}"
            )

    def put_meta(self, ops: WriteOps) -> None:
        meta = {
            "reign": self.reign,
            "next_instance": self._next_instance,
            "slots": self.slots,
            "incarnation": self.incarnation,
            "cluster_id": self.cluster_id,
        }
        ops.put(Family.STATE, keys.meta_key(keys.STORE_INSTANCE), msgpack.packb(meta))

    def _add(self, slot: int, instance: int, now: int) -> Replica:
        replica = Replica(*self._open_machine(slot, instance, now))
        self._replicas[slot] = replica
        if not self._settings.cluster:
            me = self._settings.broker_id
            copy = ReplicaId(me, self.incarnation)
            config = SlotConfig((copy,), (me,), (), me, self.reign)
            replica.reign_alone(me, Owned(config, 0))
        return replica

    def _open_machine(self, slot: int, instance: int, now: int) -> tuple[SlotMachine, SlotStore]:
        machine, store = open_machine(
            self._store,
            slot=slot,
            instance=instance,
            now=now,
            draw=self._draw,
            auto_declare=self._settings.auto_declare,
            log_kept_bytes=self._settings.log_kept_bytes,
            is_alone=not self._settings.cluster,
        )
        self._connect(machine)
        return machine, store


def erase_instance(ops: WriteOps, instance: int) -> None:
    """For rows that are known to be replaced, or were never a whole copy."""
    for family in Family:
        ops.delete_range(family, *keys.instance_keys(instance))
