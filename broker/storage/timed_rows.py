"""The rows of a batch whose messages have due times of their own.

    BODY  one for each part, under the part's first position
    DUE   one for each chunk of instants, under its first instant and the batch's first position:
          messages of the batch u32 | step u16 | messages of the chunk u16
          | deltas u16 ... | indexes u16 ...

All of them follow from the log's entry and the whole batch, so every copy writes the same.
"""

from __future__ import annotations

import sys
from array import array
from struct import Struct

from broker.core.books.bodies import IndexRow
from broker.core.timing.own_due_times import rows_of
from broker.core.timing.timed_parts import join_parts, split_batch
from broker.errors import DataDamaged, UnreadableMessage
from broker.limits import BATCH_COUNT_MAX, FRAME_BYTES_MAX
from broker.model.due_chunks import DueChunk
from broker.model.entries import TimedPut
from broker.model.stored_batch import StoredBatch
from broker.storage import keys
from broker.storage.records import decode_body, encode_body
from broker.storage.store import Family, Store, WriteOps

_CHUNK = Struct(">IHH")


def encode_chunk(length: int, chunk: DueChunk) -> bytes:
    head = _CHUNK.pack(length, chunk.step, len(chunk.deltas))
    return head + _big_endian(chunk.deltas) + _big_endian(chunk.indexes)


def decode_chunk(at: int, value: bytes) -> DueChunk:
    _, step, count = _CHUNK.unpack_from(value)
    numbers = array("H")
    numbers.frombytes(value[_CHUNK.size :])
    if sys.byteorder == "little":
        numbers.byteswap()
    return DueChunk(at, step, numbers[:count], numbers[count:])


def _big_endian(numbers: array[int]) -> bytes:
    if sys.byteorder == "little":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def put_timed(ops: WriteOps, instance: int, entry: TimedPut) -> None:
    """All rows of a put but its log row."""
    for part in entry.parts:
        key = keys.body_key(instance, entry.number, part.lane, part.first)
        ops.put(Family.BODY, key, encode_body(part)[0])
        if part.expires_at:
            key = keys.index_key(instance, part.expires_at, entry.number, part.lane, part.first)
            ops.put(Family.EXPIRY, key, part.count.to_bytes(4, "big"))
    for row, chunk in rows_of(entry):
        ops.put(Family.DUE, keys.index_key(instance, *row[:4]), encode_chunk(row.length, chunk))


def take_whole(lsn: int, entry: TimedPut, value: bytes) -> None:
    """Gives a received entry the parts that its batch is kept in here."""
    try:
        whole = decode_body(entry.body.lane, entry.body.first, value)
    except UnreadableMessage as error:
        raise DataDamaged(f"the batch of log row {lsn}: {error.text}") from None
    entry.parts = split_batch(whole, entry.step)


def cut_timed(ops: WriteOps, instance: int, entry: TimedPut) -> None:
    """Takes all rows of a put away again."""
    body = entry.body
    assert body.due_times is not None
    erase_parts(ops, instance, (entry.number, body.lane, body.first), body.count)
    for row, _ in rows_of(entry):
        ops.delete(Family.DUE, keys.index_key(instance, *row[:4]))
    if body.expires_at:
        ttl_ms = body.expires_at - body.due_at
        for index, at in enumerate(body.due_times):
            place = (entry.number, body.lane, body.first + index)
            ops.delete(Family.EXPIRY, keys.index_key(instance, at + ttl_ms, *place))


def erase_parts(ops: WriteOps, instance: int, place: tuple[int, int, int], count: int) -> None:
    """``place`` is (queue number, lane, first position) of a batch that is kept in parts."""
    number, lane, first = place
    low = keys.body_key(instance, number, lane, first)
    ops.delete_range(Family.BODY, low, keys.body_key(instance, number, lane, first + count))


def read_whole(store: Store, instance: int, lsn: int, entry: TimedPut) -> bytes:
    """The whole batch as it was sent to the copies; raises DataDamaged."""
    body = entry.body
    low = keys.body_key(instance, entry.number, body.lane, body.first)
    high = keys.body_key(instance, entry.number, body.lane, body.end)
    rows = store.scan(Family.BODY, low, high, BATCH_COUNT_MAX, 2 * FRAME_BYTES_MAX)
    try:
        parts = [decode_body(body.lane, keys.first_of_body(key), value) for key, value in rows]
    except UnreadableMessage as error:
        raise DataDamaged(f"the batch of log row {lsn}: {error.text}") from None
    if sum(part.count for part in parts) != body.count:
        raise DataDamaged(f"the batch of log row {lsn} is missing")
    return encode_body(join_parts(parts))[0]


def read_parts(
    store: Store, instance: int, number: int, places: list[tuple[int, int]]
) -> list[StoredBatch]:
    """The parts at (lane, first position), but for those that are missing."""
    # In the order of the keys neighbours lie in one block.
    places = sorted(places)
    wanted = [keys.body_key(instance, number, lane, first) for lane, first in places]
    found = zip(places, store.get_many(Family.BODY, wanted), strict=True)
    return [
        decode_body(*place, value, with_times=False) for place, value in found if value is not None
    ]


def read_chunk(store: Store, instance: int, row: IndexRow) -> DueChunk | None:
    value = store.get(Family.DUE, keys.index_key(instance, *row[:4]))
    return None if value is None else decode_chunk(row.at, value)
