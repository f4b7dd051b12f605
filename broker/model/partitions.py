"""Partitioned queues: the queues that one queue is spread over, and which of them takes a key.

The partitions of ``orders`` are the queues ``orders#0`` to ``orders#N-1``, each in the slot of its
own name.  Clients in any language compute the partition of a key: the first eight bytes of
BLAKE2b-64 of its bytes, big-endian, modulo the number of partitions.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any


def partition_of(key: str | bytes, partitions: int) -> int:
    raw = key.encode() if isinstance(key, str) else key
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "big") % partitions


def partition_name(queue: str, index: int) -> str:
    return f"{queue}#{index}"


def is_partition(name: str) -> bool:
    """True for the name of a partition: it is declared, never made by a put."""
    parent, _, index = name.rpartition("#")
    return bool(parent) and index.isdigit()


def partition_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Those of each partition, from those of the whole: all but what only the whole has."""
    whole = ("partitions", "schedules", "bindings")
    return {name: value for name, value in settings.items() if name not in whole}
