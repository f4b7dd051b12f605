"""Medians, spreads and intervals.

Owns no state. Never assumes a distribution: on a shared machine times are skewed and have tails,
so only order statistics are used. Law: an interval that the sample is too small for is None.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """The median of a sample and its extremes."""

    median: float
    low: float
    high: float


def summarise(values: Sequence[float]) -> Summary:
    """Return median and extremes of a sample that is not empty."""
    return Summary(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], fraction: float) -> float:
    """Return the smallest value that `fraction` of the sample does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def median_interval(
    values: Sequence[float], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Return the interval of the median by the sign test.

    It runs from the k-th smallest to the k-th largest value, with the greatest k for which the
    chance that the true median lies outside stays under `1 - confidence` (binomial, p = 1/2).
    Ten values give the second smallest to the second largest.
    """
    ordered = sorted(values)
    size = len(ordered)
    outside = 0.0
    rank = 0
    while rank < size // 2:
        outside += 2 * math.comb(size, rank) / 2**size
        if outside > 1 - confidence:
            break
        rank += 1
    return (ordered[rank - 1], ordered[size - rank]) if rank else None
