"""One slot's rows in the Store: entries as they are proposed, effects as they are applied,
checkpoints, and the bodies that the core reads.

Order: a turn's log rows and bodies are written together before anything is answered; the effects
of applied entries and checkpoints ride on a later turn's batch.  A crash between them loses
nothing: recovery folds the log from the checkpoint and does the effects again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from broker.cluster.slot_log import Proposed
from broker.core.bodies import IndexRow
from broker.core.machine import SlotMachine
from broker.errors import DataDamaged, UnreadableMessage
from broker.limits import BATCH_COUNT_MAX
from broker.model.entries import BatchPut, Entry, ExpirySwept, QueueDeleted, Trimmed
from broker.model.stored_batch import StoredBatch
from broker.storage import keys
from broker.storage.records import decode_body, encode_body, encode_log_row, stored_count
from broker.storage.store import Family, Store, WriteOps

META_VERSION = 1


class SlotStore:
    """Implements the core's ``Bodies`` port for one instance of a slot."""

    def __init__(self, store: Store, instance: int, chain: int = 0) -> None:
        self._store = store
        self.instance = instance
        #: The checksum chain's value at the last row written.
        self.chain = chain
        self.trim_lsn = 0
        #: Written since the last checkpoint.
        self.bytes_since_checkpoint = 0
        self.entries_since_checkpoint = 0
        #: Deleted queues whose rows go with the next checkpoint: until then a restart folds
        #: entries of theirs.
        self._deleted: list[int] = []

    def read(
        self, number: int, lane: int, first: int, end: int, count_max: int, bytes_max: int
    ) -> list[StoredBatch]:
        if first >= end:
            return []
        try:
            return self._read(number, lane, first, end, count_max, bytes_max)
        except DataDamaged as error:
            # A bad block harms the queues whose messages lie in it, and no other.
            raise UnreadableMessage(error.text) from None

    def _read(
        self, number: int, lane: int, first: int, end: int, count_max: int, bytes_max: int
    ) -> list[StoredBatch]:
        # No batch that holds ``first`` can begin earlier, so nothing further back is looked at.
        low = keys.body_key(self.instance, number, lane, max(first - BATCH_COUNT_MAX, 0))
        start = keys.body_key(self.instance, number, lane, first)
        before = self._store.last_before(Family.BODY, low, start)
        batches: list[StoredBatch] = []
        if before is not None:
            # A bad batch that ends before ``first`` is nobody's matter here.
            before_first = keys.first_of_body(before[0])
            if before_first + stored_count(before[1]) > first:
                batch = decode_body(lane, before_first, before[1])
                batches.append(batch)
                bytes_max -= len(before[1])
                start = keys.body_key(self.instance, number, lane, batch.end)
        if bytes_max > 0:
            stop = keys.body_key(self.instance, number, lane, end)
            rows = self._store.scan(Family.BODY, start, stop, count_max, bytes_max)
            _decode_bodies(lane, rows, batches)
        return batches

    def expiring(self, after: IndexRow | None, count_max: int) -> list[IndexRow]:
        return self._index_rows(Family.EXPIRY, after, count_max)

    def coming_due(self, after: IndexRow | None, count_max: int) -> list[IndexRow]:
        return self._index_rows(Family.DUE, after, count_max)

    def _index_rows(self, family: Family, after: IndexRow | None, count_max: int) -> list[IndexRow]:
        low, high = keys.instance_keys(self.instance)
        if after is not None:
            low = keys.index_key(self.instance, *after[:4]) + b"\0"
        rows = self._store.scan(family, low, high, count_max, 1 << 20)
        return [
            IndexRow(*keys.decode_index_key(key), int.from_bytes(value, "big"))
            for key, value in rows
        ]

    def write_entries(self, ops: WriteOps, machine: SlotMachine) -> int | None:
        """Rows for all that was proposed since the last call; gives the last lsn written."""
        last: int | None = None
        before = ops.bytes
        for proposed in machine.log.take_unwritten():
            self._write_entry(ops, machine.log.epoch, proposed)
            self.entries_since_checkpoint += 1
            last = proposed.lsn
        self.bytes_since_checkpoint += ops.bytes - before
        machine.marks.note(ops.bytes - before)
        if last is not None:
            machine.marks.maybe_mark(last)
        return last

    def _write_entry(self, ops: WriteOps, epoch: int, proposed: Proposed) -> None:
        entry = proposed.entry
        body_crc = 0
        if isinstance(entry, BatchPut):
            body = entry.body
            value, body_crc = encode_body(body)
            key = keys.body_key(self.instance, entry.number, body.lane, body.first)
            ops.put(Family.BODY, key, value)
            place = (entry.number, body.lane, body.first, body.count)
            if body.expires_at:
                self._put_index_row(ops, Family.EXPIRY, IndexRow(body.expires_at, *place))
            if body.due_at:
                self._put_index_row(ops, Family.DUE, IndexRow(body.due_at, *place))
        row_value, self.chain = encode_log_row(epoch, proposed.now, entry, self.chain, body_crc)
        proposed.chain = self.chain
        ops.put(Family.LOG, keys.log_key(self.instance, proposed.lsn), row_value)

    def _put_index_row(self, ops: WriteOps, family: Family, row: IndexRow) -> None:
        key = keys.index_key(self.instance, *row[:4])
        ops.put(family, key, row.length.to_bytes(4, "big"))

    def write_effects(self, ops: WriteOps, machine: SlotMachine) -> None:
        """What applied entries do to the disk besides their own row."""
        effects = machine.disk_effects
        if not effects:
            return
        machine.disk_effects = []
        for effect in effects:
            _EFFECTS[type(effect)](self, ops, effect)

    def _trim(self, ops: WriteOps, effect: Trimmed) -> None:
        low = keys.log_key(self.instance, self.trim_lsn)
        ops.delete_range(Family.LOG, low, keys.log_key(self.instance, effect.to_lsn + 1))
        self.trim_lsn = effect.to_lsn
        for sweep in effect.sweeps:
            for first, end in sweep.runs:
                ops.delete_range(
                    Family.BODY,
                    keys.body_key(self.instance, sweep.number, sweep.lane, first),
                    keys.body_key(self.instance, sweep.number, sweep.lane, end),
                )

        for row in effect.due:
            _, number, lane, first, _ = row
            ops.delete(Family.DUE, keys.index_key(self.instance, *row[:4]))
            ops.delete(Family.BODY, keys.body_key(self.instance, number, lane, first))

    def _sweep_expiries(self, ops: WriteOps, effect: ExpirySwept) -> None:
        low, _ = keys.instance_keys(self.instance)
        ops.delete_range(Family.EXPIRY, low, keys.index_key(self.instance, *effect.row[:4]) + b"\0")
        for later in effect.later:
            self._put_index_row(ops, Family.EXPIRY, IndexRow(*later))

    def _delete_queue(self, ops: WriteOps, effect: QueueDeleted) -> None:
        self._deleted.append(effect.number)

    def _erase_deleted(self, ops: WriteOps) -> None:
        for number in self._deleted:
            ops.delete_range(Family.BODY, *keys.queue_bodies(self.instance, number))
            ops.delete(Family.STATE, keys.queue_key(self.instance, number))
            for kind in (keys.StateKind.SETTLED, keys.StateKind.ATTEMPTED, keys.StateKind.PRODUCER):
                ops.delete_range(Family.STATE, *keys.rows_of_queue(self.instance, kind, number))
        self._deleted.clear()

    def write_checkpoint(self, ops: WriteOps, machine: SlotMachine) -> int:
        """The dirty rows of the applied state; gives the lsn that they stand for."""
        for number, queue in machine.queues.items():
            ledger = queue.ledger
            if number in machine.unborn:
                continue
            if ledger.dirty:
                ledger.dirty = False
                key = keys.queue_key(self.instance, number)
                ops.put(Family.STATE, key, msgpack.packb(ledger.as_row()))
            for chunk, bitmap in ledger.settled.take_dirty().items():
                key = keys.settled_key(self.instance, number, chunk)
                _put_or_delete(ops, key, bitmap)
            for first, row in ledger.take_dirty_attempted().items():
                key = keys.attempted_key(self.instance, number, first)
                _put_or_delete(ops, key, None if row is None else msgpack.packb(row))
        for (producer, number), row in machine.producers.take_dirty().items():
            key = keys.producer_key(self.instance, number, producer)
            _put_or_delete(ops, key, None if row is None else msgpack.packb(row))
        self._erase_deleted(ops)
        log = machine.log
        meta = {
            "version": META_VERSION,
            "slot": machine.slot,
            "epoch_starts": machine.epoch_starts,
            "applied_lsn": log.applied_lsn,
            "commit_lsn": log.commit_lsn,
            "chain": log.applied_chain,
            "trim_lsn": self.trim_lsn,
            "now": log.now,
            "next_queue_number": machine.next_queue_number,
        }
        ops.put(Family.STATE, keys.meta_key(self.instance), msgpack.packb(meta))
        self.bytes_since_checkpoint = 0
        self.entries_since_checkpoint = 0
        return log.applied_lsn


def _decode_bodies(lane: int, rows: list[tuple[bytes, bytes]], batches: list[StoredBatch]) -> None:
    """Adds the rows' batches, up to one that cannot be read: what stands before it is good, and
    the next read begins at it."""
    first_of = keys.first_of_body
    try:
        for key, value in rows:
            batches.append(decode_body(lane, first_of(key), value))
    except UnreadableMessage:
        if not batches:
            raise


def _put_or_delete(ops: WriteOps, key: bytes, value: bytes | None) -> None:
    if value is None:
        ops.delete(Family.STATE, key)
    else:
        ops.put(Family.STATE, key, value)


_EFFECTS: dict[type[Entry], Callable[[SlotStore, WriteOps, Any], None]] = {
    Trimmed: SlotStore._trim,
    ExpirySwept: SlotStore._sweep_expiries,
    QueueDeleted: SlotStore._delete_queue,
}
