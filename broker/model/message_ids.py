"""Ids that applications give to their messages, and the hashes that stand for them.

Text and its UTF-8 bytes are the same id.  Two ids have one hash as good as never: a hash has
``HASH_BYTES``, and a queue remembers some millions.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgpack

from broker.errors import BadField
from broker.limits import ID_BYTES_MAX

HASH_BYTES = 16
#: In the place of a hash: the message has no id.
NO_ID = bytes(HASH_BYTES)


def hash_of_id(value: Any) -> bytes:
    """Raises BadField for what is no id."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if not isinstance(value, bytes) or not 0 < len(value) <= ID_BYTES_MAX:
        raise BadField(f"ids: an id is text or bin of 1 to {ID_BYTES_MAX} bytes")
    return blake2b(value, digest_size=HASH_BYTES).digest()


def hashes_of_columns(columns: bytes) -> list[bytes]:
    """Of each message of a batch the hash of its id; empty where none has an id."""
    values = msgpack.unpackb(columns).get("ids")
    if values is None:
        return []
    hashes = [NO_ID if value is None else hash_of_id(value) for value in values]
    return [] if all(each == NO_ID for each in hashes) else hashes


def split_hashes(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
