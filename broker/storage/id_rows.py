"""The rows by which messages are found by their own ids.

    BATCH row   put_at u64 | count u32 | hashes    of each message, NO_ID where it has none
    HASH row    put_at u64 | lane u8                one for each message that has an id

They are written with the log row of their put and cut with it, so that no reader needs to know of
what is under way.  Several messages may have one id.  Once nobody may ask any more, a batch's row
tells which hash rows go with it.
"""

from __future__ import annotations

from struct import Struct

from broker.core.books.bodies import IdBatch, IdPlace
from broker.limits import READ_BYTES
from broker.model.entries import BatchPut, IdsSwept
from broker.model.message_ids import NO_ID, split_hashes
from broker.storage import keys
from broker.storage.store import Family, Store, WriteOps

_BATCH = Struct(">QI")
_PLACE = Struct(">QB")


def put_ids(ops: WriteOps, instance: int, entry: BatchPut) -> None:
    body = entry.body
    facts = _BATCH.pack(body.put_at, body.count)
    ops.put(Family.IDS, keys.id_batch_key(instance, entry.number, body.first), facts + entry.ids)
    place = _PLACE.pack(body.put_at, body.lane)
    for key in _hash_keys(instance, entry.number, body.first, entry.ids):
        ops.put(Family.IDS, key, place)


def cut_ids(ops: WriteOps, instance: int, entry: BatchPut) -> None:
    _delete(ops, instance, entry.number, entry.body.first, entry.ids)


def sweep_ids(ops: WriteOps, store: Store, instance: int, entry: IdsSwept) -> None:
    """A batch that is not there was swept by an earlier turn, before a restart."""
    for first, _ in entry.batches:
        row = store.get(Family.IDS, keys.id_batch_key(instance, entry.number, first))
        if row is not None:
            _delete(ops, instance, entry.number, first, row[_BATCH.size :])


def _delete(ops: WriteOps, instance: int, number: int, first: int, hashes: bytes) -> None:
    ops.delete(Family.IDS, keys.id_batch_key(instance, number, first))
    for key in _hash_keys(instance, number, first, hashes):
        ops.delete(Family.IDS, key)


def _hash_keys(instance: int, number: int, first: int, hashes: bytes) -> list[bytes]:
    return [
        keys.id_key(instance, number, id_hash, position)
        for position, id_hash in enumerate(split_hashes(hashes), first)
        if id_hash != NO_ID
    ]


def find_ids(
    store: Store, instance: int, number: int, hashes: list[bytes]
) -> dict[bytes, list[IdPlace]]:
    prefixes = [keys.id_prefix(instance, number, id_hash) for id_hash in set(hashes)]
    found: dict[bytes, list[IdPlace]] = {}
    for key, value in store.find_prefixed(Family.IDS, prefixes):
        put_at, lane = _PLACE.unpack(value)
        place = IdPlace(keys.place_of_id(key)[1], lane, put_at)
        found.setdefault(keys.hash_of_id(key), []).append(place)
    return found


def id_batches(
    store: Store, instance: int, number: int, first: int, count_max: int
) -> list[IdBatch]:
    low = keys.id_batch_key(instance, number, first)
    _, high = keys.id_batches_of(instance, number)
    rows = store.scan(Family.IDS, low, high, count_max, READ_BYTES)
    batches: list[IdBatch] = []
    for key, value in rows:
        put_at, count = _BATCH.unpack_from(value)
        batches.append(IdBatch(keys.place_of_id(key)[1], count, put_at))
    return batches
