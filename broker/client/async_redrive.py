"""A redrive that goes on at the broker, as the async client shows it."""

from __future__ import annotations

from typing import Any

from broker.client import operations
from broker.client.async_calls import AsyncCalls
from broker.client.progress import POLL_S, RedriveProgress
from broker.client.waiters import Waiters
from broker.errors import WaitTimeout


class AsyncRedrive(RedriveProgress):
    """What was known when it was asked last; ``refresh`` asks again."""

    def __init__(self, calls: AsyncCalls, queue: str, job: dict[str, Any]) -> None:
        super().__init__(queue, job)
        self._calls = calls

    async def refresh(self) -> None:
        self.learn(await self._calls.carry_out(operations.stats(self.queue)))

    async def wait(self, timeout: float | None = None) -> int:  # noqa: ASYNC109
        """Until it has come to its end; gives how many messages moved.  Raises WaitTimeout."""
        ends_at = None if timeout is None else self._calls.seconds() + timeout
        while self.running:
            if ends_at is not None and self._calls.seconds() >= ends_at:
                raise WaitTimeout("the redrive goes on")
            await self._calls.wait(lambda: False, Waiters(), POLL_S)
            await self.refresh()
        return self.moved

    async def stop(self) -> None:
        """What has not moved stays."""
        self.take(await self._calls.carry_out(operations.redrive(self.queue, stop=True)))
