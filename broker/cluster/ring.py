"""Names to slots.

The hash ring is cut into a fixed number of slots when a cluster is made; a name belongs to
one slot for good.  The hash is stable over processes, machines and versions: the first eight
bytes of BLAKE2b of the name, big-endian, modulo the number of slots.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b


@lru_cache(maxsize=65_536)
def slot_of(name: str, slots: int) -> int:
    digest = blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % slots
