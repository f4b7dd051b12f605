"""From rows to a machine: the one path of restart, of a step down and of a copied slot.

    state = fold(the checkpoint's rows, the committed tail of the log)

No body is read.  Law: damage is told by name (DataDamaged) and nothing is erased or passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from broker.cluster.slot_log import Proposed, SlotLog
from broker.core.applying import apply_committed
from broker.core.books.ledger import Ledger
from broker.core.machine import UUID_BYTES, SlotMachine
from broker.errors import DataDamaged, FormatTooNew
from broker.storage import keys
from broker.storage.records import decode_log_row
from broker.storage.slot_store import META_VERSION, SlotStore
from broker.storage.store import Family, Store

_ROWS = 10_000
_BYTES = 8 << 20


def open_machine(
    store: Store,
    *,
    slot: int,
    instance: int,
    now: int,
    draw: Callable[[int], bytes],
    auto_declare: bool,
    log_kept_bytes: int,
    is_alone: bool,
) -> tuple[SlotMachine, SlotStore]:
    """The machine of a slot, new or recovered, folded as far as the log is known to be committed.

    Alone, what is on disk is committed; a replica is told by its primary.
    """
    meta = _read_meta(store, instance)
    applied_lsn = meta["applied_lsn"] if meta else 0
    chain = meta["chain"] if meta else 0
    epochs = [(start[0], start[1]) for start in meta["epoch_starts"]] if meta else []
    log = SlotLog(0, applied_lsn, max(now, meta["now"] if meta else 0), chain, epochs)
    slot_store = SlotStore(store, instance, chain)
    slot_store.promised_epoch = _read_promise(store, instance)
    machine = SlotMachine(
        slot,
        log,
        slot_store,
        draw,
        auto_declare=auto_declare,
        log_kept_bytes=log_kept_bytes,
    )
    if meta:
        slot_store.trim_lsn = meta["trim_lsn"]
        slot_store.checkpoint_lsn = applied_lsn
        machine.next_queue_number = meta["next_queue_number"]
        _read_rows(store, instance, machine)
        # The first version had no outbox.
        _read_outbox(store, instance, machine, meta.get("outbox", {}))
        _read_bindings(store, instance, machine)
    _read_log(store, instance, slot_store, machine)
    # A trim may have been carried out after the checkpoint, and its entry be not applied here.
    first_lsn = _first_lsn(store, instance, slot_store.trim_lsn, log)
    slot_store.trim_lsn = max(slot_store.trim_lsn, first_lsn - 1)
    commit_lsn = meta["commit_lsn"] if meta else 0
    if log.last_lsn < commit_lsn:
        raise DataDamaged(
            f"slot {slot}: the log ends at {log.last_lsn}, but {commit_lsn} was committed"
        )
    log.durable_lsn = log.last_lsn
    log.commit(log.last_lsn if is_alone else commit_lsn)
    apply_committed(machine)
    return machine, slot_store


def _read_promise(store: Store, instance: int) -> int:
    row = store.get(Family.STATE, keys.promise_key(instance))
    return int(_unpacked(row, "a promised epoch")) if row is not None else 0


def _read_meta(store: Store, instance: int) -> dict[str, Any] | None:
    row = store.get(Family.STATE, keys.meta_key(instance))
    if row is None:
        return None
    meta: dict[str, Any] = _unpacked(row, f"the state of instance {instance}")
    if meta["version"] > META_VERSION:
        raise FormatTooNew(f"slot state has version {meta['version']}, we read {META_VERSION}")
    return meta


def _read_rows(store: Store, instance: int, machine: SlotMachine) -> None:
    for _, _, row in _state_rows(store, instance, keys.StateKind.QUEUE):
        machine.add_queue(Ledger.from_row(_unpacked(row, "a queue's state")))
    for number, rest, row in _state_rows(store, instance, keys.StateKind.SETTLED):
        machine.queues[number].ledger.settled.load(int.from_bytes(rest, "big"), row)
    for number, rest, row in _state_rows(store, instance, keys.StateKind.ATTEMPTED):
        first = int.from_bytes(rest, "big")
        machine.queues[number].ledger.load_attempted(first, _unpacked(row, "attempts"))
    for number, producer, row in _state_rows(store, instance, keys.StateKind.PRODUCER):
        machine.producers.load((producer, number), _unpacked(row, "a producer's window"))


def _read_outbox(
    store: Store, instance: int, machine: SlotMachine, next_sequences: dict[str, int]
) -> None:
    rows = {
        (number, rest[8:].decode(), int.from_bytes(rest[:8], "big")): _unpacked(row, "a move")
        for number, rest, row in _state_rows(store, instance, keys.StateKind.OUTBOX)
    }
    machine.outbox.load(next_sequences, rows)


def _read_bindings(store: Store, instance: int, machine: SlotMachine) -> None:
    rows = {
        (rest[:UUID_BYTES], rest[UUID_BYTES:].decode()): _unpacked(row, "a binding")
        for _, rest, row in _state_rows(store, instance, keys.StateKind.BINDING)
    }
    machine.bindings.load(rows)


def _state_rows(
    store: Store, instance: int, kind: keys.StateKind
) -> Iterator[tuple[int, bytes, bytes]]:
    low, high = keys.kind_keys(instance, kind)
    for key, value in _all_rows(store, Family.STATE, low, high):
        yield *keys.decode_state_key(key), value


def _all_rows(
    store: Store, family: Family, low: bytes, high: bytes
) -> Iterator[tuple[bytes, bytes]]:
    while True:
        rows = store.scan(family, low, high, _ROWS, _BYTES)
        yield from rows
        if not rows:
            return
        low = rows[-1][0] + b"\0"


def _read_log(store: Store, instance: int, slot_store: SlotStore, machine: SlotMachine) -> None:
    """Takes in the log behind the checkpoint."""
    log = machine.log
    low = keys.log_key(instance, log.applied_lsn + 1)
    _, high = keys.instance_keys(instance)
    for key, value in _all_rows(store, Family.LOG, low, high):
        lsn = keys.lsn_of(key)
        if lsn != log.last_lsn + 1:
            raise DataDamaged(f"slot {machine.slot}: log row {log.last_lsn + 1} is missing")
        row = decode_log_row(lsn, value, slot_store.chain)
        slot_store.chain = row.chain
        log.receive(Proposed(lsn, row.now, row.entry, row.chain), row.epoch)


def _first_lsn(store: Store, instance: int, trim_lsn: int, log: SlotLog) -> int:
    """The first entry that is on the disk, or the one that will be."""
    low, high = keys.log_key(instance, trim_lsn), keys.instance_keys(instance)[1]
    rows = store.scan(Family.LOG, low, high, 1, 1)
    return keys.lsn_of(rows[0][0]) if rows else log.last_lsn + 1


def _unpacked(row: bytes, what: str) -> Any:
    try:
        return msgpack.unpackb(row, strict_map_key=False)
    except Exception as error:
        raise DataDamaged(f"{what} does not decode: {type(error).__name__}") from None
