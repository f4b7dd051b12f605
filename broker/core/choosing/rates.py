"""How fast a queue works, from its counters.

Nothing is measured while messages pass: whoever asks leaves a sample behind, at most one a second,
and the rates are those since a sample of about ten seconds ago; since the last time that anybody
asked, where that is longer ago, or since the queue began to be served here.
"""

from __future__ import annotations

from broker.limits import SECOND

_SPAN_MS = 10 * SECOND
#: rate -> counter
_SOURCES = {"in": "put", "out": "delivered", "ack": "acked", "nack": "nacked"}


class Rates:
    __slots__ = ("_samples",)

    def __init__(self, began_at: int) -> None:
        #: (instant, counters), the oldest first; the first of all counted nothing.
        self._samples: list[tuple[int, dict[str, int]]] = [(began_at, {})]

    def per_second(self, now: int, counters: dict[str, int]) -> dict[str, float]:
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now - _SPAN_MS:
            del samples[0]
        since, before = samples[0]
        if now - samples[-1][0] >= SECOND:
            samples.append((now, counters))
        elapsed = max(now - since, SECOND)
        return {
            rate: (counters[name] - before.get(name, 0)) * SECOND / elapsed
            for rate, name in _SOURCES.items()
        }
