"""One slot's rows in the Store: entries as they are proposed, effects as they are applied,
checkpoints, and the bodies that the core reads.

Order: a turn's log rows and bodies are written together before anything is answered; the effects
of applied entries and checkpoints ride on a later turn's batch.  A crash between them loses
nothing: recovery folds the log from the checkpoint and does the effects again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack

from broker.cluster.slot_log import Proposed
from broker.core.books.bodies import IdBatch, IdPlace, IndexRow
from broker.core.machine import SlotMachine
from broker.errors import DataDamaged, UnreadableMessage
from broker.limits import BATCH_COUNT_MAX, TIMED_LANES
from broker.model.due_chunks import DueChunk
from broker.model.entries import (
    BatchPut,
    Entry,
    ExpirySwept,
    IdsSwept,
    QueueDeleted,
    Trimmed,
)
from broker.model.stored_batch import StoredBatch
from broker.storage import batch_rows, id_rows, keys, timed_rows
from broker.storage.records import (
    decode_body,
    decode_log_row,
    decode_stored_entry,
    encode_body,
    encode_log_row,
    stored_count,
)
from broker.storage.store import Family, Store, WriteOps

META_VERSION = 2
#: Rows of the log in one read for a follower.
READ_ENTRIES = 1_000


class WrittenRow(NamedTuple):
    """A row of the log as it lies on the disk, with the stored batch that it refers to."""

    lsn: int
    row: bytes
    body: bytes | None


class SlotStore:
    """Implements the core's ``Bodies`` port for one instance of a slot."""

    def __init__(self, store: Store, instance: int, chain: int = 0) -> None:
        self._store = store
        self.instance = instance
        #: The checksum chain's value at the last row written.
        self.chain = chain
        self.trim_lsn = 0
        #: No primary of an earlier epoch is listened to any more.
        self.promised_epoch = 0
        #: What the last checkpoint stands for.
        self.checkpoint_lsn = 0
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

    def read_at(self, number: int, places: list[tuple[int, int]]) -> list[StoredBatch]:
        try:
            return timed_rows.read_parts(self._store, self.instance, number, places)
        except DataDamaged as error:
            raise UnreadableMessage(error.text) from None

    def due_chunk(self, row: IndexRow) -> DueChunk | None:
        return timed_rows.read_chunk(self._store, self.instance, row)

    def find_ids(self, number: int, hashes: list[bytes]) -> dict[bytes, list[IdPlace]]:
        try:
            return id_rows.find_ids(self._store, self.instance, number, hashes)
        except DataDamaged as error:
            raise UnreadableMessage(error.text) from None

    def id_batches(self, number: int, first: int, count_max: int) -> list[IdBatch]:
        return id_rows.id_batches(self._store, self.instance, number, first, count_max)

    def _index_rows(self, family: Family, after: IndexRow | None, count_max: int) -> list[IndexRow]:
        low, high = keys.instance_keys(self.instance)
        if after is not None:
            low = keys.index_key(self.instance, *after[:4]) + b"\0"
        # Bounded in rows alone: fewer than were asked for are all that there are.
        rows = self._store.scan(family, low, high, count_max, 1 << 30)
        return [
            IndexRow(*keys.decode_index_key(key), int.from_bytes(value[:4], "big"))
            for key, value in rows
        ]

    def write_entries(
        self, ops: WriteOps, machine: SlotMachine, tail: list[WrittenRow] | None = None
    ) -> int | None:
        """Rows for all that was proposed since the last call; gives the last lsn written.

        ``tail`` takes the rows as they were written, for the followers.
        """
        last: int | None = None
        before = ops.bytes
        for proposed in machine.log.take_unwritten():
            row = self._write_entry(ops, machine.log.epoch, proposed)
            if tail is not None:
                tail.append(row)
            self.entries_since_checkpoint += 1
            last = proposed.lsn
        self._note_written(machine, ops.bytes - before, last)
        return last

    def _note_written(self, machine: SlotMachine, size: int, last_lsn: int | None) -> None:
        self.bytes_since_checkpoint += size
        machine.marks.note(size)
        if last_lsn is not None:
            machine.marks.maybe_mark(last_lsn)

    def _write_entry(self, ops: WriteOps, epoch: int, proposed: Proposed) -> WrittenRow:
        entry = proposed.entry
        value, body_crc = None, 0
        if isinstance(entry, BatchPut):
            value, body_crc = encode_body(entry.body)
            batch_rows.put_batch(ops, self.instance, entry, value)
        row, self.chain = encode_log_row(epoch, proposed.now, entry, self.chain, body_crc)
        proposed.chain = self.chain
        ops.put(Family.LOG, keys.log_key(self.instance, proposed.lsn), row)
        return WrittenRow(proposed.lsn, row, value)

    def write_received(
        self, ops: WriteOps, machine: SlotMachine, rows: list[bytes], bodies: list[bytes]
    ) -> None:
        """Appends what the primary sent, byte for byte; raises DataDamaged when it does not
        continue this log's checksums, and then has appended what stood before it."""
        before = ops.bytes
        log = machine.log
        values = iter(bodies)
        for row in rows:
            lsn = log.last_lsn + 1
            found = decode_log_row(lsn, row, self.chain)
            if isinstance(found.entry, BatchPut):
                value = next(values, None)
                if value is None:
                    raise DataDamaged(f"log row {lsn} came without its batch")
                batch_rows.require_sound(lsn, found.entry, value)
                batch_rows.put_batch(ops, self.instance, found.entry, value)
            self.chain = found.chain
            log.receive(Proposed(lsn, found.now, found.entry, found.chain), found.epoch)
            ops.put(Family.LOG, keys.log_key(self.instance, lsn), row)
            self.entries_since_checkpoint += 1
        self._note_written(machine, ops.bytes - before, log.last_lsn if rows else None)

    def require_continuation(self, machine: SlotMachine, lsn: int, row: bytes) -> None:
        """Raises DataDamaged when ``row`` does not follow the entry at ``lsn``."""
        decode_log_row(lsn + 1, row, machine.log.chain_at(lsn))

    def cut(self, ops: WriteOps, machine: SlotMachine, lsn: int) -> None:
        """Takes the entries above ``lsn`` out of the log, and their bodies with them."""
        for proposed in machine.log.cut(lsn):
            ops.delete(Family.LOG, keys.log_key(self.instance, proposed.lsn))
            if isinstance(proposed.entry, BatchPut):
                batch_rows.cut_batch(ops, self.instance, proposed.entry)
        self.chain = machine.log.last_chain

    def read_entries(self, first_lsn: int, last_lsn: int, bytes_max: int) -> list[WrittenRow]:
        """Rows of the log with their bodies, ended by ``bytes_max``; at least one where there is
        one.  Raises DataDamaged for a body that is missing or fails its checksum."""
        low = keys.log_key(self.instance, first_lsn)
        high = keys.log_key(self.instance, last_lsn + 1)
        found: list[WrittenRow] = []
        for key, row in self._store.scan(Family.LOG, low, high, READ_ENTRIES, bytes_max):
            lsn = keys.lsn_of(key)
            entry = decode_stored_entry(lsn, row)
            value = None
            if isinstance(entry, BatchPut):
                value = batch_rows.read_batch(self._store, self.instance, lsn, entry)
            found.append(WrittenRow(lsn, row, value))
            bytes_max -= len(row) + len(value or b"")
            if bytes_max <= 0:
                break
        return found

    def promise(self, ops: WriteOps, epoch: int) -> None:
        """From the sync of ``ops`` on no earlier primary is listened to, over restarts too."""
        assert epoch >= self.promised_epoch, "a promise is never taken back"
        self.promised_epoch = epoch
        ops.put(Family.STATE, keys.promise_key(self.instance), msgpack.packb(epoch))

    def write_effects(self, ops: WriteOps, machine: SlotMachine) -> None:
        """What applied entries do to the disk besides their own row."""
        effects = machine.disk_effects
        if not effects:
            return
        machine.disk_effects = []
        for effect in effects:
            _EFFECTS[type(effect)](self, ops, effect)
        machine.log.epochs.forget_below(self.trim_lsn)

    def _trim(self, ops: WriteOps, effect: Trimmed) -> None:
        # A copy begins above what the log of its original may yet be trimmed to.
        if effect.to_lsn > self.trim_lsn:
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
            _, number, lane, first, length = row
            ops.delete(Family.DUE, keys.index_key(self.instance, *row[:4]))
            if lane < TIMED_LANES:
                ops.delete(Family.BODY, keys.body_key(self.instance, number, lane, first))
            elif length:
                timed_rows.erase_parts(ops, self.instance, (number, lane, first), length)

    def _sweep_expiries(self, ops: WriteOps, effect: ExpirySwept) -> None:
        low, _ = keys.instance_keys(self.instance)
        ops.delete_range(Family.EXPIRY, low, keys.index_key(self.instance, *effect.row[:4]) + b"\0")
        for later in effect.later:
            batch_rows.put_index_row(ops, self.instance, Family.EXPIRY, IndexRow(*later))

    def _sweep_ids(self, ops: WriteOps, effect: IdsSwept) -> None:
        id_rows.sweep_ids(ops, self._store, self.instance, effect)

    def _delete_queue(self, ops: WriteOps, effect: QueueDeleted) -> None:
        self._deleted.append(effect.number)

    def _erase_deleted(self, ops: WriteOps) -> None:
        for number in self._deleted:
            ops.delete_range(Family.BODY, *keys.queue_bodies(self.instance, number))
            ops.delete_range(Family.IDS, *keys.queue_ids(self.instance, number))
            ops.delete(Family.STATE, keys.queue_key(self.instance, number))
            for kind in keys.ROWS_OF_QUEUES:
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
        for (number, target, sequence), row in machine.outbox.take_dirty().items():
            key = keys.outbox_key(self.instance, number, target, sequence)
            _put_or_delete(ops, key, None if row is None else msgpack.packb(row))
        for (uuid, pattern), row in machine.bindings.take_dirty().items():
            key = keys.binding_key(self.instance, uuid, pattern)
            _put_or_delete(ops, key, None if row is None else msgpack.packb(row))
        self._erase_deleted(ops)
        log = machine.log
        meta = {
            "version": META_VERSION,
            "slot": machine.slot,
            "epoch_starts": log.epochs.up_to(log.applied_lsn),
            "applied_lsn": log.applied_lsn,
            "commit_lsn": log.commit_lsn,
            "chain": log.applied_chain,
            "trim_lsn": self.trim_lsn,
            "now": log.now,
            "next_queue_number": machine.next_queue_number,
            "outbox": machine.outbox.next_sequences,
        }
        ops.put(Family.STATE, keys.meta_key(self.instance), msgpack.packb(meta))
        self.bytes_since_checkpoint = 0
        self.entries_since_checkpoint = 0
        self.checkpoint_lsn = log.applied_lsn
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
    IdsSwept: SlotStore._sweep_ids,
}
