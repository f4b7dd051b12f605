"""The payloads of the entries that bind queues to channels; rows as ``records.py`` frames them.

BOUND             pattern, queue, uuid, version, selector
UNBOUND           pattern, uuid, version
BINDINGS_CARRIED  queue number, [[pattern, lsn], ...]
SHARED_PUT        [the payload of a put], [[queue, uuid, sequence, mask], ...]
"""

from __future__ import annotations

from typing import Any

from broker.model import entries
from broker.model.stored_batch import Extent


def encode_bound(entry: entries.Bound, _: int) -> list[Any]:
    return [entry.pattern, entry.queue, entry.uuid, entry.version, entry.selector]


def encode_unbound(entry: entries.Unbound, _: int) -> list[Any]:
    return [entry.pattern, entry.uuid, entry.version]


def encode_carried(entry: entries.BindingsCarried, _: int) -> list[Any]:
    return [entry.number, entry.carried]


def decode_carried(values: list[Any], _: int) -> entries.Entry:
    number, carried = values
    return entries.BindingsCarried(number, [(pattern, lsn) for pattern, lsn in carried])


def encode_shares(entry: entries.SharedPut) -> list[Any]:
    return [[share.target, share.uuid, share.sequence, share.mask] for share in entry.shares]


def decode_shared(put: entries.BatchPut, shares: list[Any]) -> entries.SharedPut:
    body = put.body
    extent = Extent(body.lane, body.first, body.count)
    return entries.SharedPut(
        put.number,
        body,
        sources=put.sources,
        shares=[
            entries.Share(
                target, sequence, extent, body.first, body.count, 0, body.size, b"", uuid, mask
            )
            for target, uuid, sequence, mask in shares
        ],
    )
