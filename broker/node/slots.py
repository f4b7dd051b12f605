"""The slots this node serves: opened from the store, made when a name first falls into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgpack

from broker.core.machine import SlotMachine
from broker.core.sweeping import maybe_trim
from broker.core.turns import expire_producers
from broker.errors import ConfigError
from broker.limits import CHECKPOINT_DIRTY, MINUTE
from broker.node.settings import NodeSettings
from broker.storage import keys
from broker.storage.recovery import open_machine
from broker.storage.slot_store import SlotStore
from broker.storage.store import Family, Store, WriteOps


class ServedSlot:
    """A slot's machine with its rows, and when it was last kept up."""

    __slots__ = ("changed", "checkpointed_at", "machine", "producers_at", "store")

    def __init__(self, machine: SlotMachine, store: SlotStore) -> None:
        self.machine = machine
        self.store = store
        self.checkpointed_at = machine.now
        self.producers_at = machine.now
        #: True when something was applied since the last checkpoint.
        self.changed = False

    def keep_up(self, ops: WriteOps, settings: NodeSettings) -> None:
        """Checkpoint, trim and end idle producers when it is time."""
        machine, store = self.machine, self.store
        age = machine.now - self.checkpointed_at
        due = (
            store.bytes_since_checkpoint >= settings.checkpoint_bytes
            or store.entries_since_checkpoint >= settings.checkpoint_entries
            or (self.changed and age >= CHECKPOINT_DIRTY)
        )
        if due:
            maybe_trim(machine, self.checkpoint(ops))
        if machine.now - self.producers_at >= MINUTE:
            self.producers_at = machine.now
            expire_producers(machine)

    def checkpoint(self, ops: WriteOps) -> int:
        self.checkpointed_at = self.machine.now
        self.changed = False
        # A checkpoint stands for all that was applied, so its effects go with it.
        self.store.write_effects(ops, self.machine)
        return self.store.write_checkpoint(ops, self.machine)

    def next_upkeep_at(self) -> int | None:
        return self.checkpointed_at + CHECKPOINT_DIRTY if self.changed else None


class Slots:
    """All slots of the store by number.

    The epoch of every slot of a broker that is alone is its reign: one more at each start.
    """

    def __init__(
        self, store: Store, settings: NodeSettings, draw: Callable[[int], bytes], now: int
    ) -> None:
        self._store = store
        self._settings = settings
        self._draw = draw
        self._served: dict[int, ServedSlot] = {}
        self._next_instance = 1
        self.reign = 0
        self._open(now)

    def __iter__(self) -> Iterator[ServedSlot]:
        return iter(self._served.values())

    def find(self, slot: int) -> ServedSlot | None:
        return self._served.get(slot)

    def require(self, slot: int, now: int) -> ServedSlot:
        served = self._served.get(slot)
        if served is None:
            ops = WriteOps()
            instance = self._next_instance
            self._next_instance += 1
            ops.put(Family.STATE, keys.slot_key(slot), msgpack.packb(instance))
            self._put_meta(ops)
            self._store.write(ops)
            served = self._serve(slot, instance, now)
        return served

    def _open(self, now: int) -> None:
        row = self._store.get(Family.STATE, keys.meta_key(keys.STORE_INSTANCE))
        if row is not None:
            meta = msgpack.unpackb(row)
            self.reign, self._next_instance = meta["reign"], meta["next_instance"]
            if meta["slots"] != self._settings.slots:
                raise ConfigError(
                    f"the data directory has {meta['slots']} slots, not {self._settings.slots}"
                )
        self.reign += 1
        ops = WriteOps()
        self._put_meta(ops)
        self._store.write(ops)
        # The reign is durable before anything of it is: an epoch never has two owners.
        self._store.sync()
        low, high = keys.kind_keys(keys.STORE_INSTANCE, keys.StateKind.SLOT)
        for key, value in self._store.scan(Family.STATE, low, high, 1 << 20, 1 << 30):
            slot, _ = keys.decode_state_key(key)
            self._serve(slot, msgpack.unpackb(value), now)

    def _put_meta(self, ops: WriteOps) -> None:
        meta = {
            "reign": self.reign,
            "next_instance": self._next_instance,
            "slots": self._settings.slots,
        }
        ops.put(Family.STATE, keys.meta_key(keys.STORE_INSTANCE), msgpack.packb(meta))

    def _serve(self, slot: int, instance: int, now: int) -> ServedSlot:
        machine, slot_store = open_machine(
            self._store,
            slot=slot,
            instance=instance,
            epoch=self.reign,
            now=now,
            draw=self._draw,
            auto_declare=self._settings.auto_declare,
            log_kept_bytes=self._settings.log_kept_bytes,
        )
        served = self._served[slot] = ServedSlot(machine, slot_store)
        return served
