"""Tables for people and the same values for programs.

Owns the form of the result files. Never computes a figure. Law: whatever a reader needs in order
to doubt a figure (date, machine, versions, durability, command, faults) stands in the same file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Table:
    """One row of the benchmark: what was measured, and every run of it as plain values."""

    title: str
    columns: Sequence[str]
    lines: Sequence[Sequence[str]]
    data: Mapping[str, Any]
    note: str

    def as_markdown(self) -> str:
        """Return the table as Markdown."""
        rows = [self.columns, ["---"] * len(self.columns), *self.lines]
        body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        return f"## {self.title}\n\n{body}\n\n{self.note}"


def write(name: str, context: Mapping[str, Any], tables: Sequence[Table]) -> Path:
    """Write `name`.md and `name`.json into the results and return the path of the first."""
    RESULTS.mkdir(exist_ok=True)
    facts = "\n".join(f"- {key}: {_text(value)}" for key, value in context.items())
    markdown = "\n\n".join(["# Benchmark results", facts, *(t.as_markdown() for t in tables)])
    path = RESULTS / f"{name}.md"
    path.write_text(markdown + "\n")
    values = {**context, "tables": [{"title": t.title, **t.data} for t in tables]}
    path.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n")
    return path


def rate_text(rate: float) -> str:
    """Return messages a second in three digits: 1.05 M, 65.3 k, 812."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if rate >= size:
            return f"{rate / size:.3g}{unit}"
    return f"{rate:.3g}"


def ratio_text(value: float, base: float) -> str:
    """Return how often `base` goes into `value`, or a dash."""
    return f"{value / base:.2f}" if base else "-"


def one_line(text: str) -> str:
    """Return the last line of a text, fit for a cell."""
    return text.strip().splitlines()[-1].replace("|", "/") if text.strip() else ""


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(f"\n  - {key}: {item}" for key, item in value.items())
    return str(value)
