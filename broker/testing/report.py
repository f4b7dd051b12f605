"""An outcome in words."""

from __future__ import annotations

from broker.testing.simulation import Outcome


def report(outcome: Outcome) -> str:
    verdict = "FAIL" if outcome.breaches else "ok"
    faults = " ".join(f"{kind}*{n:g}" for kind, n in outcome.scenario.faults.items())
    counts = "  ".join(f"{kind} {count}" for kind, count in outcome.counts.items())
    length = f"{outcome.simulated_s:.1f} s simulated, {outcome.steps} events"
    lines = [
        f"{verdict} seed {outcome.seed}: {length}, trace {outcome.trace}",
        f"     faults: {faults or 'none'}",
        f"     {counts}",
        *(f"     {breach}" for breach in outcome.breaches),
    ]
    return "\n".join(lines)
