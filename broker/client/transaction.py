"""One transaction as the application writes it: what it settles, and what it puts.

Owns what is gathered until the commit.  Nothing is sent before; a transaction that is given up has
done nothing, and its messages stay held.
"""

from __future__ import annotations

from datetime import datetime
from types import TracebackType
from typing import Any, Self

from broker.client import options
from broker.client.async_calls import AsyncCalls
from broker.client.content import Headers
from broker.client.delivery import Part
from broker.client.put_batch import MessageId, PutBatch
from broker.client.sync_calls import SyncCalls
from broker.client.transactions import Transaction as Sent
from broker.client.view import BatchView, MessageView, parts_of
from broker.errors import BadField, WaitTimeout
from broker.limits import BATCH_COUNT_MAX
from broker.names import require_name

_NOT_KNOWN = "the transaction is not answered yet; the client goes on trying"


def _within(timeout: float | None, calls: SyncCalls | AsyncCalls) -> float:
    return calls.request_timeout if timeout is None else timeout


class Gathered:
    """What both faces share: gathering asks nobody, so nothing of it is awaited."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._batches: list[PutBatch] = []
        self._sent: Sent | None = None

    def ack(self, message: MessageView | BatchView) -> None:
        """These messages are removed by the commit; all of a transaction are of one slot.

        Raises LeaseLost for what is not held.
        """
        self._require_open()
        self._parts += parts_of(message)

    def put(
        self,
        queue: str,
        body: Any,
        headers: Headers | None = None,
        *,
        priority: int | None = None,
        delay: float | None = None,
        at: float | datetime | None = None,
        ttl: float | None = None,
        type: str | None = None,  # noqa: A002
        content_type: str | None = None,
        id: MessageId | None = None,  # noqa: A002
        key: MessageId | None = None,
    ) -> None:
        """This message appears in ``queue`` after the commit; the options are those of a put.

        A ``delay`` counts from the commit.
        """
        self._require_open()
        require_name(queue)
        element, size, content_type = options.put_element(body, headers, content_type)
        columns = options.put_columns(id, key)
        names = () if columns is None else tuple(columns)
        spec = options.put_spec(content_type, priority, delay, at, ttl, type, names)
        batch = self._batches[-1] if self._batches else None
        if batch is None or batch.queue != queue or len(batch.elements) >= batch.full_at:
            batch = None
        if batch is None or not batch.add(spec, element, size):
            batch = PutBatch(queue, spec, min(spec.count_max, BATCH_COUNT_MAX), 0)
            batch.add_first(element, size)
            self._batches.append(batch)
        if columns is not None:
            batch.add_columns(columns)

    def _is_empty(self) -> bool:
        """Raises BadField for puts alone: they need no transaction, and what settles nothing has no
        place where it could be carried out."""
        if self._batches and not self._parts:
            raise BadField("a transaction settles at least one message; put others as they are")
        return not self._parts

    def _require_open(self) -> None:
        if self._sent is not None:
            raise BadField("the transaction is committed already")


class Transaction(Gathered):
    """Made by ``Client.transaction``; as a context manager it commits at the end of the block.

    An exception that leaves the block gives it up: nothing was sent.
    """

    def __init__(self, calls: SyncCalls) -> None:
        super().__init__()
        self._calls = calls

    def commit(self, timeout: float | None = None) -> None:
        """Settles and puts, and waits until that is on disk.

        Raises LeaseLost when a message was not held any more: then nothing has happened.  Raises
        WaitTimeout when there was no answer in time (the client's ``request_timeout`` where none
        is given); it may happen yet, and another call waits on.
        """
        if self._sent is None and self._is_empty():
            return
        calls = self._calls
        with calls.changing:
            calls.require_open()
            if self._sent is None:
                self._sent = calls.session.transactions.begin(self._parts, self._batches)
            sent = self._sent
            sent.waited = True
        try:
            done = calls.wait(lambda: sent.done, _within(timeout, calls))
        finally:
            sent.waited = sent.done
        if not done:
            raise WaitTimeout(_NOT_KNOWN)
        sent.value()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.commit()


class AsyncTransaction(Gathered):
    """Made by ``AsyncClient.transaction``: as ``Transaction``, with ``async with``."""

    def __init__(self, calls: AsyncCalls) -> None:
        super().__init__()
        self._calls = calls

    async def commit(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """As ``Transaction.commit``."""
        if self._sent is None and self._is_empty():
            return
        calls = self._calls
        calls.require_open()
        if self._sent is None:
            self._sent = calls.session.transactions.begin(self._parts, self._batches)
        sent = self._sent
        sent.waited = True
        try:
            done = await calls.wait_for([sent], _within(timeout, calls))
        finally:
            sent.waited = sent.done
        if not done:
            raise WaitTimeout(_NOT_KNOWN)
        sent.value()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self.commit()
