"""What every chaos run does with its one queue before and after the faults: declare it, see it
empty, judge what all clients noted about it.
"""

from __future__ import annotations

from pathlib import Path

from broker.testing.delivery import (
    check_acked_stays_gone,
    check_attempts,
    check_producer_order,
    check_total_queue,
)
from broker.testing.verdict import Verdict
from tests.chaos.load import QUEUE
from tests.chaos.wire import Wire
from tests.checkers.history import read_history
from tests.support.waiting import wait_until

#: Above it puts are refused: a bound for the machine, far above what producers let wait.
MESSAGES_MAX = 200_000
DRAIN_S = 180.0


def declare(endpoint: str) -> None:
    with Wire(endpoint) as wire:
        wire.ask("hello", client="chaos")
        settings = {"max_messages": MESSAGES_MAX}
        assert wire.ask("declare", queue=QUEUE, settings=settings).header["re"] == "ok"


def wait_drained(endpoint: str) -> None:
    """Returns when the consumers have taken everything and their settles are on disk."""
    with Wire(endpoint) as wire:
        wire.ask("hello", client="chaos")

        def is_empty() -> bool:
            # There is no answer to judge by while the queue changes its owner.
            stats = wire.ask("stats", queue=QUEUE).header.get("stats")
            return stats is not None and not stats["messages"]

        wait_until(is_empty, "the queue is empty", deadline_s=DRAIN_S)


def judge(directory: Path) -> list[Verdict]:
    """The verdicts on the history of all processes of a run."""
    events = read_history(directory.glob("*.jsonl"))
    return [
        check_total_queue(events),
        check_acked_stays_gone(events),
        check_attempts(events),
        check_producer_order(events),
    ]
