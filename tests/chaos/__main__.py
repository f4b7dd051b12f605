"""Chaos from the command line.

python -m tests.chaos kill9 --rounds 20
python -m tests.chaos kill9 --minutes 60
python -m tests.chaos cluster --rounds 30 --stops 10 --all 3 --etcd 1 --leaves 3
python -m tests.chaos transfers --rounds 35 --all 5 --alone 10
python -m tests.chaos fanout --rate 50000 --seconds 30
python -m tests.chaos judge DIRECTORY
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from broker.testing.verdict import Verdict
from tests.chaos.cluster import ClusterChaos
from tests.chaos.fanout import Alone, Fanout, Plan, Several
from tests.chaos.judging import judge
from tests.chaos.kill9 import Kill9
from tests.chaos.schedule import Fault, shuffled
from tests.chaos.workloads import TRANSFERS

#: Rounds of one run in `--minutes`: each run is judged, and then starts anew.
RUN_ROUNDS = 20
SEED_HELP = "repeats the instants and choices of a run"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Chaos runs.")
    scenarios = parser.add_subparsers(dest="scenario", required=True)
    kill9 = scenarios.add_parser("kill9", help="kill a loaded broker with SIGKILL")
    kill9.add_argument("--rounds", type=int, default=20)
    kill9.add_argument("--minutes", type=float, help="run after run, each with a seed of its own")
    kill9.add_argument("--seed", type=int, help=SEED_HELP)
    cluster = scenarios.add_parser("cluster", help="disturb three loaded brokers and their etcd")
    cluster.add_argument("--rounds", type=int, default=30, help="SIGKILL of one broker")
    cluster.add_argument("--stops", type=int, default=10, help="SIGSTOP beyond the tenure")
    cluster.add_argument("--all", type=int, default=3, help="SIGKILL of all brokers at once")
    cluster.add_argument("--etcd", type=int, default=1, help="SIGKILL of etcd")
    cluster.add_argument("--leaves", type=int, default=3, help="SIGTERM of the queue's owner")
    cluster.add_argument("--tenure", default="2s", metavar="TIME")
    cluster.add_argument("--seed", type=int, help=SEED_HELP)
    transfers = scenarios.add_parser(
        "transfers", help="the same, while messages move between queues of several brokers"
    )
    transfers.add_argument("--rounds", type=int, default=35, help="SIGKILL of one of three brokers")
    transfers.add_argument("--all", type=int, default=5, help="SIGKILL of all three at once")
    transfers.add_argument("--alone", type=int, default=10, help="SIGKILL of a lone broker")
    transfers.add_argument("--tenure", default="2s", metavar="TIME")
    transfers.add_argument("--seed", type=int, help=SEED_HELP)
    fanout = scenarios.add_parser(
        "fanout",
        help="publish and subscribe while subscribers and the broker die, alone and of three",
    )
    fanout.add_argument("--rate", type=int, default=50_000, help="messages a second")
    fanout.add_argument("--seconds", type=float, default=30.0)
    fanout.add_argument("--subscribers", type=int, default=10)
    fanout.add_argument("--stop", type=float, default=10.0, help="SIGSTOP of one, in seconds")
    fanout.add_argument("--seed", type=int, help="not used: nothing is left to chance")
    judged = scenarios.add_parser("judge", help="judge the history of a run that was kept")
    judged.add_argument("directory", type=Path)
    return parser.parse_args()


def tell(text: str) -> None:
    print(text, flush=True)


def is_good(verdicts: Sequence[Verdict]) -> bool:
    for verdict in verdicts:
        print(verdict, flush=True)
    return all(verdict.valid for verdict in verdicts)


def is_good_run(seed: int, run: Callable[[Path], Sequence[Verdict]]) -> bool:
    """One run.  The directory of a bad one is kept."""
    directory = Path(tempfile.mkdtemp(prefix="msgqueue-chaos-"))
    tell(f"seed {seed}, in {directory}")
    good = is_good(run(directory))
    if good:
        shutil.rmtree(directory)
    return good


def kill9(rounds: int, seed: int) -> bool:
    return is_good_run(seed, lambda directory: Kill9(directory, seed, tell).run(rounds))


def cluster(arguments: argparse.Namespace, seed: int) -> bool:
    primaries, stopped_primaries = arguments.rounds // 2, arguments.stops // 2
    counts = {
        Fault.KILL: arguments.rounds - primaries,
        Fault.KILL_PRIMARY: primaries,
        Fault.STOP: arguments.stops - stopped_primaries,
        Fault.STOP_PRIMARY: stopped_primaries,
        Fault.KILL_ALL: arguments.all,
        Fault.ETCD: arguments.etcd,
        Fault.LEAVE: arguments.leaves,
    }

    def run(directory: Path) -> Sequence[Verdict]:
        chaos = ClusterChaos(directory, seed, tell, tenure=arguments.tenure)
        verdicts = chaos.run(shuffled(counts, random.Random(seed)))
        for line in chaos.measured:
            tell(line)
        return verdicts

    return is_good_run(seed, run)


def transfers(arguments: argparse.Namespace, seed: int) -> bool:
    primaries = arguments.rounds // 2
    counts = {
        Fault.KILL: arguments.rounds - primaries,
        Fault.KILL_PRIMARY: primaries,
        Fault.KILL_ALL: arguments.all,
    }
    faults = shuffled(counts, random.Random(seed))

    def run(directory: Path) -> Sequence[Verdict]:
        chaos = ClusterChaos(directory, seed, tell, TRANSFERS, tenure=arguments.tenure)
        return chaos.run(faults)

    def run_alone(directory: Path) -> Sequence[Verdict]:
        return Kill9(directory, seed, tell, TRANSFERS).run(arguments.alone)

    good = not faults or is_good_run(seed, run)
    if arguments.alone:
        good = is_good_run(seed, run_alone) and good
    return good


def fanout(arguments: argparse.Namespace, seed: int) -> bool:
    plan = Plan(arguments.rate, arguments.seconds, arguments.subscribers, arguments.stop)
    good = is_good_run(seed, lambda place: Fanout(place, plan, tell).run(Alone(place)))
    return is_good_run(seed, lambda place: Fanout(place, plan, tell).run(Several(place))) and good


def kill9_for(minutes: float, chance: random.Random, seed: int) -> bool:
    ends_at = time.monotonic() + 60 * minutes
    while time.monotonic() < ends_at:
        if not kill9(RUN_ROUNDS, seed):
            return False
        seed = chance.getrandbits(32)
    return True


def main() -> int:
    arguments = parse()
    if arguments.scenario == "judge":
        return int(not is_good(judge(arguments.directory)))
    chance = random.Random(arguments.seed)
    seed = chance.getrandbits(32) if arguments.seed is None else arguments.seed
    if arguments.scenario == "cluster":
        return int(not cluster(arguments, seed))
    if arguments.scenario == "transfers":
        return int(not transfers(arguments, seed))
    if arguments.scenario == "fanout":
        return int(not fanout(arguments, seed))
    if arguments.minutes is None:
        return int(not kill9(arguments.rounds, seed))
    return int(not kill9_for(arguments.minutes, chance, seed))


if __name__ == "__main__":
    sys.exit(main())
