"""What every chaos run does with its queues before and after the faults: declare them, see them
empty; and the judgement of a plain one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from broker.testing.delivery import (
    check_acked_stays_gone,
    check_attempts,
    check_producer_order,
    check_total_queue,
)
from broker.testing.verdict import Verdict
from tests.chaos.wire import Wire
from tests.checkers.history import read_history
from tests.support.waiting import wait_until

#: Above it puts are refused: a bound for the machine, far above what producers let wait.
MESSAGES_MAX = 200_000
DRAIN_S = 180.0


def declare(endpoint: str, queue: str, settings: dict[str, Any]) -> None:
    with Wire(endpoint) as wire:
        wire.ask("hello", client="chaos")
        assert wire.ask("declare", queue=queue, settings=settings).header["re"] == "ok"


def wait_drained(endpoint: str, queues: Sequence[str]) -> None:
    """Returns when the consumers have taken everything and their settles are on disk."""
    with Wire(endpoint) as wire:
        wire.ask("hello", client="chaos")

        held: dict[str, Any] = {}

        def is_empty(queue: str) -> bool:
            # There is no answer to judge by while the queue changes its owner.
            stats = wire.ask("stats", queue=queue).header.get("stats")
            held[queue] = stats
            return stats is not None and not stats["messages"]

        try:
            wait_until(
                lambda: all(list(map(is_empty, queues))),
                "the queues are empty",
                deadline_s=DRAIN_S,
            )
        except AssertionError as error:
            raise AssertionError(f"{error}: {held}") from None


def judge(directory: Path) -> list[Verdict]:
    """The verdicts on the history of all processes of a run."""
    events = read_history(directory.glob("*.jsonl"))
    return [
        check_total_queue(events),
        check_acked_stays_gone(events),
        check_attempts(events),
        check_producer_order(events),
    ]
