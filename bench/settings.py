"""What a call of the benchmark asks for.

Owns no defaults: they stand with the command line. Never changes during a run.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contender import Contender


class UsageError(Exception):
    """The command line asks for what cannot be done; the text says why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that all rows share."""

    contenders: Sequence[Contender]
    seconds: float
    repeat: int
    data_root: Path


def say(text: str) -> None:
    """Tell a person who watches how far the benchmark is."""
    print(text, file=sys.stderr, flush=True)
