"""Who holds a slot: the value of its key at the coordinator, and the values beside it.

    /<cluster>/config          ClusterConfig
    /<cluster>/members/<id>    Member          who belongs to the ring
    /<cluster>/brokers/<id>    BrokerRecord    who is alive: the key lives as long as the tenure
    /<cluster>/slots/<n>       SlotConfig      changed by compare-and-swap on its revision alone

Values are JSON maps, so that an operator can read them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple


class ReplicaId(NamedTuple):
    """One copy of a slot: an empty disk makes another ``incarnation``, which holds nothing."""

    broker: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class SlotConfig:
    """``isr`` and ``elr`` name brokers of ``replicas``, disjoint and in that order.

    The ISR holds every committed entry; so does the ELR, which left it while commits stood still.
    ``primary`` is "" and ``epoch`` 0 while nobody has claimed the slot.
    """

    replicas: tuple[ReplicaId, ...] = ()
    isr: tuple[str, ...] = ()
    elr: tuple[str, ...] = ()
    primary: str = ""
    epoch: int = 0

    def incarnation_of(self, broker: str) -> str | None:
        for replica in self.replicas:
            if replica.broker == broker:
                return replica.incarnation
        return None

    def to_json(self) -> dict[str, Any]:
        return {
            "replicas": [list(replica) for replica in self.replicas],
            "isr": list(self.isr),
            "elr": list(self.elr),
            "primary": self.primary,
            "epoch": self.epoch,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> SlotConfig:
        return cls(
            tuple(ReplicaId(broker, incarnation) for broker, incarnation in value["replicas"]),
            tuple(value["isr"]),
            tuple(value["elr"]),
            value["primary"],
            value["epoch"],
        )


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """``id`` is drawn when the cluster is made; ``slots`` never changes."""

    id: str
    slots: int
    replication: int
    min_isr: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ClusterConfig:
        return cls(value["id"], value["slots"], value["replication"], value["min_isr"])


@dataclass(frozen=True, slots=True)
class Member:
    """A broker of the ring; a ``draining`` one is no target any more."""

    weight: int = 100
    zone: str = ""
    draining: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Member:
        return cls(value["weight"], value["zone"], value["draining"])


@dataclass(frozen=True, slots=True)
class BrokerRecord:
    """A living broker: where clients connect, and where other brokers do."""

    incarnation: str
    clients: tuple[str, ...]
    links: str
    version: str
    #: True while it hands its slots over before it ends.
    leaving: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"clients": list(self.clients)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> BrokerRecord:
        return cls(
            value["incarnation"],
            tuple(value["clients"]),
            value["links"],
            value["version"],
            value.get("leaving", False),
        )
