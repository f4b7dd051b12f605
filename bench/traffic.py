"""What stands between the clock and a contender's client: what to put, and what was consumed.

Owns the shared goal: how many messages the consumer must see before it may stop. Never touches a
socket. Law: the goal is announced before the last batch is put, so a consumer that blocks for its
next message can neither miss the end nor wait beyond it.
"""

import time
from collections.abc import Iterator
from ctypes import c_longlong
from dataclasses import dataclass
from enum import Enum
from multiprocessing import sharedctypes
from typing import Protocol

from bench.bodies import Digest, make_batches

_UNKNOWN = -1
_SINGLES_PER_LOOK = 200


class Dress(Enum):
    """What each list, or run of singles, is given besides; the value says it in a table."""

    PLAIN = ""
    PRIORITY = "a priority each"
    TTL = "a time to live each"
    HALF = "every second with both"


@dataclass(frozen=True, slots=True)
class Load:
    """How messages are handed to a client: in lists of `batch`, or one by one (`singly`)."""

    batch: int
    singly: bool = False
    dress: Dress = Dress.PLAIN

    @property
    def label(self) -> str:
        """Return the words that a table uses for this load."""
        return "message by message" if self.singly else f"batches of {self.batch}"


SINGLES = Load(_SINGLES_PER_LOOK, singly=True)


class SharedCount(Protocol):
    """A number in memory that two processes share."""

    value: int


def make_goal(messages: int = _UNKNOWN) -> SharedCount:
    """Return the shared goal, by default one that is not known yet."""
    return sharedctypes.RawValue(c_longlong, messages)


class Supply:
    """Gives the producer its bodies, for a time or up to a number of them."""

    def __init__(
        self, load: Load, goal: SharedCount, seconds: float, messages_max: int | None = None
    ) -> None:
        self._batches = make_batches(load.batch)
        self._seconds = seconds
        self._messages_max = messages_max
        self._goal = goal
        self.count = 0

    def batches(self) -> Iterator[list[bytes]]:
        """Yield lists of bodies; `count` tells how many were given so far."""
        deadline = time.monotonic() + self._seconds
        while True:
            for bodies in self._batches:
                self.count += len(bodies)
                is_last = time.monotonic() >= deadline or self.count == self._messages_max
                if is_last:
                    self._goal.value = self.count
                yield bodies
                if is_last:
                    return

    def singles(self) -> Iterator[bytes]:
        """Yield bodies one at a time; the clock is looked at only now and then."""
        for bodies in self.batches():
            yield from bodies


class Sink:
    """Takes the consumer's bodies and says when all are there."""

    def __init__(self, goal: SharedCount) -> None:
        self._goal = goal
        self._waiting: list[bytes] = []
        self.digest = Digest()

    def take(self, bodies: list[bytes]) -> bool:
        """Take a list of bodies; False means that the goal is reached."""
        self.digest.add(bodies)
        return not 0 <= self._goal.value <= self.digest.count

    def take_one(self, body: bytes) -> bool:
        """Take one body; they are added up a few hundred at a time."""
        waiting = self._waiting
        waiting.append(body)
        if len(waiting) < _SINGLES_PER_LOOK:
            return True
        self._waiting = []
        return self.take(waiting)
