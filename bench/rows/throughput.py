"""Durable put, consume and acknowledge, both sides at once: the rate is the slower side's.

Owns the three loads. Never compares runs of different loads. Law: contenders take turns, forward
and backward, so that a machine that slows down slows all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.contender import Contender
from bench.duel import Run, run_fresh
from bench.peers.registry import turn_order
from bench.report import Table, one_line, rate_text, ratio_text
from bench.settings import Settings, say
from bench.stats import summarise
from bench.traffic import SINGLES, Load

GOALS = {Load(1_000): 10.0, Load(100): 6.0, SINGLES: 4.0}
"""Each load, and how many times the best peer's rate is the goal."""

_TITLE = "Put, consume and acknowledge at once"
_COLUMNS = (
    "contender",
    "messages/s",
    "spread",
    "put/s",
    "consume + ack/s",
    "x best peer",
    "x best peer that syncs",
    "disk flushes/s",
    "durability in force",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """All runs of one contender under one load."""

    contender: Contender
    runs: tuple[Run, ...]
    missing: str = ""

    @property
    def rate(self) -> float:
        """The median rate; 0 without a run or with a fault in any of them."""
        if self.fault or not self.runs:
            return 0.0
        return summarise([run.rate for run in self.runs]).median

    @property
    def fault(self) -> str:
        """The first fault: one wrong run spoils the row, however fast the others were."""
        return next((run.fault for run in self.runs if run.fault), "")


def measure(
    settings: Settings, goals: Mapping[Load, float] = GOALS, title: str = _TITLE
) -> list[Table]:
    """Run every load that has a goal on every contender."""
    return [_table(title, load, goal, _entries(settings, load)) for load, goal in goals.items()]


def _entries(settings: Settings, load: Load) -> list[Entry]:
    missing = {contender: contender.missing() for contender in settings.contenders}
    present = [contender for contender in settings.contenders if not missing[contender]]
    runs: dict[Contender, list[Run]] = {contender: [] for contender in settings.contenders}
    for repeat in range(settings.repeat):
        for contender in turn_order(present, repeat):
            run = run_fresh(contender, load, settings.seconds, settings.data_root)
            runs[contender].append(run)
            say(f"{load.label}, {contender.name}: {one_line(run.fault) or rate_text(run.rate)}")
    return [Entry(contender, tuple(runs[contender]), missing[contender]) for contender in runs]


def _table(title: str, load: Load, goal: float, entries: Sequence[Entry]) -> Table:
    peers = [entry for entry in entries if entry.contender.kind == "peer"]
    best = max((peer.rate for peer in peers), default=0.0)
    best_synced = max((peer.rate for peer in peers if peer.contender.synced), default=0.0)
    return Table(
        title=f"{title}, {load.label}",
        columns=_COLUMNS,
        lines=[_line(entry, best, best_synced) for entry in entries],
        data={
            "load": load.label,
            "unit": "messages/s",
            "best_peer": best,
            "best_synced_peer": best_synced,
            "goal_x_best_peer": goal,
            "entries": [_as_json(entry) for entry in entries],
        },
        note=_goal_note(goal, entries, best),
    )


def _line(entry: Entry, best: float, best_synced: float) -> list[str]:
    name, durability = entry.contender.name, entry.contender.durability
    if reason := entry.missing:
        return [name, f"not run: needs {reason}", *[""] * 6, durability]
    if entry.fault:
        return [name, f"FAULT: {one_line(entry.fault)}", *[""] * 6, durability]
    rate, put, consumed, flushes = (
        summarise(values)
        for values in (
            [run.rate for run in entry.runs],
            [run.put_rate for run in entry.runs],
            [run.consume_rate for run in entry.runs],
            [run.disk_flushes / run.seconds for run in entry.runs],
        )
    )
    return [
        name,
        rate_text(rate.median),
        f"{rate_text(rate.low)} - {rate_text(rate.high)}",
        rate_text(put.median),
        rate_text(consumed.median),
        ratio_text(rate.median, best),
        ratio_text(rate.median, best_synced),
        f"{flushes.median:.0f}",
        durability,
    ]


def _goal_note(goal: float, entries: Sequence[Entry], best: float) -> str:
    ours = next((entry.rate for entry in entries if entry.contender.kind == "ours"), 0.0)
    reached = ratio_text(ours, best) if ours else "-"
    return f"Goal: {goal:g} x the best peer. Reached: {reached}."


def _as_json(entry: Entry) -> dict[str, object]:
    return {
        "contender": entry.contender.name,
        "kind": entry.contender.kind,
        "durability": entry.contender.durability,
        "synced": entry.contender.synced,
        "missing": entry.missing,
        "fault": entry.fault,
        "median": entry.rate,
        "runs": [run.as_json() for run in entry.runs],
    }
