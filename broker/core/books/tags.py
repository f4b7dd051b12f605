"""Delivery tags: opaque to clients, they say which queue, slot and epoch a delivery came from.

slot u16 | epoch u64 | queue uuid 16 bytes          big-endian, 26 bytes
"""

from __future__ import annotations

from typing import NamedTuple

from broker.errors import BadField

_BYTES = 26


class Tag(NamedTuple):
    slot: int
    epoch: int
    uuid: bytes


def encode_tag(slot: int, epoch: int, uuid: bytes) -> bytes:
    return slot.to_bytes(2, "big") + epoch.to_bytes(8, "big") + uuid


def decode_tag(tag: bytes) -> Tag:
    if len(tag) != _BYTES:
        raise BadField("tag: not a delivery's tag")
    slot, epoch = int.from_bytes(tag[:2], "big"), int.from_bytes(tag[2:10], "big")
    return Tag(slot, epoch, tag[10:])
