"""Two versions of MsgQueue against one another, in pairs.

Owns the ratio and its interval. Never averages over pairs: each pair gives one ratio of two runs
that stand next to one another in time. Law: the order inside the pairs alternates.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from bench.duel import run_fresh
from bench.peers.msgqueue import MsgQueue
from bench.report import Table, rate_text
from bench.rows.throughput import GOALS
from bench.settings import Settings, UsageError, say
from bench.stats import median_interval, summarise
from bench.traffic import Load

PAIRS_MIN = 10
_COLUMNS = ("load", "this", "other", "this / other, median", "95 % interval", "pairs")


def other_version(against: str) -> MsgQueue:
    """Return the version to compare with: a working tree, or another command in this tree."""
    if Path(against).is_dir():
        return MsgQueue(tree=Path(against).resolve(), name=f"MsgQueue at {against}")
    if "{port}" not in against or "{data}" not in against:
        raise UsageError(
            f"{against!r} is neither a directory nor a command with {{port}} and {{data}} in it"
        )
    return MsgQueue(command=tuple(shlex.split(against)), name=f"MsgQueue by {against}")


def measure(settings: Settings, against: str) -> list[Table]:
    """Run the pairs under every load."""
    this, other = MsgQueue(), other_version(against)
    for contender in (this, other):
        if missing := contender.missing():
            raise UsageError(f"{contender.name} cannot run: needs {missing}")
    results = {load: _run_pairs(this, other, load, settings) for load in GOALS}
    return [
        Table(
            title=f"This version against {other.name}",
            columns=_COLUMNS,
            lines=[_line(load, pairs) for load, pairs in results.items()],
            data={
                "this": this.version(),
                "other": other.version(),
                "against": against,
                "pairs": {load.label: pairs for load, pairs in results.items()},
            },
            note=(
                "The interval is that of the median by the sign test. What costs nothing has 1 in"
                " it, and its lower end is the most that it may cost."
            ),
        )
    ]


def _run_pairs(
    this: MsgQueue, other: MsgQueue, load: Load, settings: Settings
) -> list[tuple[float, float]]:
    """Return the two rates of each pair; a fault ends the comparison."""
    pairs = []
    for pair in range(max(settings.repeat, PAIRS_MIN)):
        rates = {}
        for contender in (this, other) if pair % 2 == 0 else (other, this):
            run = run_fresh(contender, load, settings.seconds, settings.data_root)
            if run.fault:
                raise RuntimeError(f"{contender.name}, {load.label}: {run.fault}")
            rates[contender] = run.rate
        pairs.append((rates[this], rates[other]))
        say(f"{load.label}, pair {pair + 1}: {rates[this] / rates[other]:.3f}")
    return pairs


def _line(load: Load, pairs: Sequence[tuple[float, float]]) -> list[str]:
    ratios = [this / other for this, other in pairs]
    this, other, ratio = (
        summarise(values) for values in ([t for t, _ in pairs], [o for _, o in pairs], ratios)
    )
    interval = median_interval(ratios)
    return [
        load.label,
        rate_text(this.median),
        rate_text(other.median),
        f"{ratio.median:.3f}",
        f"{interval[0]:.3f} - {interval[1]:.3f}" if interval else "too few pairs",
        str(len(pairs)),
    ]
