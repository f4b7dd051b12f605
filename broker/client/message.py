"""A delivered message and a batch of them, as the sync client hands them out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from broker.client.delivery import Part, Run
from broker.client.ledger import ACK, REJECT, SettleKind
from broker.client.options import maybe_milliseconds
from broker.client.view import BatchView, MessageView
from broker.errors import LeaseLost

if TYPE_CHECKING:
    from types import TracebackType

    from broker.client.sync_calls import SyncCalls


class Message(MessageView):
    """As a context manager it acks at the end, or nacks when an exception leaves the block.

    Each settling method raises LeaseLost for a message that was settled already.  With
    ``wait`` it returns when the broker has the settle on disk, and raises LeaseLost when the
    message was not held any more.
    """

    __slots__ = ("_calls",)

    def __init__(self, calls: SyncCalls, run: Run, index: int) -> None:
        # Not by super(): this runs once a message.
        self._calls = calls
        self._run = run
        self._index = index

    def ack(self, wait: bool = False) -> None:
        """Done: the message is removed."""
        run = self._run
        calls = self._calls
        if wait:
            calls.settle(ACK, run, self._index, wait)
            return
        ledger = run.ledger
        try:
            with calls.lock:
                gathered = ledger.ack(run, self._index)
                if gathered == 1 or gathered >= ledger.flush_at:
                    calls.gathered(ledger, gathered)
        except LeaseLost as error:
            calls.lease_lost(error, run, self._index, wait)

    def nack(self, delay: float | None = None, charge: bool = True, wait: bool = False) -> None:
        """Failed: back to its place after the queue's backoff, or after ``delay`` seconds.

        ``charge=False`` spends none of its attempts.
        """
        kind = SettleKind("nack", maybe_milliseconds(delay), charge)
        self._calls.settle(kind, self._run, self._index, wait)

    def reject(self, wait: bool = False) -> None:
        """Refused for good."""
        self._calls.settle(REJECT, self._run, self._index, wait)

    def extend(self, lease: float | None = None) -> None:
        """Holds the message for ``lease`` seconds from now (the queue's lease when None)."""
        self._calls.extend(self._run, self._index, lease)

    def __enter__(self) -> Message:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.is_held:
            return
        if error is None:
            self.ack()
        else:
            # Ctrl-C is no failure of the message.
            self.nack(charge=isinstance(error, Exception))


class MessageBatch(BatchView):
    """Messages that are settled together; iterating gives them one by one."""

    __slots__ = ("_calls",)

    def __init__(self, calls: SyncCalls, parts: list[Part]) -> None:
        super().__init__(parts)
        self._calls = calls

    def __iter__(self) -> Iterator[Message]:
        for run, start, stop in self._parts:
            for index in range(start, stop):
                yield Message(self._calls, run, index)

    def ack(self, wait: bool = False) -> None:
        """Done: those that are not settled singly are removed."""
        self._calls.settle_parts(ACK, self._parts, wait)

    def nack(self, delay: float | None = None, charge: bool = True, wait: bool = False) -> None:
        kind = SettleKind("nack", maybe_milliseconds(delay), charge)
        self._calls.settle_parts(kind, self._parts, wait)

    def reject(self, wait: bool = False) -> None:
        self._calls.settle_parts(REJECT, self._parts, wait)
