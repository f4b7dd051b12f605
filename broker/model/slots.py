"""Names to slots.

The names are spread over a fixed number of slots, chosen when a cluster is made; a name belongs
to one slot for good.  The hash is stable over processes, machines and versions, and clients in
any language compute it: the first eight bytes of BLAKE2b-64 of the name, big-endian, modulo the
number of slots.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b


@lru_cache(maxsize=65_536)
def slot_of(name: str, slots: int) -> int:
    digest = blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % slots
