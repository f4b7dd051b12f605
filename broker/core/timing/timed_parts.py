"""A batch whose messages have due times of their own, as it lies on the disk: in parts.

Each part is a stored batch of a few neighbours, so that a message that comes due alone costs the
read of little more than itself.  What travels to replicas is the whole batch; every copy cuts it
into the same parts, ``step`` messages each, as the log's entry says.

A batch with a time to live is cut into single messages: each lives from its own instant on.
"""

from __future__ import annotations

import msgpack

from broker import limits
from broker.model.stored_batch import StoredBatch
from broker.protocol.batches import array_header, element_offsets, header_bytes


def step_of(body: StoredBatch) -> int:
    """How many messages a part of the batch has."""
    if body.expires_at:
        return 1
    fitting = limits.TIMED_PART_BYTES * body.count // max(len(body.batch), 1)
    return min(max(fitting, 1), limits.TIMED_PART_COUNT)


def split_batch(body: StoredBatch, step: int) -> list[StoredBatch]:
    """The parts in order; ``expires_at`` of the whole is that of its first due time."""
    assert body.due_times is not None
    offsets = element_offsets(body.batch, body.count)
    columns = msgpack.unpackb(body.columns) if body.columns else None
    ttl_ms = body.expires_at - body.due_at if body.expires_at else 0
    parts: list[StoredBatch] = []
    for low in range(0, body.count, step):
        high = min(low + step, body.count)
        times = body.due_times[low:high]
        part = StoredBatch(
            body.lane,
            body.first + low,
            high - low,
            body.put_at,
            min(times) + ttl_ms if ttl_ms else 0,
            body.properties,
            _cut_columns(columns, low, high),
            array_header(high - low) + body.batch[offsets[low] : offsets[high]],
            min(times),
        )
        part.due_times = times
        parts.append(part)
    return parts


def _cut_columns(columns: dict[str, list[object]] | None, low: int, high: int) -> bytes:
    if columns is None:
        return b""
    return bytes(msgpack.packb({name: values[low:high] for name, values in columns.items()}))


def join_parts(parts: list[StoredBatch]) -> StoredBatch:
    """The whole batch again, for a replica that was not sent it in time."""
    first = parts[0]
    assert first.due_times is not None
    count = sum(part.count for part in parts)
    elements = [part.batch[header_bytes(part.batch) :] for part in parts]
    times = first.due_times[:0]
    for part in parts:
        times.extend(part.due_times or times[:0])
    due_at = min(times)
    expires_at = due_at + first.expires_at - first.due_at if first.expires_at else 0
    whole = StoredBatch(
        first.lane,
        first.first,
        count,
        first.put_at,
        expires_at,
        first.properties,
        _join_columns(parts),
        b"".join([array_header(count), *elements]),
        due_at,
    )
    whole.due_times = times
    return whole


def _join_columns(parts: list[StoredBatch]) -> bytes:
    if not parts[0].columns:
        return b""
    joined: dict[str, list[object]] = {}
    for part in parts:
        for name, values in msgpack.unpackb(part.columns).items():
            joined.setdefault(name, []).extend(values)
    return bytes(msgpack.packb(joined))
