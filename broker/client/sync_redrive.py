"""A redrive that goes on at the broker, as the sync client shows it."""

from __future__ import annotations

from typing import Any

from broker.client import operations
from broker.client.progress import POLL_S, RedriveProgress
from broker.client.sync_calls import SyncCalls
from broker.errors import WaitTimeout


class Redrive(RedriveProgress):
    """What was known when it was asked last; ``refresh`` asks again."""

    def __init__(self, calls: SyncCalls, queue: str, job: dict[str, Any]) -> None:
        super().__init__(queue, job)
        self._calls = calls

    def refresh(self) -> None:
        self.learn(self._calls.carry_out(operations.stats(self.queue)))

    def wait(self, timeout: float | None = None) -> int:
        """Until it has come to its end; gives how many messages moved.  Raises WaitTimeout."""
        ends_at = None if timeout is None else self._calls.seconds() + timeout
        while self.running:
            if ends_at is not None and self._calls.seconds() >= ends_at:
                raise WaitTimeout("the redrive goes on")
            self._calls.wait(lambda: False, POLL_S)
            self.refresh()
        return self.moved

    def stop(self) -> None:
        """What has not moved stays."""
        self.take(self._calls.carry_out(operations.redrive(self.queue, stop=True)))
