"""The consuming side of a session: deliveries prefetched under credit, taken in parts.

Owns each consumer's prefetched messages.  It never decodes a body and never waits.  Laws:

- A delivery for a consumer that is gone, or that moved to another line, is given back at once.
- Settles and credit travel together: before the prefetched run dry, or half a window at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from broker.client.consumer import NO_PREFERENCE, Consumer, Preference
from broker.client.copies import Copies
from broker.client.delivery import TAKEN, Part, Run, cut, read_runs
from broker.client.merged import of_members, take_in_turn
from broker.errors import (
    NotPrimary,
    OutcomeUnknown,
    Partitioned,
    QueueDeleted,
    QueueNotFound,
    ShuttingDown,
)

if TYPE_CHECKING:
    from broker.client.codec import Reply
    from broker.client.counters import Counters
    from broker.client.credit import CreditWindow
    from broker.client.exchange import Exchange
    from broker.client.ledger import Ledger
    from broker.client.partitions import KnownPartitions, Partitions
    from broker.client.routes import Route, Routes
    from broker.client.settles import Settle, Settles
    from broker.errors import MsgQueueError

RETRY_MS = 500
#: The owner could not: the consumer begins anew there or elsewhere.
_PASSING = (NotPrimary, OutcomeUnknown, ShuttingDown)


class Consumers:
    def __init__(
        self, routes: Routes, settles: Settles, counters: Counters, partitions: KnownPartitions
    ) -> None:
        self._routes = routes
        self._partitions = partitions
        self._settles = settles
        self._counters = counters
        self._consumers: dict[int, Consumer] = {}
        self._next_number = 1
        self._retry_at: int | None = None
        self._copies = Copies(settles, counters)
        self._sift_at: int | None = None
        settles.take_credit = self._take_credit
        settles.leases_lost = self._leases_lost
        settles.credit_refused = self._ridden_credit_refused
        settles.copied_settled = self._copied_settled

    def add(
        self,
        queue: str,
        window: CreditWindow,
        lease_ms: int | None,
        auto_ack: bool,
        concurrency: int,
        preference: Preference = NO_PREFERENCE,
    ) -> Consumer:
        number = self._next_number
        self._next_number += 1
        route = self._routes.find(queue)
        consumer = Consumer(number, route, window, lease_ms, auto_ack, concurrency, preference)
        self._consumers[number] = consumer
        self._begin(consumer)
        return consumer

    def resume(self, routes: set[Route], now: int) -> None:
        """These queues begin anew: consume there, with the same numbers and fresh credit."""
        for consumer in [c for c in self._consumers.values() if c.route in routes]:
            if consumer.is_leaving:
                del self._consumers[consumer.number]
            else:
                self._consume(consumer, now)

    def connection_lost(self, exchange: Exchange) -> None:
        for consumer in self._consumers.values():
            if consumer.exchange is exchange:
                consumer.exchange = None
                if consumer.is_moving and not consumer.is_leaving:
                    self._begin(consumer)

    def delivered(self, reply: Reply, exchange: Exchange) -> None:
        number: int = reply.header["consumer"]
        consumer = self._consumers.get(number)
        lease_ms = consumer.lease_ms if consumer else None
        route = self._routes.find(reply.header["queue"])
        ledger = self._settles.ledger(route, exchange, reply.header["tag"], number, lease_ms)
        runs = read_runs(reply, ledger)
        if consumer is None or consumer.exchange is not exchange:
            self._turn_away(consumer, ledger, runs)
            return
        for run in runs:
            self._prefetch(consumer, ledger, run)
        if ledger.older and not consumer.auto_ack:
            self._copies.watch(consumer)
        ledger.flush_at = max(consumer.window.size // 2, 1)
        if consumer.is_leaving:
            self._put_back_all(consumer)
        consumer.waiters.tell()

    def cancelled(self, reply: Reply, exchange: Exchange, now: int) -> None:
        consumer = self._consumers.get(reply.header["consumer"])
        if consumer is None or consumer.exchange is not exchange:
            return
        consumer.exchange = None
        error = reply.error()
        if isinstance(error, _PASSING):
            self._consume_later(now)
            return
        del self._consumers[consumer.number]
        consumer.fail(error or QueueDeleted("the consumer was cancelled"))

    def credit_refused(self, number: object, error: MsgQueueError, now: int) -> bool:
        """False for credit that crossed with the end of its consumer: nobody misses it."""
        consumer = self._consumers.get(number) if isinstance(number, int) else None
        if consumer is None:
            return False
        if isinstance(error, _PASSING):
            consumer.is_starving = True
            self._consume_later(now)
            return False
        return True

    def take(self, consumer: Consumer, limit: int, now: int) -> list[Part]:
        """Up to ``limit`` prefetched messages, which are then in hand; raises what ended it."""
        if consumer.members:
            return take_in_turn(consumer, lambda member: self.take(member, limit, now))
        if consumer.has_copies:
            self._copies.sift(consumer)
        if not consumer.prefetched:
            self._flush(consumer)
        excess = consumer.window.adapt(now)
        if excess:
            self._put_back(consumer, cut(consumer.prefetched, excess, at_end=True))
        parts = cut(consumer.prefetched, limit)
        for run, start, stop in parts:
            consumer.window.taken(stop - start, run.bytes_between(start, stop), now)
            if consumer.auto_ack:
                consumer.window.settled(stop - start)
        if not parts:
            if consumer.error is not None:
                raise consumer.error
            consumer.window.waits(now)
        if consumer.window.is_worth_a_grant:
            self._flush(consumer)
            self._grant(consumer)
        return parts

    def leave(self, consumer: Consumer, unseen: Iterable[Part] = ()) -> None:
        """No more deliveries; what nobody looked at goes back free.  Held messages stay held."""
        if consumer.is_leaving:
            return
        consumer.is_leaving = True
        if consumer.members:
            for member, own in of_members(consumer, unseen):
                self.leave(member, own)
            return
        for run, start, stop in unseen:
            consumer.window.in_hand -= stop - start
            consumer.prefetched.append((run, start, stop))
            size = run.bytes_between(start, stop)
            consumer.window.given_back(start - stop, -size)
        self._flush(consumer)
        self._put_back_all(consumer)
        if consumer.exchange is None or consumer.error is not None:
            self._consumers.pop(consumer.number, None)
            return

        def answered(_reply: Reply, _now: int) -> None:
            self._consumers.pop(consumer.number, None)

        consumer.exchange.ask({"cmd": "cancel", "consumer": consumer.number}, answered)

    def settled(self, ledger: Ledger, messages: int) -> None:
        """A transaction has settled so many, and no credit rode on it."""
        consumer = self._consumers.get(ledger.consumer) if ledger.consumer is not None else None
        if consumer is not None:
            consumer.window.settled(messages)
            if not consumer.is_leaving:
                self._grant(consumer)

    def leave_all(self) -> None:
        for consumer in list(self._consumers.values()):
            self.leave(consumer)

    def tick(self, now: int) -> None:
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            for consumer in self._consumers.values():
                if not consumer.is_settled and not consumer.is_leaving:
                    self._consume(consumer, now)
        if not self._copies:
            self._sift_at = None
        elif self._sift_at is None:
            self._sift_at = now + RETRY_MS
        elif now >= self._sift_at:
            self._sift_at = now + RETRY_MS  # Older deliveries may also end without a settle.
            for consumer in self._copies:
                self._copies.sift(consumer)
                self._copies_changed(consumer)

    def next_at(self) -> int | None:
        instants = [at for at in (self._retry_at, self._sift_at) if at is not None]
        return min(instants, default=None)

    def _consume(self, consumer: Consumer, now: int) -> None:
        """Consumes on the queue's present line; where it did so before, it ends first.

        A broker keeps its clients' consumers over a change of owner.  What is on the way on a line
        that it leaves must not be overtaken: so the end there is waited for, though not for long.
        """
        exchange = consumer.exchange
        if consumer.is_settled and exchange is consumer.route.exchange:
            return
        if exchange is None or consumer.is_moving:
            self._begin(consumer)
            return

        def ended(_reply: Reply, _now: int) -> None:
            if consumer.is_moving and consumer.exchange is exchange and not consumer.is_leaving:
                self._begin(consumer)

        exchange.ask({"cmd": "cancel", "consumer": consumer.number}, ended)
        if exchange is consumer.route.exchange:
            self._begin(consumer)
        else:
            consumer.is_moving = True
            self._consume_later(now)

    def _begin(self, consumer: Consumer) -> None:
        consumer.window.void()
        consumer.is_starving = consumer.is_moving = False
        exchange = consumer.route.exchange
        consumer.exchange = exchange if exchange.ready else None
        if not exchange.ready:
            return  # It begins with its queue, when the line is there.

        def answered(reply: Reply, now: int) -> None:
            error = reply.error()
            if error is None or consumer.exchange is not exchange:
                return
            consumer.exchange = None
            if isinstance(error, _PASSING) or (
                isinstance(error, QueueNotFound)
                and self._partitions.is_being_declared(consumer.queue)
            ):
                consumer.window.void()
                self._consume_later(now)
            elif isinstance(error, Partitioned):
                self._divide(consumer, self._partitions.learn(consumer.queue, error, now))
            else:
                self._consumers.pop(consumer.number, None)
                consumer.fail(error)

        exchange.ask(consumer.command(), answered)

    def _divide(self, consumer: Consumer, partitions: Partitions) -> None:
        """The queue is spread over others: one consumer of each takes this one's place."""
        del self._consumers[consumer.number]
        if consumer.is_leaving:
            return
        for name in partitions.names:
            member = self.add(
                name,
                consumer.window.share(partitions.count),
                consumer.lease_ms,
                consumer.auto_ack,
                consumer.concurrency,
                consumer.preference,
            )
            member.waiters = consumer.waiters
            consumer.members.append(member)

    def _consume_later(self, now: int) -> None:
        self._retry_at = self._retry_at or now + RETRY_MS

    def _turn_away(self, consumer: Consumer | None, ledger: Ledger, runs: list[Run]) -> None:
        """What comes for nobody goes back; that of an auto-ack consumer is gone already."""
        if consumer is not None and consumer.auto_ack:
            self._counters.messages_unseen += sum(run.count for run in runs)
        else:
            self._settles.give_back(ledger, [held for run in runs for held in run.held()])

    def _prefetch(self, consumer: Consumer, ledger: Ledger, run: Run) -> None:
        self._counters.messages_delivered += run.count
        if consumer.auto_ack:
            run.marks[:] = bytes((TAKEN,)) * run.count
        else:
            ledger.runs.add(run)
        consumer.window.delivered(run.count, run.size)
        consumer.prefetched.append((run, 0, run.count))

    def _flush(self, consumer: Consumer) -> None:
        for ledger in list(self._settles.of_consumer(consumer.number)):
            ledger.flush_at = max(consumer.window.size // 2, 1)
            if ledger.gathered:
                self._settles.flush_ledger(ledger)

    def _grant(self, consumer: Consumer) -> None:
        """Credit that found no settle to ride on."""
        exchange = consumer.exchange
        if exchange is None or consumer.is_moving or not consumer.window.is_worth_a_grant:
            return
        grant = consumer.window.grant()
        exchange.tell(
            {
                "cmd": "credit",
                "consumer": consumer.number,
                "messages": grant.messages,
                "bytes": grant.bytes,
            }
        )

    def _take_credit(self, ledger: Ledger) -> dict[str, Any]:
        consumer = self._consumers.get(ledger.consumer) if ledger.consumer is not None else None
        if consumer is None:
            return {}
        consumer.window.settled(ledger.gathered)
        if consumer.is_leaving or consumer.is_moving or consumer.exchange is not ledger.exchange:
            return {}
        grant = consumer.window.grant()
        if not grant:
            return {}
        return {
            "consumer": consumer.number,
            "credit": grant.messages,
            "credit_bytes": grant.bytes,
        }

    def _leases_lost(self, ledger: Ledger, messages: int) -> None:
        consumer = self._consumers.get(ledger.consumer) if ledger.consumer is not None else None
        if consumer is not None:
            consumer.window.lost(messages)

    def _ridden_credit_refused(self, ledger: Ledger, now: int) -> None:
        """The settle is sent again, its credit is not: the consumer begins anew with all of it."""
        consumer = self._consumers.get(ledger.consumer) if ledger.consumer is not None else None
        if consumer is not None and consumer.exchange is ledger.exchange:
            consumer.is_starving = True
            self._consume_later(now)

    def _copied_settled(self, settle: Settle) -> None:
        concerned = list(self._copies)
        self._copies.settled(settle)
        for consumer in concerned:
            self._copies_changed(consumer)

    def _copies_changed(self, consumer: Consumer) -> None:
        if consumer.is_leaving:
            self._put_back_all(consumer)
            return
        self._grant(consumer)
        if consumer.has_news:
            consumer.waiters.tell()

    def _put_back_all(self, consumer: Consumer) -> None:
        """But for copies whose older delivery is held: to return them would end that, too."""
        if consumer.has_copies:
            self._copies.sift(consumer)
        self._put_back(consumer, consumer.prefetched)

    def _put_back(self, consumer: Consumer, parts: Iterable[Part]) -> None:
        """Returns prefetched messages; those of an auto-ack consumer are gone already."""
        for run, start, stop in list(parts):
            consumer.window.given_back(stop - start, run.bytes_between(start, stop))
            if consumer.auto_ack:
                self._counters.messages_unseen += stop - start
                continue
            held = list(run.held(start, stop))
            self._settles.give_back(run.ledger, held)
            for first, count, _ in held:
                run.lose(first, count)
        if parts is consumer.prefetched:
            consumer.prefetched.clear()
