"""The message bodies that every contender carries, and the digest that proves they arrived.

Owns the pool of random bodies. Never talks to a broker. Law: the digest of a run depends only on
how often each body was put, so it is the same for any order of delivery and any batch borders.
"""

import random
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice

import numpy as np
import numpy.typing as npt

BODY_BYTES = 256
POOL_MESSAGES = 4_000
_SEED = 2607
_WORDS = BODY_BYTES // 8

Sums = npt.NDArray[np.uint64]


@cache
def make_pool() -> tuple[bytes, ...]:
    """Return the pool: random, so that no contender gains by compressing."""
    rng = random.Random(_SEED)
    return tuple(rng.randbytes(BODY_BYTES) for _ in range(POOL_MESSAGES))


def make_batches(batch: int) -> list[list[bytes]]:
    """Return the pool cut in batches; `batch` must divide the pool so that it can be cycled."""
    if POOL_MESSAGES % batch:
        raise ValueError(f"batch must divide {POOL_MESSAGES}, and {batch} does not")
    return list(chunks(make_pool(), batch))


def chunks(bodies: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    """Cut any stream of bodies in lists of at most `size`."""
    source = iter(bodies)
    while chunk := list(islice(source, size)):
        yield chunk


class Digest:
    """Counts bodies and proves which ones they were.

    While they come in the order of the pool, comparing lists is proof enough and costs 0.03 us a
    body. From the first one that does not, bodies are added up as rows of 64-bit words, which is
    indifferent to order and still sees a lost, doubled or changed body.
    """

    __slots__ = ("_in_order", "_sums", "count")

    def __init__(self) -> None:
        self.count = 0
        self._in_order = True
        self._sums: Sums = np.zeros(_WORDS, dtype=np.uint64)

    def add(self, bodies: list[bytes]) -> None:
        """Take in `bodies`; one of a wrong size raises ValueError."""
        if self._in_order:
            first = self.count % POOL_MESSAGES
            if bodies == _pool_twice()[first : first + len(bodies)]:
                self.count += len(bodies)
                return
            self._leave_order()
        self._sums += _sums_of(bodies)
        self.count += len(bodies)

    def add_pool(self, messages: int) -> None:
        """Take in the first `messages` bodies of the endlessly cycled pool."""
        if self.count:
            self._leave_order()
            self._sums += _pool_sums(messages)
        self.count += messages

    def merge(self, other: "Digest") -> None:
        """Take in what another digest has taken in."""
        self._leave_order()
        self._sums += other.sums
        self.count += other.count

    @property
    def sums(self) -> Sums:
        """The sum of all bodies, each taken as a row of words."""
        return _pool_sums(self.count) if self._in_order else self._sums

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Digest):
            return NotImplemented
        return self.count == other.count and bool((self.sums == other.sums).all())

    __hash__ = None  # type: ignore[assignment]

    def _leave_order(self) -> None:
        self._sums = self.sums
        self._in_order = False


@cache
def _pool_twice() -> list[bytes]:
    return [*make_pool(), *make_pool()]


def _pool_sums(messages: int) -> Sums:
    pool = list(make_pool())
    rounds, rest = divmod(messages, POOL_MESSAGES)
    sums: Sums = _sums_of(pool) * np.uint64(rounds) + _sums_of(pool[:rest])
    return sums


def _sums_of(bodies: list[bytes]) -> Sums:
    joined = b"".join(bodies)
    if len(joined) != len(bodies) * BODY_BYTES:
        raise ValueError(f"{len(bodies)} bodies hold {len(joined)} bytes")
    rows = np.frombuffer(joined, dtype=np.uint64).reshape(-1, _WORDS)
    sums: Sums = rows.sum(axis=0, dtype=np.uint64)
    return sums
