"""Runs seeds and prints their verdicts.

python -m broker.testing --seed 7 --trace
python -m broker.testing --seeds 1..1000
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial
from multiprocessing import Pool

from broker.testing.report import report
from broker.testing.simulation import Outcome, simulate

WORKERS = 2


def main() -> int:
    options = _parse()
    run = partial(
        _run,
        brokers=options.brokers,
        seconds=options.seconds,
        destructive=options.destructive,
        twice=options.twice,
    )
    failed = 0
    started = time.monotonic()
    for outcome in _outcomes(options, run):
        failed += bool(outcome.breaches)
        if outcome.breaches or len(options.seeds) == 1:
            print(report(outcome), flush=True)
    real_s = time.monotonic() - started
    print(f"{len(options.seeds)} seeds, {failed} failed, {real_s:.1f} s")
    return 1 if failed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m broker.testing", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--seeds", type=_range, help="many: FIRST..LAST")
    parser.add_argument("--brokers", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=60, help="simulated; 60 by default")
    parser.add_argument("--destructive", action="store_true", help="disks are lost, too")
    parser.add_argument("--trace", action="store_true", help="print every event of the one seed")
    parser.add_argument("--twice", action="store_true", help="each seed twice, traces compared")
    options = parser.parse_args()
    if (options.seed is None) == (options.seeds is None):
        parser.error("give either --seed or --seeds")
    if options.seed is not None:
        options.seeds = range(options.seed, options.seed + 1)
    return options


def _range(text: str) -> range:
    first, _, last = text.partition("..")
    return range(int(first), int(last) + 1)


def _outcomes(options: argparse.Namespace, run: partial[Outcome]) -> Iterator[Outcome]:
    seeds: Iterable[int] = options.seeds
    if len(options.seeds) == 1:
        yield from (run(seed, trace=options.trace) for seed in seeds)
        return
    with Pool(WORKERS) as pool:
        yield from pool.imap_unordered(run, seeds, chunksize=4)


def _run(
    seed: int, brokers: int, seconds: int, destructive: bool, twice: bool, trace: bool = False
) -> Outcome:
    run = partial(simulate, seed, brokers=brokers, seconds=seconds, destructive=destructive)
    outcome = run(tell=print if trace else None)
    if twice:
        again = run()
        assert again.trace == outcome.trace, f"seed {seed} gives two runs"
    return outcome


if __name__ == "__main__":
    sys.exit(main())
