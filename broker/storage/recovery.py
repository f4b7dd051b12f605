"""From rows to a serving machine: the one path of restart, and later of promotion and catch-up.

    state = fold(the checkpoint's rows, the committed tail of the log)

No body is read.  Law: damage is told by name (DataDamaged) and nothing is erased or passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from broker.cluster.slot_log import Proposed, SlotLog
from broker.core.applying import fold
from broker.core.due import come_due
from broker.core.ledger import Ledger
from broker.core.machine import SlotMachine
from broker.errors import DataDamaged, FormatTooNew
from broker.model.entries import EpochStart
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
    epoch: int,
    now: int,
    draw: Callable[[int], bytes],
    auto_declare: bool,
    log_kept_bytes: int,
) -> tuple[SlotMachine, SlotStore]:
    """The machine of a slot, new or recovered; its epoch's first entry is proposed."""
    meta = _read_meta(store, instance)
    applied_lsn = meta["applied_lsn"] if meta else 0
    chain = meta["chain"] if meta else 0
    log = SlotLog(epoch, applied_lsn, max(now, meta["now"] if meta else 0), chain)
    slot_store = SlotStore(store, instance, chain)
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
        machine.next_queue_number = meta["next_queue_number"]
        machine.epoch_starts = [(start[0], start[1]) for start in meta["epoch_starts"]]
        _read_rows(store, instance, machine)
    _replay(store, instance, slot_store, machine)
    if meta and log.last_lsn < meta["commit_lsn"]:
        raise DataDamaged(
            f"slot {slot}: the log ends at {log.last_lsn}, but {meta['commit_lsn']} was committed"
        )
    for queue in machine.queues.values():
        queue.begin_epoch()
        # What was settled and not yet swept is looked at by the first trim of this epoch.
        machine.marks.touch(queue.ledger.number, queue.ledger.next_position)
        if queue.resting_until:
            machine.wake_at(queue, queue.resting_until[0][0])
    machine.due.expect(0)
    while machine.due.at is not None and machine.due.at <= machine.now:
        # What was due before the restart may be named by who held it, before any turn.
        come_due(machine)
    machine.expiry.expect(0)
    machine.propose(EpochStart(epoch))
    return machine, slot_store


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


def _replay(store: Store, instance: int, slot_store: SlotStore, machine: SlotMachine) -> None:
    """Folds the log behind the checkpoint; alone, what is on disk is committed."""
    log = machine.log
    low = keys.log_key(instance, log.applied_lsn + 1)
    _, high = keys.instance_keys(instance)
    for key, value in _all_rows(store, Family.LOG, low, high):
        lsn = keys.lsn_of(key)
        if lsn != log.last_lsn + 1:
            raise DataDamaged(f"slot {machine.slot}: log row {log.last_lsn + 1} is missing")
        row = decode_log_row(lsn, value, slot_store.chain)
        slot_store.chain = row.chain
        proposed = Proposed(lsn, row.now, row.entry)
        proposed.chain = row.chain
        log.replay(proposed)
        fold(machine, proposed)


def _unpacked(row: bytes, what: str) -> Any:
    try:
        return msgpack.unpackb(row, strict_map_key=False)
    except Exception as error:
        raise DataDamaged(f"{what} does not decode: {type(error).__name__}") from None
