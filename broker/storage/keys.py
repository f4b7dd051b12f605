"""The layout of keys; all numbers big-endian, so that keys sort as their numbers do.

    LOG     inst u32 | lsn u64                                         -> records.encode_log_row
    BODY    inst u32 | queue u32 | lane u8 | first position u64        -> records.encode_body
    EXPIRY  inst u32 | expires_at u64 | queue u32 | lane u8 | first u64 -> count u32
    DUE     inst u32 | due_at u64 | queue u32 | lane u8 | first u64     -> count u32
    STATE   inst u32 | kind u8 | ...                                   -> msgpack
              META       the slot's row
              QUEUE      queue u32
              SETTLED    queue u32 | chunk u64       (the bitmap itself)
              ATTEMPTED  queue u32 | first position u64
              PRODUCER   queue u32 | producer id
              OUTBOX     queue u32 | sequence u64 | target's name
              BINDING    0 u32 | uuid of the queue (16) | pattern
              PROMISE    the latest epoch that this copy has promised to a primary
    IDS     inst u32 | queue u32 | kind u8 | ...                       -> id_rows.py
              BATCH      first position u64
              HASH       hash of an id (16) | position u64

``inst`` is the local instance of a slot.  Instance 0 is the store's own: its META row counts
instances and reigns, its SLOT rows (slot u32) name the instance of each slot.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

from broker.model.message_ids import HASH_BYTES

STORE_INSTANCE = 0

_LOG = Struct(">IQ")
_BODY = Struct(">IIBQ")
_INDEX = Struct(">IQIBQ")
_STATE = Struct(">IB")
_STATE_QUEUE = Struct(">IBI")
_STATE_POSITION = Struct(">IBIQ")
_IDS = Struct(">IIB")
_IDS_BATCH = Struct(">IIBQ")


class StateKind(IntEnum):
    META = 0
    QUEUE = 1
    SETTLED = 2
    ATTEMPTED = 3
    PRODUCER = 4
    SLOT = 5
    PROMISE = 6
    #: Of the store: an instance that a snapshot is being written into.
    PARTIAL = 7
    OUTBOX = 8
    BINDING = 9


#: Kinds whose rows go with their queue.
ROWS_OF_QUEUES = (
    StateKind.SETTLED,
    StateKind.ATTEMPTED,
    StateKind.PRODUCER,
    StateKind.OUTBOX,
)


class IdKind(IntEnum):
    """A batch's row sorts before those of its hashes: what copies the rows in order while some are
    erased never has a hash without its batch."""

    BATCH = 0
    HASH = 1


#: Instance, queue, kind and hash: what all rows of one id have in common.
ID_PREFIX_BYTES = _IDS.size + HASH_BYTES


def log_key(instance: int, lsn: int) -> bytes:
    return _LOG.pack(instance, lsn)


def lsn_of(key: bytes) -> int:
    return int(_LOG.unpack(key)[1])


def body_key(instance: int, number: int, lane: int, first: int) -> bytes:
    return _BODY.pack(instance, number, lane, first)


def first_of_body(key: bytes) -> int:
    return int(_BODY.unpack(key)[3])


def place_of_body(key: bytes) -> tuple[int, int]:
    """(queue number, first position)"""
    _, number, _, first = _BODY.unpack(key)
    return number, first


def queue_bodies(instance: int, number: int) -> tuple[bytes, bytes]:
    """The [low, high) keys of all bodies of a queue."""
    return _BODY.pack(instance, number, 0, 0), _BODY.pack(instance, number + 1, 0, 0)


def index_key(instance: int, at: int, number: int, lane: int, first: int) -> bytes:
    return _INDEX.pack(instance, at, number, lane, first)


def decode_index_key(key: bytes) -> tuple[int, int, int, int]:
    """(instant, queue number, lane, first position)"""
    _, at, number, lane, first = _INDEX.unpack(key)
    return at, number, lane, first


def instance_keys(instance: int) -> tuple[bytes, bytes]:
    """The [low, high) keys of an instance, in any family."""
    return instance.to_bytes(4, "big"), (instance + 1).to_bytes(4, "big")


def meta_key(instance: int) -> bytes:
    return _STATE.pack(instance, StateKind.META)


def promise_key(instance: int) -> bytes:
    return _STATE.pack(instance, StateKind.PROMISE)


def partial_key(instance: int) -> bytes:
    return _STATE_QUEUE.pack(STORE_INSTANCE, StateKind.PARTIAL, instance)


def slot_key(slot: int) -> bytes:
    return _STATE_QUEUE.pack(STORE_INSTANCE, StateKind.SLOT, slot)


def queue_key(instance: int, number: int) -> bytes:
    return _STATE_QUEUE.pack(instance, StateKind.QUEUE, number)


def settled_key(instance: int, number: int, chunk: int) -> bytes:
    return _STATE_POSITION.pack(instance, StateKind.SETTLED, number, chunk)


def attempted_key(instance: int, number: int, first: int) -> bytes:
    return _STATE_POSITION.pack(instance, StateKind.ATTEMPTED, number, first)


def producer_key(instance: int, number: int, producer: bytes) -> bytes:
    return _STATE_QUEUE.pack(instance, StateKind.PRODUCER, number) + producer


def outbox_key(instance: int, number: int, target: str, sequence: int) -> bytes:
    return _STATE_POSITION.pack(instance, StateKind.OUTBOX, number, sequence) + target.encode()


def binding_key(instance: int, uuid: bytes, pattern: str) -> bytes:
    return _STATE_QUEUE.pack(instance, StateKind.BINDING, 0) + uuid + pattern.encode()


def kind_keys(instance: int, kind: StateKind) -> tuple[bytes, bytes]:
    """The [low, high) keys of one kind of state row."""
    return _STATE.pack(instance, kind), _STATE.pack(instance, kind + 1)


def rows_of_queue(instance: int, kind: StateKind, number: int) -> tuple[bytes, bytes]:
    """The [low, high) keys of a queue's rows of one kind."""
    return (
        _STATE_QUEUE.pack(instance, kind, number),
        _STATE_QUEUE.pack(instance, kind, number + 1),
    )


def decode_state_key(key: bytes) -> tuple[int, bytes]:
    """(queue number, the key's rest) of a row that belongs to a queue."""
    return int.from_bytes(key[5:9], "big"), key[9:]


def id_batch_key(instance: int, number: int, first: int) -> bytes:
    return _IDS_BATCH.pack(instance, number, IdKind.BATCH, first)


def id_prefix(instance: int, number: int, id_hash: bytes) -> bytes:
    return _IDS.pack(instance, number, IdKind.HASH) + id_hash


def id_key(instance: int, number: int, id_hash: bytes, position: int) -> bytes:
    return id_prefix(instance, number, id_hash) + position.to_bytes(8, "big")


def id_batches_of(instance: int, number: int) -> tuple[bytes, bytes]:
    """The [low, high) keys of a queue's batch rows."""
    return _IDS.pack(instance, number, IdKind.BATCH), _IDS.pack(instance, number, IdKind.HASH)


def queue_ids(instance: int, number: int) -> tuple[bytes, bytes]:
    """The [low, high) keys of all id rows of a queue."""
    return _IDS.pack(instance, number, 0), _IDS.pack(instance, number + 1, 0)


def place_of_id(key: bytes) -> tuple[int, int]:
    """(queue number, position) of an id row of either kind."""
    return int.from_bytes(key[4:8], "big"), int.from_bytes(key[-8:], "big")


def hash_of_id(key: bytes) -> bytes:
    return key[_IDS.size : ID_PREFIX_BYTES]
