"""What a chaos run loads its brokers with, and by which promises it judges them.

A workload is queues, the processes that use them, and checkers.  Owns which there are; the
faults are the runs'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.testing.feature_checks import check_moved, check_transactions
from broker.testing.verdict import Verdict
from tests.chaos import judging
from tests.chaos.load import QUEUE
from tests.chaos.transfers import DEAD_LETTERS, SETTINGS, STEPS
from tests.checkers.history import read_queues


@dataclass(frozen=True, slots=True)
class Workload:
    """``producers`` and ``consumers`` name a module of this package for each process; the owner of
    the first queue is the one that is measured."""

    settings: dict[str, dict[str, Any]]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    judge: Callable[[Path], list[Verdict]]

    @property
    def queues(self) -> list[str]:
        return list(self.settings)

    def declare(self, endpoint: str) -> None:
        for queue, settings in self.settings.items():
            judging.declare(endpoint, queue, settings)

    def wait_drained(self, endpoint: str) -> None:
        # A message moves on from queue to queue, so all must be empty at one time.
        judging.wait_drained(endpoint, self.queues)


def _judge_transfers(directory: Path) -> list[Verdict]:
    histories = read_queues(directory.glob("*@*.jsonl"))
    source, *targets = DEAD_LETTERS
    return [check_moved(histories, source, targets), check_transactions(histories, *STEPS)]


PLAIN = Workload(
    {QUEUE: {"max_messages": judging.MESSAGES_MAX}},
    ("producer", "producer"),
    ("consumer", "client_consumer", "consumer", "client_consumer"),
    judging.judge,
)
TRANSFERS = Workload(
    SETTINGS,
    ("transfer_producer", "transfer_producer"),
    ("transfer_consumer", "transfer_consumer"),
    _judge_transfers,
)
