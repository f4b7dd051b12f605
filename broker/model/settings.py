"""The settings of a queue: valid from birth, compared as a whole when a name is declared again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from broker import limits
from broker.errors import BadField, UnknownSetting

_BOUNDS: dict[str, tuple[int, int]] = {
    "lease_ms": (limits.LEASE_MIN, limits.LEASE_MAX),
    "ttl_ms": (1, limits.TTL_MAX),
    "delay_ms": (0, limits.DELAY_MAX),
    "max_messages": (1, 2**62),
    "max_bytes": (1, 2**62),
    "backoff_ms": (0, limits.DAY),
    "backoff_max_ms": (0, limits.DAY),
}


@dataclass(slots=True, frozen=True)
class QueueSettings:
    """``ttl_ms``, ``max_messages`` and ``max_bytes`` are unbounded when None.

    A negative acknowledgement without a delay of its own waits ``backoff_ms * 2**attempts``,
    at most ``backoff_max_ms``.
    """

    lease_ms: int = limits.LEASE_DEFAULT
    ttl_ms: int | None = None
    delay_ms: int = 0
    max_messages: int | None = None
    max_bytes: int | None = None
    backoff_ms: int = 1_000
    backoff_max_ms: int = 60_000

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if value.__class__ is not int or not low <= value <= high:
                raise BadField(f"{name} must be an integer from {low} to {high}")

    @classmethod
    def from_map(cls, values: dict[str, Any]) -> QueueSettings:
        """Raises UnknownSetting for a name it does not know, BadField for a bad value."""
        for name in values:
            if name not in _BOUNDS:
                raise UnknownSetting(f"no setting is called {name[:80]!r}")
        return cls(**values)

    def as_map(self) -> dict[str, Any]:
        return asdict(self)

    def backoff(self, attempts: int) -> int:
        """Milliseconds to wait after the ``attempts``-th failed attempt (from 1)."""
        # The exponent is capped so that a long-suffering message makes no huge integer.
        return min(self.backoff_ms << min(attempts, 40), self.backoff_max_ms)


_OPTIONAL = {f.name for f in fields(QueueSettings) if f.default is None}
