"""What this client knows of a cluster: who owns which slot, in which epoch, and where brokers are.

Owns the newest of what several brokers told.  It never asks: ``Routing`` does.
Law: an epoch never falls; who tells an older one is behind.

A tag begins with its slot (u16) and epoch (u64), big-endian.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from broker.model.slots import slot_of

_SLOT_AND_EPOCH = Struct(">HQ")


def is_older(tag: bytes, other: bytes) -> bool:
    """Whether both are of one queue, and ``tag`` is of an earlier reign than the other."""
    size = _SLOT_AND_EPOCH.size
    return tag[size:] == other[size:] and tag < other


class Directory:
    def __init__(self) -> None:
        #: Client addresses of the brokers that are alive, by their ids.
        self.addresses: dict[str, list[str]] = {}
        self._cluster = ""
        self._owners: list[str] = []
        self._epochs: list[int] = []
        #: The highest epoch of each slot, of maps and deliveries.
        self._seen: list[int] = []

    @property
    def is_known(self) -> bool:
        return bool(self._owners)

    @property
    def slots(self) -> int:
        """How many there are; 0 where nobody has told."""
        return len(self._owners)

    def forget(self) -> None:
        """The brokers that answer now belong to no cluster, or to another."""
        self.addresses = {}
        self._cluster = ""
        self._owners, self._epochs, self._seen = [], [], []

    def learn(self, answer: dict[str, Any]) -> None:
        """Takes the answer to ``map``; raises ValueError or KeyError when it is none."""
        cluster, slots = answer["cluster"], answer["slots"]
        owners, epochs = answer["owners"], answer["epochs"]
        if slots < 1 or len(owners) != slots or len(epochs) != slots:
            raise ValueError(f"a map of {slots} slots tells {len(owners)} owners")
        if cluster != self._cluster or slots != len(self._owners):
            self._cluster = cluster
            self._owners = [""] * slots
            self._epochs = [0] * slots
            self._seen = [0] * slots
        self.addresses = {broker: list(places) for broker, places in answer["brokers"].items()}
        for slot, (owner, epoch) in enumerate(zip(owners, epochs, strict=True)):
            if epoch >= self._epochs[slot]:
                self._owners[slot] = owner
                self._epochs[slot] = epoch
                self._seen[slot] = max(self._seen[slot], epoch)

    def owner_of(self, queue: str) -> str:
        """The id of the broker that serves the queue; "" when nobody is known to."""
        return self._owners[slot_of(queue, len(self._owners))] if queue and self._owners else ""

    def epoch_of(self, queue: str) -> int:
        return self._epochs[slot_of(queue, len(self._epochs))] if queue and self._epochs else 0

    def is_past(self, tag: bytes) -> bool:
        """Whether the slot has a newer owner than the one that gave ``tag``."""
        if not self._seen:
            return False
        slot, epoch = self._place_of(tag)
        return epoch < self._seen[slot]

    def see(self, tag: bytes) -> bool:
        """Takes note of a delivery's epoch; False when the delivery is of an older one."""
        if not self._seen:
            return True
        slot, epoch = self._place_of(tag)
        if epoch < self._seen[slot]:
            return False
        self._seen[slot] = epoch
        return True

    def is_behind(self, header: dict[str, Any]) -> bool:
        """Whether a reply tells of an owner that the map does not know yet."""
        slot, epoch = header.get("slot", -1), header.get("epoch", 0)
        if "tag" in header:
            slot, epoch = self._place_of(header["tag"])
        return 0 <= slot < len(self._epochs) and bool(epoch > self._epochs[slot])

    def _place_of(self, tag: bytes) -> tuple[int, int]:
        if len(tag) < _SLOT_AND_EPOCH.size:
            raise ValueError("a tag without slot and epoch")
        slot, epoch = _SLOT_AND_EPOCH.unpack_from(tag)
        if slot >= len(self._seen):
            raise ValueError(f"a tag of slot {slot}, of {len(self._seen)}")
        return slot, epoch
