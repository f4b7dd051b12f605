"""Count the words of real texts with a queue, exactly, even while everything is killed.

    python -m examples.word_count FILE...            with the broker of `make run`
    python -m examples.word_count --chaos FILE...    with a broker of its own, under SIGKILL
    python -m examples.word_count --chaos --brokers 3 FILE...    with a cluster of its own

A producer puts each line as a message.  Consumer processes count the words, commit and
acknowledge.  The sum is compared with a direct count.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from examples.word_count.cluster import Cluster
from examples.word_count.processes import Broker, Chaos, Consumers
from examples.word_count.tally import Progress, Tally
from examples.word_count.text import Piece, count_words, read_pieces
from patterns import Client

BAR = 40


def feed(endpoint: str, queue: str, pieces: Sequence[Piece]) -> None:
    """Put every piece; the client batches them, and sends again what a killed broker did not
    confirm."""
    with Client(endpoint) as mq:
        lines = mq.queue(queue)
        for piece in pieces:
            lines.put(piece.text, id=piece.id)
        mq.flush()


def show(progress: Progress, total: int, note: str) -> None:
    filled = BAR * progress.pieces // total
    bar = "#" * filled + "." * (BAR - filled)
    line = f"[{bar}] {progress.pieces:,} of {total:,} lines, {progress.again:,} came again{note}"
    print(f"\r{line}", end="", file=sys.stderr, flush=True)


def watch(tally: Tally, total: int, consumers: Consumers, chaos: Chaos | None) -> None:
    """Until every piece is counted."""
    kills = 0
    while (progress := tally.progress()).pieces < total:
        if chaos and chaos.maybe_kill():
            kills += 1
        consumers.require_alive()
        show(progress, total, f", {kills} kills" if chaos else "")
        time.sleep(0.05)
    show(progress, total, f", {kills} kills\n" if chaos else "\n")


def start_brokers(count: int, directory: Path) -> Broker | Cluster:
    return Broker(directory) if count == 1 else Cluster(directory, count)


def run(arguments: argparse.Namespace, directory: Path, pieces: Sequence[Piece]) -> Counter[str]:
    brokers = start_brokers(arguments.brokers, directory) if arguments.chaos else None
    endpoint = brokers.endpoint if brokers else arguments.endpoint
    queue = f"word-count.{os.getpid()}"
    tally = Tally(directory / "tally.db")
    consumers = Consumers(arguments.consumers, endpoint, queue, directory / "tally.db")
    chaos = Chaos(brokers, consumers, arguments.seed) if brokers else None
    feeder = threading.Thread(target=feed, args=(endpoint, queue, pieces), daemon=True)
    feeder.start()
    try:
        watch(tally, len(pieces), consumers, chaos)
        feeder.join()
        consumers.stop()
        with Client(endpoint) as mq:
            mq.queue(queue).delete()
    finally:
        consumers.stop()
        if brokers:
            brokers.stop()
    if brokers:
        print(f"killed brokers {brokers.kills} times, consumers {consumers.kills} times")
    return tally.words()


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="word_count", description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--consumers", type=int, default=4, help="consumer processes")
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:5570")
    parser.add_argument("--chaos", action="store_true", help="start brokers and kill everything")
    parser.add_argument("--brokers", type=int, default=1, metavar="N", help="of the chaos")
    parser.add_argument("--seed", type=int, default=0, help="of the chaos")
    parser.add_argument("--repeat", type=int, default=1, help="feed the files so many times")
    parser.add_argument("--top", type=int, default=10, help="words to print")
    parser.add_argument("--verify", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args(words)


def main() -> int:
    arguments = parse()
    pieces = list(read_pieces(arguments.files, arguments.repeat))
    if not pieces:
        print("no words in these files")
        return 0
    with tempfile.TemporaryDirectory(prefix="word-count-") as directory:
        words = run(arguments, Path(directory), pieces)
    for word, count in words.most_common(arguments.top):
        print(f"{count:>10,}  {word}")
    print(f"{words.total():>10,}  words, {len(words):,} different")
    if not arguments.verify:
        return 0
    direct = Counter[str]()
    for piece in pieces:
        direct.update(count_words(piece.text))
    print("exact: equal to a direct count" if words == direct else "WRONG: a direct count differs")
    return int(words != direct)


if __name__ == "__main__":
    sys.exit(main())
