"""Names to slots.

The names are spread over a fixed number of slots, chosen when a cluster is made; a name belongs
to one slot for good.  The hash is stable over processes, machines and versions, and clients in
any language compute it: the first eight bytes of BLAKE2b-64 of the name, big-endian, modulo the
number of slots.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b


def place_of(text: str) -> int:
    """Where a text stands on a circle of 2^64 places."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


@lru_cache(maxsize=65_536)
def slot_of(name: str, slots: int) -> int:
    return place_of(name) % slots
