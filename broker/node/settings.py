"""What a node is told when it opens."""

from __future__ import annotations

from dataclasses import dataclass

from broker import limits


@dataclass(slots=True, frozen=True)
class NodeSettings:
    """``broker_id`` names this broker in every welcome; in a cluster the map says ``slots``."""

    broker_id: str
    version: str
    #: The name of the cluster that this broker belongs to; "" for a broker that is alone.
    cluster: str = ""
    slots: int = limits.SLOTS_DEFAULT
    auto_declare: bool = True
    #: Where subscribers connect, as a welcome tells it; none where nobody publishes.
    publish_addresses: tuple[str, ...] = ()
    sessions_max: int = limits.SESSIONS_MAX
    log_kept_bytes: int = limits.LOG_KEPT_BYTES_ALONE
    checkpoint_bytes: int = limits.CHECKPOINT_BYTES
    checkpoint_entries: int = limits.CHECKPOINT_ENTRIES
