"""Looks into a node and its store: the one place of the simulator that knows how they are built.

It changes nothing, and every function answers from what lies in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgpack

from broker.core.machine import SlotMachine
from broker.model.entries import Entry
from broker.node.node import Node
from broker.storage import keys
from broker.storage.memory_store import MemoryStore
from broker.storage.records import decode_log_row
from broker.storage.store import Family

_ROWS = 1 << 20


class Copy(NamedTuple):
    """One copy of a slot: how far its log is, and whether its broker reigns there."""

    slot: int
    epoch: int
    last_lsn: int
    commit_lsn: int
    applied_lsn: int
    promised_epoch: int
    instance: int
    reigns: bool
    #: It hands messages out.
    serves: bool
    machine: SlotMachine


def copies(node: Node) -> Iterator[Copy]:
    """Every slot that the node has open."""
    for replica in node._replicas:
        log, primary = replica.log, replica.primary
        yield Copy(
            replica.slot,
            log.epoch,
            log.last_lsn,
            log.commit_lsn,
            log.applied_lsn,
            replica.store.promised_epoch,
            replica.store.instance,
            primary is not None,
            primary is not None and primary.is_serving,
            replica.machine,
        )


def effective_isr(node: Node, slot: int) -> tuple[int, list[str]] | None:
    """(epoch, brokers that must have an entry before it is committed) of a reigning primary."""
    replica = node._replicas.find(slot)
    if replica is None or replica.primary is None:
        return None
    return replica.primary.epoch, replica.primary.effective_isr


def instances(store: MemoryStore) -> dict[int, int]:
    """slot -> the instance that holds its rows"""
    low, high = keys.kind_keys(keys.STORE_INSTANCE, keys.StateKind.SLOT)
    rows = store.scan(Family.STATE, low, high, _ROWS, _ROWS)
    return {keys.decode_state_key(key)[0]: msgpack.unpackb(value) for key, value in rows}


def instance_of(store: MemoryStore, slot: int) -> int | None:
    row = store.get(Family.STATE, keys.slot_key(slot))
    return None if row is None else msgpack.unpackb(row)


def log_row(store: MemoryStore, instance: int, lsn: int) -> bytes | None:
    return store.get(Family.LOG, keys.log_key(instance, lsn))


def chain_of(row: bytes) -> int:
    """The checksum over the whole log up to this row."""
    return int.from_bytes(row[18:22], "big")


def epoch_of(row: bytes) -> int:
    return int.from_bytes(row[2:10], "big")


def entry_of(lsn: int, row: bytes, previous_chain: int) -> Entry:
    return decode_log_row(lsn, row, previous_chain).entry


def last_lsn(store: MemoryStore, instance: int) -> int:
    """0 when the instance has no log row."""
    low, high = keys.instance_keys(instance)
    found = store.last_before(Family.LOG, low, high)
    return keys.lsn_of(found[0]) if found is not None else 0


def meta_of(store: MemoryStore, instance: int) -> dict[str, Any]:
    """The slot's row at its last checkpoint, empty before the first."""
    row = store.get(Family.STATE, keys.meta_key(instance))
    meta: dict[str, Any] = {} if row is None else msgpack.unpackb(row, strict_map_key=False)
    return meta
