"""Chaos from the command line.

python -m tests.chaos kill9 --rounds 20
python -m tests.chaos kill9 --minutes 60
python -m tests.chaos judge DIRECTORY
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from broker.testing.verdict import Verdict
from tests.chaos.kill9 import Kill9

#: Rounds of one run in `--minutes`: each run is judged, and then starts anew.
RUN_ROUNDS = 20


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Chaos runs.")
    scenarios = parser.add_subparsers(dest="scenario", required=True)
    kill9 = scenarios.add_parser("kill9", help="kill a loaded broker with SIGKILL")
    kill9.add_argument("--rounds", type=int, default=20)
    kill9.add_argument("--minutes", type=float, help="run after run, each with a seed of its own")
    kill9.add_argument("--seed", type=int, help="repeats the instants and choices of a run")
    judge = scenarios.add_parser("judge", help="judge the history of a run that was kept")
    judge.add_argument("directory", type=Path)
    return parser.parse_args()


def is_good(verdicts: Sequence[Verdict]) -> bool:
    for verdict in verdicts:
        print(verdict, flush=True)
    return all(verdict.valid for verdict in verdicts)


def kill9(rounds: int, seed: int) -> bool:
    """One run.  The directory of a bad one is kept."""
    directory = Path(tempfile.mkdtemp(prefix="msgqueue-chaos-"))
    print(f"seed {seed}, in {directory}", flush=True)
    good = is_good(Kill9(directory, seed, lambda text: print(text, flush=True)).run(rounds))
    if good:
        shutil.rmtree(directory)
    return good


def main() -> int:
    arguments = parse()
    if arguments.scenario == "judge":
        return int(not is_good(Kill9(arguments.directory, 0, print).judge()))
    chance = random.Random(arguments.seed)
    seed = chance.getrandbits(32) if arguments.seed is None else arguments.seed
    if arguments.minutes is None:
        return int(not kill9(arguments.rounds, seed))
    ends_at = time.monotonic() + 60 * arguments.minutes
    while time.monotonic() < ends_at:
        if not kill9(RUN_ROUNDS, seed):
            return 1
        seed = chance.getrandbits(32)
    return 0


if __name__ == "__main__":
    sys.exit(main())
