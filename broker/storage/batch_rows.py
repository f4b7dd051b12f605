"""The rows of a put besides its log row: the stored batch, its due and expiry rows, its ids.

They are written with the log row, cut with it, and read together for a copy that lags.
"""

from __future__ import annotations

from broker.core.books.bodies import IndexRow
from broker.errors import DataDamaged, UnreadableMessage
from broker.model.entries import BatchPut, TimedPut
from broker.storage import id_rows, keys, timed_rows
from broker.storage.records import decode_body
from broker.storage.store import Family, Store, WriteOps


def put_batch(ops: WriteOps, instance: int, entry: BatchPut, value: bytes) -> None:
    """``value`` is the whole batch as a body record."""
    body = entry.body
    if isinstance(entry, TimedPut):
        timed_rows.put_timed(ops, instance, entry)
    else:
        ops.put(Family.BODY, _body_key(instance, entry), value)
        place = (entry.number, body.lane, body.first, body.count)
        if body.expires_at:
            put_index_row(ops, instance, Family.EXPIRY, IndexRow(body.expires_at, *place))
        if body.due_at:
            put_index_row(ops, instance, Family.DUE, IndexRow(body.due_at, *place))
    if entry.ids:
        id_rows.put_ids(ops, instance, entry)


def cut_batch(ops: WriteOps, instance: int, entry: BatchPut) -> None:
    body = entry.body
    if isinstance(entry, TimedPut):
        timed_rows.cut_timed(ops, instance, entry)
    else:
        ops.delete(Family.BODY, _body_key(instance, entry))
        place = (entry.number, body.lane, body.first)
        if body.expires_at:
            ops.delete(Family.EXPIRY, keys.index_key(instance, body.expires_at, *place))
        if body.due_at:
            ops.delete(Family.DUE, keys.index_key(instance, body.due_at, *place))
    if entry.ids:
        id_rows.cut_ids(ops, instance, entry)


def read_batch(store: Store, instance: int, lsn: int, entry: BatchPut) -> bytes:
    """The whole batch of a log row; raises DataDamaged when it is missing or fails its checksum."""
    if isinstance(entry, TimedPut):
        return timed_rows.read_whole(store, instance, lsn, entry)
    value = store.get(Family.BODY, _body_key(instance, entry))
    if value is None:
        raise DataDamaged(f"the batch of log row {lsn} is missing")
    require_sound(lsn, entry, value)
    return value


def require_sound(lsn: int, entry: BatchPut, value: bytes) -> None:
    """Checks what another broker sent, or what the disk holds, against the log row."""
    if isinstance(entry, TimedPut):
        timed_rows.take_whole(lsn, entry, value)
        return
    try:
        decode_body(entry.body.lane, entry.body.first, value)
    except UnreadableMessage as error:
        raise DataDamaged(f"the batch of log row {lsn}: {error.text}") from None


def put_index_row(ops: WriteOps, instance: int, family: Family, row: IndexRow) -> None:
    ops.put(family, keys.index_key(instance, *row[:4]), row.length.to_bytes(4, "big"))


def _body_key(instance: int, entry: BatchPut) -> bytes:
    return keys.body_key(instance, entry.number, entry.body.lane, entry.body.first)
