"""The command line of the benchmark: `python -m bench`, explained in bench/README.md."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import paired, report
from bench.contender import Contender
from bench.machine import describe
from bench.peers.msgqueue import MsgQueue
from bench.peers.msgqueue_cluster import MsgQueueCluster
from bench.peers.registry import CLUSTERS, chosen
from bench.report import Table
from bench.rows import (
    backlog,
    calling,
    choice,
    cluster,
    due,
    failover,
    fanout,
    features,
    join,
    latency,
    names,
    throughput,
    transient,
)
from bench.settings import Settings, UsageError, say

_BACKLOG = 10_000_000
ROWS = (
    *("all", "throughput", "latency", "backlog", "paired", "features", "due", "keyed", "selector"),
    "transient",
    *("cluster", "join", "failover"),
    *("fanout", "names", "calls"),
)


def main() -> int:
    """Measure what the arguments ask for and write the results."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.row == "paired" and not arguments.against:
        parser.error("paired needs --against, a working tree or a command")
    # A plain kill must end the brokers too: they live in process groups of their own.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        _run(arguments)
    except UsageError as error:
        parser.error(str(error))
    return 0


def _run(arguments: argparse.Namespace) -> None:
    contenders = _contenders(arguments)
    settings = Settings(contenders, arguments.seconds, arguments.repeat, arguments.data)
    context = describe(settings.data_root) | {
        "command": "python -m bench " + " ".join(sys.argv[1:]),
        "seconds": settings.seconds,
        "repeats": settings.repeat,
        "versions": {c.name: c.version() for c in settings.contenders if not c.missing()},
    }
    tables = _measure(arguments, settings)
    path = report.write(arguments.output or _default_name(arguments.row), context, tables)
    print("\n\n".join(table.as_markdown() for table in tables))
    say(f"\nwritten: {os.path.relpath(path)} and its .json")


def _contenders(arguments: argparse.Namespace) -> Sequence[Contender]:
    if arguments.row in {"join", "failover"}:
        return [MsgQueueCluster()]
    if arguments.row in {"fanout", "names", "calls"}:
        # Their contenders are their own.
        return [MsgQueue()]
    if arguments.row == "cluster":
        return chosen(arguments.only, CLUSTERS)
    return chosen(arguments.only)


def _measure(arguments: argparse.Namespace, settings: Settings) -> Sequence[Table]:
    if arguments.row == "paired":
        return paired.measure(settings, arguments.against)
    if arguments.row == "backlog":
        return backlog.measure(settings, MsgQueue(), arguments.messages or _BACKLOG)
    if arguments.row == "features":
        return features.measure(settings, arguments.messages or due.LATE_MESSAGES)
    if arguments.row == "keyed":
        return choice.measure_keyed(settings)
    if arguments.row == "selector":
        return choice.measure_selector(settings)
    if arguments.row == "fanout":
        more = [] if arguments.only else [names.measure(settings)]
        return [*fanout.measure(settings, arguments.only), *more]
    if arguments.row == "names":
        return [names.measure(settings)]
    if arguments.row == "calls":
        return calling.measure(settings, arguments.only)
    if arguments.row == "transient":
        return transient.measure(settings)
    if arguments.row == "due":
        return due.measure(settings, arguments.messages or due.LATE_MESSAGES)
    if arguments.row == "cluster":
        return cluster.measure(settings)
    if arguments.row == "join":
        return join.measure(settings, MsgQueueCluster())
    if arguments.row == "failover":
        return failover.measure(settings, MsgQueueCluster())
    tables: list[Table] = []
    if arguments.row in {"all", "throughput"}:
        tables += throughput.measure(settings)
    if arguments.row in {"all", "latency"}:
        tables += latency.measure(settings)
    return tables


def _default_name(row: str) -> str:
    return "latest" if row == "all" else row


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("row", nargs="?", default="all", choices=ROWS)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a run")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each contender")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="contenders, by a part of the name"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("/var/tmp"),
        help="where all brokers keep their data; must lie on a real disk",
    )
    parser.add_argument(
        "--messages", type=int, help="length of the backlog (10 M), or messages of due (1 M)"
    )
    parser.add_argument(
        "--against", metavar="TREE|COMMAND", help="what paired compares this tree with"
    )
    parser.add_argument("--output", metavar="NAME", help="name of the result files")
    return parser


if __name__ == "__main__":
    sys.exit(main())
