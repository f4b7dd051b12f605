"""What this broker knows of the cluster: the coordinator's keys, as far as they were told.

A view may be old, never wrong: a slot's config is replaced only by one of a higher revision.
Whatever rests on it is either harmless when it is old or a compare-and-swap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from broker.cluster.ownership import BrokerRecord, ClusterConfig, Member, SlotConfig


@dataclass(frozen=True, slots=True)
class Owned:
    """A slot's config and the revision (``mod_revision``) at which it was written."""

    config: SlotConfig
    revision: int


@dataclass(slots=True)
class ClusterView:
    config: ClusterConfig | None = None
    members: dict[str, Member] = field(default_factory=dict)
    brokers: dict[str, BrokerRecord] = field(default_factory=dict)
    slots: dict[int, Owned] = field(default_factory=dict)

    def learn(self, slot: int, owned: Owned) -> bool:
        """False when what is known is at least as new."""
        known = self.slots.get(slot)
        if known is not None and known.revision >= owned.revision:
            return False
        self.slots[slot] = owned
        return True


@dataclass(frozen=True, slots=True)
class Change:
    """One key as it was seen to change; the value is None when the key is gone.

    ``kind`` is the key's folder and ``name`` what stands behind it ("" for ``config``); the value
    is a ClusterConfig, Member, BrokerRecord or SlotConfig by the kind.
    """

    kind: str
    name: str
    value: ClusterConfig | Member | BrokerRecord | SlotConfig | None
    revision: int


@dataclass(frozen=True, slots=True)
class Swap:
    """Asks the coordinator to replace a slot's config if it is still that of ``revision``."""

    slot: int
    revision: int
    config: SlotConfig


class SwapOutcome(Enum):
    #: ``owned`` is what now stands, with its revision.
    DONE = "done"
    #: Another was quicker; ``owned`` is what stands, read linearizably; None when it is gone.
    CONFLICT = "conflict"
    #: No answer in time: it may have been carried out, or may be yet.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SwapAnswer:
    outcome: SwapOutcome
    owned: Owned | None = None
