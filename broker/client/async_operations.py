"""What operators do to a queue, as the async client shows it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any

from broker.client import operations
from broker.client.async_calls import AsyncCalls
from broker.client.async_redrive import AsyncRedrive
from broker.client.browsing import Browse, BrowsedMessage
from broker.client.naming import Which
from broker.client.operations import Changed
from broker.client.put_batch import MessageId
from broker.client.selector import Selector
from broker.client.whole import places_of
from broker.errors import QueueNotFound


class AsyncQueueOperations:
    """Part of ``AsyncQueue``.  Times are in seconds.

    ``which`` is a position, an id, a message, or several of them.  The id that a message has
    without one of its own, ``queue:position``, works everywhere; an application's own id needs a
    queue with ``dedup`` or ``index_ids``.
    """

    def __init__(self, calls: AsyncCalls, name: str) -> None:
        self.name = name
        self._calls = calls

    async def stats(self) -> dict[str, Any]:
        """What the broker counts of this queue, and its settings, in milliseconds."""
        return await self._calls.carry_out(operations.stats(self.name))

    async def update(self, **settings: Any) -> dict[str, Any]:
        """Changes these settings while the queue runs; gives all of them, in milliseconds."""
        return await self._calls.carry_out(operations.update(self.name, settings))

    async def pause(self) -> None:
        """Nothing is delivered until ``resume``; puts and settles go on."""
        await self.update(paused=True)

    async def resume(self) -> None:
        await self.update(paused=False)

    async def bind(self, pattern: str, selector: Selector | None = None) -> None:
        """From now on the queue gets, once each, what is published on channels that match.

        ``selector`` takes only messages that match it.  Binding again replaces the selector.
        """
        await self._calls.carry_out(operations.bind(self.name, pattern, selector))

    async def unbind(self, pattern: str) -> None:
        """Raises BindingNotFound where the queue is not bound to the pattern."""
        await self._calls.carry_out(operations.unbind(self.name, pattern))

    async def bindings(self) -> dict[str, dict[str, Any]]:
        """The patterns that the queue is bound to, each with its ``selector`` if it has one."""
        return await self._calls.carry_out(operations.bindings(self.name))

    async def browse(
        self,
        after: int | None = None,
        *,
        max: int | None = None,  # noqa: A002
        selector: Selector | None = None,
        ids: Which | None = None,
    ) -> AsyncGenerator[BrowsedMessage, None]:
        """What waits or is held, by position, behind ``after``; nobody's message is taken.

        With ``ids`` only those.  It is read page by page as the iteration goes on.
        """
        places = await self._calls.carry_out(places_of(self.name))
        pages = Browse(places, after, max, selector, ids)
        while (fields := pages.command()) is not None:
            try:
                page = await self._calls.ask(fields)
            except QueueNotFound:
                if len(places) == 1:
                    raise
                pages.skip()
                continue
            for message in pages.take(page):
                yield message

    async def remove(self, which: Which) -> Changed:
        """Removes messages that wait; those in flight stay their holder's and count as missing."""
        return await self._calls.carry_out(operations.remove(self.name, which))

    async def cancel(self, id: MessageId) -> bool:  # noqa: A002
        """Removes the message with that id; False when none waits."""
        return (await self.remove(id)).messages > 0

    async def reschedule(
        self,
        which: Which,
        *,
        at: float | datetime | None = None,
        delay: float | None = None,
    ) -> Changed:
        """Waiting messages are due at another time: at an instant, or so long from now."""
        return await self._calls.carry_out(operations.reschedule(self.name, which, at, delay))

    async def redrive(
        self,
        to: str | None = None,
        *,
        max: int | None = None,  # noqa: A002
        per_second: int | None = None,
        selector: Selector | None = None,
    ) -> AsyncRedrive:
        """Sends dead letters back to where they died, or all to the queue ``to``.

        It goes on at the broker; what is returned tells how far it is.
        """
        plan = operations.redrive(self.name, to, max, per_second, selector)
        return AsyncRedrive(self._calls, self.name, await self._calls.carry_out(plan))

    async def redriving(self) -> AsyncRedrive:
        """The redrive of this queue that somebody began, as it stands; to look at, or to stop."""
        job = await self._calls.carry_out(operations.redriving(self.name))
        return AsyncRedrive(self._calls, self.name, job)

    async def purge(self) -> int:
        """Removes what is ready or delayed; gives how many messages that were."""
        return await self._calls.carry_out(operations.purge(self.name))

    async def delete(self, if_empty: bool = True) -> int:
        """Deletes the queue; raises QueueNotEmpty, unless ``if_empty`` is False."""
        return await self._calls.carry_out(operations.delete(self.name, if_empty))
