"""What happened when: rates by the second, the longest silence, messages by their numbers.

Owns no clock: it reads the marks that client processes set. Law: a second without a single mark is
a second with rate 0, not a missing value.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from bench.bodies import BODY_BYTES

_NUMBER_BYTES = 8
_PADDING = bytes(range(BODY_BYTES - _NUMBER_BYTES))


def numbered_body(number: int) -> bytes:
    """Return a body that tells its number."""
    return number.to_bytes(_NUMBER_BYTES) + _PADDING


def number_of(body: bytes) -> int:
    """Return the number of a body; one that was changed raises ValueError."""
    if body[_NUMBER_BYTES:] != _PADDING:
        raise ValueError("a body came changed")
    return int.from_bytes(body[:_NUMBER_BYTES])


@dataclass(slots=True)
class Tally:
    """Which numbers came, and how many came again: delivery is at least once."""

    repeats: int = 0
    _seen: set[int] = field(default_factory=set)

    def take(self, numbers: Iterable[int]) -> None:
        """Take in what came."""
        for number in numbers:
            if number in self._seen:
                self.repeats += 1
            self._seen.add(number)

    def missing_of(self, count: int) -> int:
        """Return how many of the numbers below `count` never came."""
        return count - sum(number < count for number in self._seen)


def rates(marks: Iterable[float], weight: int, start: float, end: float) -> list[float]:
    """Return the rate in each whole second from `start` to `end`; a mark counts `weight`."""
    counts = [0.0] * int(end - start)
    for mark in marks:
        second = int(mark - start)
        if mark >= start and second < len(counts):
            counts[second] += weight
    return counts


def silence_end(marks: Sequence[float], since: float, until: float) -> float:
    """Return when the longest silence ended, of those that ended between the two times.

    A confirm that was under way when a broker was killed still comes; the first one of its
    successor is the one behind the gap.
    """
    gaps = [
        (later - earlier, later) for earlier, later in pairwise(marks) if since < later <= until
    ]
    if not gaps:
        raise ValueError("nothing was confirmed any more")
    return max(gaps)[1]


def longest(samples: Sequence[float], marks: Sequence[float], start: float, end: float) -> float:
    """Return the longest sample that was under way between `start` and `end`.

    Each sample ended at its mark.
    """
    return max(
        (
            sample
            for sample, mark in zip(samples, marks, strict=True)
            if mark >= start and mark - sample <= end
        ),
        default=0.0,
    )
