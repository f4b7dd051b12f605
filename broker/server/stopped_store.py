"""What a stopped broker's data directory says of itself: how it becomes the first of a cluster.

It reads one row under the directory's lock and changes nothing, so a broker that still runs is
refused, and one that is started meanwhile is too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgpack

from broker.errors import ConfigError
from broker.storage import keys
from broker.storage.data_directory import DataDirectory
from broker.storage.rocks_store import RocksStore
from broker.storage.store import Family


@dataclass(frozen=True, slots=True)
class StoppedStore:
    """``reign`` is the last epoch in which it wrote alone; ``cluster_id`` is "" until it has been
    part of a cluster."""

    incarnation: str
    slots: int
    reign: int
    cluster_id: str


def read_stopped_store(path: Path) -> StoppedStore:
    """Raises ConfigError for a directory that cannot become part of a cluster, and what entering
    and opening raise."""
    if not (path / "FORMAT").is_file():
        raise ConfigError(f"{path} is no data directory of a broker")
    with DataDirectory(path) as directory:
        store = RocksStore.open(directory.path)
        try:
            row = store.get(Family.STATE, keys.meta_key(keys.STORE_INSTANCE))
        finally:
            store.close()
    meta = {} if row is None else msgpack.unpackb(row)
    if not meta.get("incarnation"):
        raise ConfigError(
            f"{path} was not used by this version yet: start a broker on it once, and stop it"
        )
    return StoppedStore(
        meta["incarnation"], meta["slots"], meta["reign"], meta.get("cluster_id", "")
    )
