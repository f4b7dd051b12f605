"""What the async faces share: calls that end in a value or in a named error.

Owns the waits of queues, messages and confirms.  It never touches the socket itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from broker.client.async_driver import AsyncDriver, OnError, log
from broker.client.consumer import Consumer
from broker.client.delivery import LOST, Part, Run
from broker.client.ledger import Ledger, SettleKind
from broker.client.options import maybe_milliseconds
from broker.client.outcome import Outcome, all_done
from broker.client.partitions import rounds
from broker.client.plans import Plan
from broker.client.put_batch import PutBatch
from broker.client.requests import Request
from broker.client.routes import Way
from broker.client.session import Session
from broker.client.settles import Settle, extend_fields
from broker.errors import (
    ConnectionLost,
    LeaseLost,
    MsgQueueError,
    Partitioned,
    QueueNotFound,
    WaitTimeout,
)
from broker.limits import GET_TIMEOUT_MAX

GET_S_MAX = GET_TIMEOUT_MAX / 1000

T = TypeVar("T")


class AsyncCalls(AsyncDriver):
    def __init__(self, session: Session, on_error: OnError | None, request_timeout: float) -> None:
        super().__init__(session, on_error)
        self.request_timeout = request_timeout
        #: How each part that runs beside its callers is closed, before the client is.
        self.closing: dict[Callable[[float], Awaitable[None]], None] = {}

    async def ask(
        self, fields: dict[str, Any], waits_s: float = 0.0, way: Way | None = None
    ) -> Any:
        """The answer to one command, which the broker may hold back for ``waits_s`` seconds."""
        self.require_open()
        now = self.now_ms()
        until = now + round(waits_s * 1000) if waits_s else None
        request = self.session.requests.ask(fields, now, until, way)
        try:
            await self.wait_for([request], waits_s + self.request_timeout)
        finally:
            # Also when the task was cancelled: messages that still come go back.
            if not request.done:
                self.session.requests.abandon(request)
        return self._value(request)

    def seconds(self) -> float:
        """The session's clock, for who counts in seconds."""
        return self.now_ms() / 1000

    async def carry_out(self, plan: Plan[T]) -> T:
        """The result of a plan: its commands are asked one after the other."""
        try:
            fields = next(plan)
            while True:
                try:
                    answer = await self.ask(fields)
                except MsgQueueError as error:
                    fields = plan.throw(error)
                else:
                    fields = plan.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def get(
        self,
        fields: dict[str, Any],
        timeout: float | None,  # noqa: ASYNC109
    ) -> list[Run]:
        """The runs of one get, of whatever partition where the queue has any."""
        partitions = self.session.partitions.find(fields["queue"])
        if partitions is None:
            try:
                return await self._get(fields, timeout)
            except Partitioned as error:
                known = self.session.partitions
                partitions = known.learn(fields["queue"], error, self.now_ms())
        for part, waits_s in rounds(partitions, fields, timeout, self.seconds):
            try:
                runs: list[Run] = await self.ask(part, waits_s)
            except QueueNotFound:
                # Deleted, or made anew in another way: the next get asks what it is.
                self.session.partitions.forget(fields["queue"])
                raise
            if runs:
                return runs
        return []

    async def _get(
        self,
        fields: dict[str, Any],
        timeout: float | None,  # noqa: ASYNC109
    ) -> list[Run]:
        """A time that the broker does not wait at once is cut in parts."""
        ends_at = None if timeout is None else self.seconds() + timeout
        while True:
            rest = GET_S_MAX if ends_at is None else max(ends_at - self.seconds(), 0.0)
            runs: list[Run] = await self.ask(fields, min(rest, GET_S_MAX))
            if runs or (rest <= GET_S_MAX and ends_at is not None):
                return runs

    async def wait_for(
        self,
        outcomes: Sequence[Outcome],
        timeout: float | None,  # noqa: ASYNC109
    ) -> bool:
        """True when all of them are done in time."""
        ends_at = None if timeout is None else self.seconds() + timeout
        for outcome in outcomes:
            if outcome.done:
                continue
            remaining = None if ends_at is None else max(ends_at - self.seconds(), 0.0)
            if not await self.wait(all_done([outcome]), outcome.waiters, remaining):
                return False
        return True

    async def wait_for_puts(
        self,
        batches: list[PutBatch],
        timeout: float | None,  # noqa: ASYNC109
    ) -> None:
        """Until each is confirmed or failed; what is still gathering is sent first."""
        self.require_open()
        for batch in batches:
            batch.waited = True
            queue = self.session.puts.queue(batch.queue)
            if queue.open is batch:
                queue.close()
        try:
            done = await self.wait_for(batches, timeout)
        finally:
            for batch in batches:
                batch.waited = batch.done
        if not done:
            raise WaitTimeout("not confirmed in time; the client goes on trying")
        for batch in batches:
            self.session.puts.claim(batch)

    def raise_ignored(self) -> None:
        """Raises the oldest error of a put whose confirm nobody waited for."""
        ignored = self.session.puts.ignored
        if ignored:
            ignored.pop(0).value()

    async def settle(self, kind: SettleKind, run: Run, index: int, wait: bool) -> None:
        ledger = run.ledger
        self.require_open()
        try:
            gathered = ledger.settle(kind, run, index)
        except LeaseLost as error:
            self.lease_lost(error, run, index, wait)
            return
        settles = self.after_settle(ledger, gathered, wait)
        position = run.first + index
        await self._wait_for_settles(settles)
        for settle in settles:
            if settle.error is not None and settle.has_lost(position):
                raise settle.error

    def lease_lost(self, error: LeaseLost, run: Run, index: int, wait: bool) -> None:
        """Raises for a caller who waits or errs; a loss by reconnect is told in the background."""
        if wait or run.marks[index] != LOST:
            raise error
        self.session.troubles.append(error)
        self.turn()

    async def settle_parts(self, kind: SettleKind, parts: list[Part], wait: bool) -> None:
        self.require_open()
        settles: list[Settle] = []
        for ledger in dict.fromkeys(run.ledger for run, _, _ in parts):
            ledger.settle_parts(kind, [part for part in parts if part[0].ledger is ledger])
            settles += self.after_settle(ledger, ledger.gathered, wait)
        await self._wait_for_settles(settles)
        for settle in settles:
            settle.value()

    async def extend(self, run: Run, index: int, lease: float | None) -> None:
        asked = (run.first + index, 1, run.attempts)
        fields = extend_fields(run.ledger, [asked], maybe_milliseconds(lease))
        answer = await self.ask(fields, way=run.ledger)
        if answer["lost"]:
            run.ledger.lose([asked])
            raise LeaseLost("the message is held by somebody else, or settled")

    async def take(
        self,
        consumer: Consumer,
        limit: int,
        timeout: float | None,  # noqa: ASYNC109
    ) -> list[Part]:
        """Up to ``limit`` messages; none when ``timeout`` seconds brought nothing."""
        while True:
            parts = self.session.consumers.take(consumer, limit, self.now_ms())
            if self.session.wants_turn:
                self.turn()
            if parts:
                return parts
            if not await self.wait(lambda: consumer.has_news, consumer.waiters, timeout):
                return []

    def leave(self, consumer: Consumer, unseen: Iterable[Part]) -> None:
        if not self.is_closed and not self.is_forked:
            self.session.consumers.leave(consumer, unseen)
            self.turn()

    def after_settle(self, ledger: Ledger, gathered: int, wait: bool = False) -> list[Settle]:
        """What to wait for; nothing when nobody waits."""
        if wait:
            settles = self.session.settles.flush_ledger(ledger)
            for settle in settles:
                settle.waited = True
            return settles
        if gathered >= ledger.flush_at:
            self.session.settles.flush_ledger(ledger)
            self.turn()
        elif gathered:
            self.session.settles.gathered(self.now_ms())
            self.soon()
        return []

    async def _wait_for_settles(self, settles: list[Settle]) -> None:
        if settles and not await self.wait_for(settles, self.request_timeout):
            raise ConnectionLost(f"no confirm of the settle in time{self._trouble()}")

    async def close_parts(self, timeout: float) -> None:  # noqa: ASYNC109
        for close in list(self.closing):
            try:
                await close(timeout)
            except MsgQueueError as error:
                log.warning("closing: %s: %s", error.name, error)

    def _value(self, request: Request) -> Any:
        if not request.done:
            command = request.fields["cmd"]
            raise ConnectionLost(f"no answer to {command} in time{self._trouble()}")
        return request.value()

    def _trouble(self) -> str:
        trouble = self.session.connection.trouble
        return f" ({trouble})" if trouble and not self.session.is_connected else ""
