"""What the sync faces share: calls that end in a value or in a named error.

Owns the waits of queues, messages and confirms.  It never touches the socket itself.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from broker.client.consumer import Consumer
from broker.client.delivery import LOST, Part, Run
from broker.client.ledger import Ledger, SettleKind
from broker.client.options import maybe_milliseconds
from broker.client.outcome import all_done
from broker.client.partitions import rounds
from broker.client.plans import Plan
from broker.client.put_batch import PutBatch
from broker.client.put_queue import PutQueue
from broker.client.requests import Request
from broker.client.routes import Way
from broker.client.session import BYE_S, CLOSE_S, Session
from broker.client.settles import Settle, extend_fields
from broker.client.sync_driver import OnError, SyncDriver, log
from broker.errors import (
    ClientClosed,
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


class SyncCalls(SyncDriver):
    def __init__(
        self, session: Session, on_error: OnError | None, linger_ms: int, request_timeout: float
    ) -> None:
        super().__init__(session, on_error)
        self.linger_ms = linger_ms
        self.request_timeout = request_timeout
        #: How each part that runs beside its callers is closed, before the client is.
        self.closing: dict[Callable[[float], None], None] = {}
        atexit.register(self._at_exit)

    def close(self) -> None:
        super().close()
        atexit.unregister(self._at_exit)

    def end(self, timeout: float) -> None:
        """Flushes, says bye and closes; raises afterwards what was not confirmed."""
        if self.is_closed or self.is_forked:
            return
        try:
            self._close_parts(timeout)
            with self.changing:
                self.session.consumers.leave_all()
                self.session.flush()
                unconfirmed = self.session.unconfirmed
            self.wait(all_done(unconfirmed), timeout)
            with self.changing:
                byes = self.session.say_bye(self.now_ms())
            self.wait(all_done(byes), BYE_S)
        finally:
            self.close()
        self.session.require_confirmed()
        self.raise_ignored()

    def require_open(self) -> None:
        if self.is_closed:
            raise ClientClosed("the client is closed")

    def ask(self, fields: dict[str, Any], waits_s: float = 0.0, way: Way | None = None) -> Any:
        """The answer to one command, which the broker may hold back for ``waits_s`` seconds."""
        with self.changing:
            self.require_open()
            now = self.now_ms()
            until = now + round(waits_s * 1000) if waits_s else None
            request = self.session.requests.ask(fields, now, until, way)
        try:
            self.wait(lambda: request.done, waits_s + self.request_timeout)
        finally:
            # Also when Ctrl-C ended the wait: messages that still come go back.
            if not request.done:
                self.session.requests.abandon(request)
        return self._value(request)

    def seconds(self) -> float:
        """The session's clock, for who counts in seconds."""
        return self.now_ms() / 1000

    def carry_out(self, plan: Plan[T]) -> T:
        """The result of a plan: its commands are asked one after the other."""
        try:
            fields = next(plan)
            while True:
                try:
                    answer = self.ask(fields)
                except MsgQueueError as error:
                    fields = plan.throw(error)
                else:
                    fields = plan.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def get(self, fields: dict[str, Any], timeout: float | None) -> list[Run]:
        """The runs of one get, of whatever partition where the queue has any."""
        partitions = self.session.partitions.find(fields["queue"])
        if partitions is None:
            try:
                return self._get(fields, timeout)
            except Partitioned as error:
                with self.changing:
                    known = self.session.partitions
                    partitions = known.learn(fields["queue"], error, self.now_ms())
        for part, waits_s in rounds(partitions, fields, timeout, self.seconds):
            try:
                runs: list[Run] = self.ask(part, waits_s)
            except QueueNotFound:
                # Deleted, or made anew in another way: the next get asks what it is.
                self.session.partitions.forget(fields["queue"])
                raise
            if runs:
                return runs
        return []

    def _get(self, fields: dict[str, Any], timeout: float | None) -> list[Run]:
        """A time that the broker does not wait at once is cut in parts."""
        ends_at = None if timeout is None else self.seconds() + timeout
        while True:
            rest = GET_S_MAX if ends_at is None else max(ends_at - self.seconds(), 0.0)
            runs: list[Run] = self.ask(fields, min(rest, GET_S_MAX))
            if runs or (rest <= GET_S_MAX and ends_at is not None):
                return runs

    def wait_for_puts(self, batches: list[PutBatch], timeout: float | None) -> None:
        """Until each is confirmed or failed; what is still gathering is sent first."""
        if not all(batch.done for batch in batches):
            with self.changing:
                for batch in batches:
                    batch.waited = True
                    self._send_open(batch)
            try:
                done = self.wait(all_done(batches), timeout)
            finally:
                for batch in batches:
                    batch.waited = batch.done
            if not done:
                raise WaitTimeout("not confirmed in time; the client goes on trying")
        with self.changing:
            for batch in batches:
                self.session.puts.claim(batch)

    def raise_ignored(self) -> None:
        """Raises the oldest error of a put whose confirm nobody waited for."""
        ignored = self.session.puts.ignored
        if ignored:
            ignored.pop(0).value()

    def send_batch(self, queue: PutQueue) -> None:
        """Sends the open batch of ``queue``, which is full."""
        with self.changing:
            queue.close()
            self.turn()

    def gathered(self, ledger: Ledger, gathered: int) -> None:
        """A settle was gathered that begins or fills a command."""
        with self.changing:
            self.require_open()
            if gathered >= ledger.flush_at:
                self.session.settles.flush_ledger(ledger)
                self.turn()
            else:
                self.session.settles.gathered(self.now_ms())
                self.soon(self.linger_ms)

    def settle(self, kind: SettleKind, run: Run, index: int, wait: bool) -> None:
        ledger = run.ledger
        try:
            with self.changing:
                gathered = ledger.settle(kind, run, index)
                settles = self._after_settle(ledger, gathered, wait)
        except LeaseLost as error:
            self.lease_lost(error, run, index, wait)
            return
        position = run.first + index
        self._wait_for_settles(settles)
        for settle in settles:
            if settle.error is not None and settle.has_lost(position):
                raise settle.error

    def settle_parts(self, kind: SettleKind, parts: list[Part], wait: bool) -> None:
        with self.changing:
            settles: list[Settle] = []
            for ledger in dict.fromkeys(run.ledger for run, _, _ in parts):
                own = [part for part in parts if part[0].ledger is ledger]
                ledger.settle_parts(kind, own)
                settles += self._after_settle(ledger, ledger.gathered, wait)
        self._wait_for_settles(settles)
        for settle in settles:
            settle.value()

    def lease_lost(self, error: LeaseLost, run: Run, index: int, wait: bool) -> None:
        """Raises for a caller who waits or errs; a loss by reconnect is told in the background."""
        if wait or run.marks[index] != LOST:
            raise error
        with self.changing:
            self.session.troubles.append(error)
            self.soon(0)

    def extend(self, run: Run, index: int, lease: float | None) -> None:
        asked = (run.first + index, 1, run.attempts)
        fields = extend_fields(run.ledger, [asked], maybe_milliseconds(lease))
        answer = self.ask(fields, way=run.ledger)
        if answer["lost"]:
            with self.changing:
                run.ledger.lose([asked])
            raise LeaseLost("the message is held by somebody else, or settled")

    def take(self, consumer: Consumer, limit: int, timeout: float | None) -> list[Part]:
        """Up to ``limit`` messages; none when ``timeout`` seconds brought nothing."""
        while True:
            with self.changing:
                parts = self.session.consumers.take(consumer, limit, self.now_ms())
                if self.session.wants_turn:
                    self.turn()
                    self.keep_receiving(bool(parts))
            if parts:
                return parts
            if not self.wait(lambda: consumer.has_news, timeout):
                return []

    def leave(self, consumer: Consumer, unseen: Iterable[Part]) -> None:
        if self.is_forked:
            return  # The consumer is the parent's.
        with self.changing:
            if not self.is_closed:
                self.session.consumers.leave(consumer, unseen)
                self.turn()

    def _close_parts(self, timeout: float) -> None:
        for close in list(self.closing):
            try:
                close(timeout)
            except MsgQueueError as error:
                log.warning("closing: %s: %s", error.name, error)

    def _at_exit(self) -> None:
        """At the end of the program: what was put and not yet sent is not lost."""
        try:
            self.end(CLOSE_S)
        except MsgQueueError as error:
            log.warning("closing at exit: %s: %s", error.name, error)

    def _after_settle(self, ledger: Ledger, gathered: int, wait: bool) -> list[Settle]:
        """What to wait for; nothing when nobody waits."""
        if wait:
            self.require_open()
            settles = self.session.settles.flush_ledger(ledger)
            for settle in settles:
                settle.waited = True
            return settles
        if gathered:
            self.gathered(ledger, gathered)
        return []

    def _wait_for_settles(self, settles: list[Settle]) -> None:
        if settles and not self.wait(all_done(settles), self.request_timeout):
            raise ConnectionLost(f"no confirm of the settle in time{self._trouble()}")

    def _send_open(self, batch: PutBatch) -> None:
        queue = self.session.puts.queue(batch.queue)
        if queue.open is batch:
            queue.close()

    def _value(self, request: Request) -> Any:
        if not request.done:
            command = request.fields["cmd"]
            raise ConnectionLost(f"no answer to {command} in time{self._trouble()}")
        return request.value()

    def _trouble(self) -> str:
        trouble = self.session.connection.trouble
        return f" ({trouble})" if trouble and not self.session.is_connected else ""
