"""The bytes of rows.  Every row begins with its version, so that a later program reads older ones.

    log row   version u8 | kind u8 | epoch u64 | now u64 | chain u32 | payload (msgpack array)
    body      version u8 | count u32 | put_at u64 | expires_at u64 | due_at u64 | crc u32
              | properties bytes u16 | columns bytes u32 | properties | columns
              | due times u64 ..., of version 2 | batch

A body is of version 2 where its messages have due times of their own, else of version 1.
``chain`` is the CRC-32 of the row without it, continued from the row before: a row that is missing,
altered or moved breaks it.  ``crc`` covers the whole body but itself, and lane and position, which
stand in its key: a body under another's key is no body.

To change a record: raise its version, keep the reader of the old one beside the new one's, and
write only the new one.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import Any, NamedTuple
from zlib import crc32

import msgpack

from broker.errors import DataDamaged, FormatTooNew, UnreadableMessage
from broker.limits import BATCH_COUNT_MAX
from broker.model import entries
from broker.model.stored_batch import Extent, StoredBatch
from broker.storage import binding_records

#: Version 2 has further kinds of entries and fields; rows of version 1 are read as they are.
LOG_VERSION = 2
BODY_VERSION = 1
#: With a due time for each message.
BODY_VERSION_TIMED = 2
_LOG_HEAD = Struct(">BBQQ")
_CHAIN = Struct(">I")
_LOG_BYTES_MIN = _LOG_HEAD.size + _CHAIN.size
_BODY_PLACE = Struct(">BQ")
_BODY_FACTS = Struct(">BIQQQ")
_BODY_SIZES = Struct(">HI")
_CRC = Struct(">I")
_BODY_HEAD = Struct(">BIQQQIHI")
_BODY_BYTES_MIN = _BODY_HEAD.size


class Kind(IntEnum):
    """Numbers of the entries on disk; never reused."""

    EPOCH_START = 1
    QUEUE_DECLARED = 2
    QUEUE_DELETED = 3
    BATCH_PUT = 4
    SETTLED = 5
    RETURNED = 6
    PURGED = 7
    EXPIRY_SWEPT = 8
    TRIMMED = 9
    PRODUCERS_EXPIRED = 10
    DEPARTED = 11
    CLEARED = 12
    QUEUE_UPDATED = 13
    INSTANCE_BEGUN = 15
    IDS_SWEPT = 14
    BOUND = 16
    UNBOUND = 17
    SHARED_PUT = 18
    BINDINGS_CARRIED = 19
    PUT_REPEATED = 20
    TIMED_PUT = 21


class LogRow(NamedTuple):
    epoch: int
    now: int
    chain: int
    entry: entries.Entry


def encode_log_row(
    epoch: int, now: int, entry: entries.Entry, chain: int, body_crc: int
) -> tuple[bytes, int]:
    """(the row, the new chain); ``body_crc`` binds a put to its body, 0 for other entries."""
    kind, encode = _ENCODERS[type(entry)]
    head = _LOG_HEAD.pack(LOG_VERSION, kind, epoch, now)
    payload = msgpack.packb(encode(entry, body_crc))
    chain = crc32(payload, crc32(head, chain))
    return head + _CHAIN.pack(chain) + payload, chain


def decode_log_row(lsn: int, row: bytes, previous_chain: int) -> LogRow:
    """Raises DataDamaged when the row does not continue the chain."""
    if len(row) < _LOG_BYTES_MIN:
        raise DataDamaged(f"log row {lsn} has only {len(row)} bytes")
    version, kind, epoch, now = _LOG_HEAD.unpack_from(row)
    chain = int(_CHAIN.unpack_from(row, _LOG_HEAD.size)[0])
    payload = row[_LOG_BYTES_MIN:]
    if crc32(payload, crc32(row[: _LOG_HEAD.size], previous_chain)) != chain:
        raise DataDamaged(f"log row {lsn} does not continue the log: its checksum differs")
    if version > LOG_VERSION:
        raise FormatTooNew(
            f"log row {lsn} has version {version}, this program reads up to {LOG_VERSION}"
        )
    try:
        entry = _DECODERS[Kind(kind)](msgpack.unpackb(payload), now)
    except Exception as error:
        # The checksum holds, so another program wrote what this one cannot read.
        raise FormatTooNew(f"log row {lsn} does not decode: {error!r}") from None
    return LogRow(epoch, now, chain, entry)


def epoch_of_row(row: bytes) -> int:
    """The epoch that a row of the log says it is of; the chain is not checked."""
    if len(row) < _LOG_BYTES_MIN:
        raise DataDamaged(f"a log row has only {len(row)} bytes")
    return int(_LOG_HEAD.unpack_from(row)[2])


def is_put_row(row: bytes) -> bool:
    """True for a row that a stored batch belongs to."""
    return row[1] in (Kind.BATCH_PUT, Kind.TIMED_PUT, Kind.SHARED_PUT)


def decode_stored_entry(lsn: int, row: bytes) -> entries.Entry:
    """The entry of a row whose chain was checked when it was written or received."""
    _, kind, _, now = _LOG_HEAD.unpack_from(row)
    try:
        return _DECODERS[Kind(kind)](msgpack.unpackb(row[_LOG_BYTES_MIN:]), now)
    except Exception as error:
        raise DataDamaged(f"log row {lsn} does not decode: {error!r}") from None


def encode_body(body: StoredBatch) -> tuple[bytes, int]:
    """(the value, its crc)"""
    version = BODY_VERSION if body.due_times is None else BODY_VERSION_TIMED
    facts = _BODY_FACTS.pack(version, body.count, body.put_at, body.expires_at, body.due_at)
    rest = _BODY_SIZES.pack(len(body.properties), len(body.columns)) + body.properties
    rest += body.columns
    if body.due_times is not None:
        rest += _pack_times(body)
    place = _BODY_PLACE.pack(body.lane, body.first)
    crc = crc32(body.batch, crc32(rest, crc32(facts, crc32(place))))
    return b"".join((facts, _CRC.pack(crc), rest, body.batch)), crc


def stored_count(value: bytes) -> int:
    """How many messages a body says that it holds, unchecked; all that can be where it is short."""
    if len(value) < _BODY_BYTES_MIN:
        return BATCH_COUNT_MAX
    return int(_BODY_FACTS.unpack_from(value)[1])


def decode_body(lane: int, first: int, value: bytes, *, with_times: bool = True) -> StoredBatch:
    """Raises UnreadableMessage when the checksum differs.  Who only hands messages on needs no
    due times of them."""
    if len(value) < _BODY_BYTES_MIN or value[0] not in (BODY_VERSION, BODY_VERSION_TIMED):
        raise UnreadableMessage(f"the stored batch at position {first} is not a body record")
    head = _BODY_HEAD.unpack_from(value)
    _, count, put_at, expires_at, due_at, crc, properties_size, columns_size = head
    place = crc32(_BODY_PLACE.pack(lane, first))
    facts = crc32(value[: _BODY_FACTS.size], place)
    if crc32(memoryview(value)[_BODY_FACTS.size + _CRC.size :], facts) != crc:
        raise UnreadableMessage(f"the stored batch at position {first} fails its checksum")
    at = _BODY_BYTES_MIN
    columns_at = at + properties_size
    times_at = columns_at + columns_size
    batch_at = times_at + (8 * count if value[0] == BODY_VERSION_TIMED else 0)
    batch = StoredBatch(
        lane,
        first,
        count,
        put_at,
        expires_at,
        value[at:columns_at],
        value[columns_at:times_at],
        value[batch_at:],
        due_at,
    )
    if with_times and batch_at > times_at:
        batch.due_times = _unpack_times(value[times_at:batch_at])
    return batch


def _pack_times(body: StoredBatch) -> bytes:
    assert body.due_times is not None
    times = body.due_times[:]
    if sys.byteorder == "little":
        times.byteswap()
    return times.tobytes()


def _unpack_times(packed: bytes) -> array[int]:
    times = array("Q")
    times.frombytes(packed)
    if sys.byteorder == "little":
        times.byteswap()
    return times


def _encode_put(entry: entries.BatchPut, body_crc: int) -> list[Any]:
    body = entry.body
    return [
        entry.number,
        body.lane,
        body.first,
        body.count,
        body.size,
        body.expires_at,
        body.due_at,
        body_crc,
        entry.sources,
        *([entry.ids] if entry.ids else ()),
    ]


def _decode_put(values: list[Any], now: int) -> entries.BatchPut:
    number, lane, first, count, size, expires_at, due_at, _, sources, *rest = values
    body = StoredBatch(lane, first, count, now, expires_at, b"", b"", b"", due_at)
    body.size = size
    ids = rest[0] if rest else b""
    return entries.BatchPut(number, body, [(producer, seq) for producer, seq in sources], ids=ids)


def _encode_timed(entry: entries.TimedPut, body_crc: int) -> list[Any]:
    return [_encode_put(entry, body_crc), entry.step, _pack_times(entry.body)]


def _decode_timed(values: list[Any], now: int) -> entries.Entry:
    put, step, times = values
    plain = _decode_put(put, now)
    plain.body.due_times = _unpack_times(times)
    return entries.TimedPut(
        plain.number, plain.body, sources=plain.sources, ids=plain.ids, step=step
    )


def _encode_declared(entry: entries.QueueDeclared, body_crc: int) -> list[Any]:
    return [entry.number, entry.uuid, entry.name, entry.settings]


def _encode_settled(entry: entries.Settled, body_crc: int) -> list[Any]:
    totals = [[lane, messages, size] for lane, (messages, size) in entry.totals.items()]
    return [entry.number, int(entry.reason), entry.ranges, totals]


def _decode_settled(values: list[Any], now: int) -> entries.Settled:
    number, reason, ranges, totals = values
    return entries.Settled(number, entries.SettleReason(reason), _pairs(ranges), _totals(totals))


def _encode_returned(entry: entries.Returned, body_crc: int) -> list[Any]:
    return [entry.number, entry.parts, entry.not_before]


def _decode_returned(values: list[Any], now: int) -> entries.Entry:
    number, parts, not_before = values
    return entries.Returned(
        number,
        [(Extent(*extent), first, count, attempts) for extent, first, count, attempts in parts],
        not_before,
    )


def _encode_purged(entry: entries.Purged, body_crc: int) -> list[Any]:
    totals = [[lane, messages, size] for lane, (messages, size) in entry.totals.items()]
    return [entry.number, entry.up_to, entry.kept, totals]


def _decode_purged(values: list[Any], now: int) -> entries.Entry:
    number, up_to, kept, totals = values
    return entries.Purged(number, up_to, _pairs(kept), _totals(totals))


def _decode_expiry(values: list[Any], now: int) -> entries.Entry:
    row, later = values
    return entries.ExpirySwept(tuple(row), [tuple(again) for again in later])


def _encode_trimmed(entry: entries.Trimmed, body_crc: int) -> list[Any]:
    sweeps = [[s.number, s.lane, s.swept, s.runs, s.held] for s in entry.sweeps]
    return [entry.to_lsn, sweeps, entry.due]


def _decode_trimmed(values: list[Any], now: int) -> entries.Entry:
    to_lsn, sweeps, due = values
    return entries.Trimmed(
        to_lsn,
        [
            entries.LaneSweep(number, lane, swept, _pairs(runs), _pairs(held))
            for number, lane, swept, runs, held in sweeps
        ],
        [tuple(row) for row in due],
    )


def _encode_departed(entry: entries.Departed, body_crc: int) -> list[Any]:
    moves = [
        [m.target, m.sequence, m.extent, m.first, m.count, m.attempts, m.size, m.note]
        for m in entry.moves
    ]
    settled = [_encode_settled(part, 0) for part in entry.settled]
    return [entry.number, moves, settled, entry.sources]


def _decode_departed(values: list[Any], now: int) -> entries.Entry:
    number, moves, settled, sources = values
    return entries.Departed(
        number,
        [
            entries.Move(target, sequence, Extent(*extent), *rest)
            for target, sequence, extent, *rest in moves
        ],
        [_decode_settled(part, now) for part in settled],
        [(producer, sequence) for producer, sequence in sources],
    )


def _encode_cleared(entry: entries.Cleared, body_crc: int) -> list[Any]:
    totals = [[lane, messages, size] for lane, (messages, size) in entry.totals.items()]
    return [entry.number, entry.target, entry.sequences, entry.ranges, totals]


def _decode_cleared(values: list[Any], now: int) -> entries.Entry:
    number, target, sequences, ranges, totals = values
    return entries.Cleared(number, target, _pairs(sequences), _pairs(ranges), _totals(totals))


def _pairs(values: list[list[int]]) -> list[tuple[int, int]]:
    return [(first, second) for first, second in values]


def _totals(values: list[list[int]]) -> entries.LaneTotals:
    return {lane: (messages, size) for lane, messages, size in values}


_ENCODERS: dict[type[entries.Entry], tuple[Kind, Callable[[Any, int], list[Any]]]] = {
    entries.EpochStart: (Kind.EPOCH_START, lambda entry, _: [entry.epoch]),
    entries.QueueDeclared: (Kind.QUEUE_DECLARED, _encode_declared),
    entries.QueueUpdated: (Kind.QUEUE_UPDATED, lambda entry, _: [entry.number, entry.settings]),
    entries.QueueDeleted: (Kind.QUEUE_DELETED, lambda entry, _: [entry.number]),
    entries.BatchPut: (Kind.BATCH_PUT, _encode_put),
    entries.TimedPut: (Kind.TIMED_PUT, _encode_timed),
    entries.Settled: (Kind.SETTLED, _encode_settled),
    entries.Returned: (Kind.RETURNED, _encode_returned),
    entries.Purged: (Kind.PURGED, _encode_purged),
    entries.ExpirySwept: (Kind.EXPIRY_SWEPT, lambda entry, _: [entry.row, entry.later]),
    entries.Trimmed: (Kind.TRIMMED, _encode_trimmed),
    entries.ProducersExpired: (Kind.PRODUCERS_EXPIRED, lambda entry, _: [entry.keys]),
    entries.Departed: (Kind.DEPARTED, _encode_departed),
    entries.Cleared: (Kind.CLEARED, _encode_cleared),
    entries.InstanceBegun: (
        Kind.INSTANCE_BEGUN,
        lambda entry, _: [entry.number, entry.producer, entry.instance],
    ),
    entries.IdsSwept: (Kind.IDS_SWEPT, lambda entry, _: [entry.number, entry.batches]),
    entries.PutRepeated: (Kind.PUT_REPEATED, lambda entry, _: [entry.number, entry.sources]),
    entries.SharedPut: (
        Kind.SHARED_PUT,
        lambda entry, crc: [_encode_put(entry, crc), binding_records.encode_shares(entry)],
    ),
    entries.Bound: (Kind.BOUND, binding_records.encode_bound),
    entries.Unbound: (Kind.UNBOUND, binding_records.encode_unbound),
    entries.BindingsCarried: (Kind.BINDINGS_CARRIED, binding_records.encode_carried),
}
_DECODERS: dict[Kind, Callable[[list[Any], int], entries.Entry]] = {
    Kind.EPOCH_START: lambda values, _: entries.EpochStart(*values),
    Kind.QUEUE_DECLARED: lambda values, _: entries.QueueDeclared(*values),
    Kind.QUEUE_UPDATED: lambda values, _: entries.QueueUpdated(*values),
    Kind.QUEUE_DELETED: lambda values, _: entries.QueueDeleted(*values),
    Kind.BATCH_PUT: _decode_put,
    Kind.TIMED_PUT: _decode_timed,
    Kind.SETTLED: _decode_settled,
    Kind.RETURNED: _decode_returned,
    Kind.PURGED: _decode_purged,
    Kind.EXPIRY_SWEPT: _decode_expiry,
    Kind.TRIMMED: _decode_trimmed,
    Kind.PRODUCERS_EXPIRED: lambda values, _: entries.ProducersExpired(
        [(producer, number) for producer, number in values[0]]
    ),
    Kind.DEPARTED: _decode_departed,
    Kind.CLEARED: _decode_cleared,
    Kind.INSTANCE_BEGUN: lambda values, _: entries.InstanceBegun(*values),
    Kind.IDS_SWEPT: lambda values, _: entries.IdsSwept(values[0], _pairs(values[1])),
    Kind.PUT_REPEATED: lambda values, _: entries.PutRepeated(
        values[0], [(producer, seq) for producer, seq in values[1]]
    ),
    Kind.SHARED_PUT: lambda values, now: binding_records.decode_shared(
        _decode_put(values[0], now), values[1]
    ),
    Kind.BOUND: lambda values, _: entries.Bound(*values),
    Kind.UNBOUND: lambda values, _: entries.Unbound(*values),
    Kind.BINDINGS_CARRIED: binding_records.decode_carried,
}
