"""What a checker says of a history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: So many breaches are spelled out; the rest is counted.
BREACHES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Verdict:
    """Valid with no breach.  ``counts`` tell how much was judged, so that an empty history
    does not pass for a good one."""

    checker: str
    breaches: tuple[str, ...]
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def valid(self) -> bool:
        return not self.breaches

    def __str__(self) -> str:
        counts = "  ".join(f"{name} {count}" for name, count in self.counts.items())
        lines = [f"{'ok  ' if self.valid else 'FAIL'} {self.checker}: {counts}"]
        lines += [f"       {breach}" for breach in self.breaches[:BREACHES_SHOWN]]
        if len(self.breaches) > BREACHES_SHOWN:
            lines.append(f"       and {len(self.breaches) - BREACHES_SHOWN} more")
        return "\n".join(lines)
