"""All queues that one client puts to: their options, their linger, their bound in bytes.

Owns the errors of puts that nobody waits for.  It never numbers a batch: each queue does.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from broker.client.channels.publishing import PublishQueue
from broker.client.named_puts import NamedProducer, NamedPutQueue
from broker.client.put_batch import PutBatch
from broker.client.put_queue import PutQueue
from broker.client.spread import Spread
from broker.errors import (
    LimitReached,
    MsgQueueError,
    NotEnoughReplicas,
    NotPrimary,
    Partitioned,
    ResourceAlarm,
    ShuttingDown,
)

if TYPE_CHECKING:
    from broker.client.counters import Counters
    from broker.client.exchange import Exchange
    from broker.client.partitions import KnownPartitions
    from broker.client.routes import Route, Routes

#: Refusals after which the same batch is sent again without asking.
RETRIED: frozenset[str] = frozenset(
    error.name for error in (ResourceAlarm, LimitReached, ShuttingDown, NotPrimary)
) | {NotEnoughReplicas.name}


class PutOptions:
    """How a client puts; the same for all its queues."""

    __slots__ = ("batch_count", "bytes_max", "linger_ms", "retried", "timeout_ms")

    def __init__(
        self,
        batch_count: int,
        bytes_max: int,
        linger_ms: int,
        timeout_ms: int | None,
        retried: Collection[str] = (),
    ) -> None:
        self.batch_count = batch_count
        self.linger_ms = linger_ms
        #: Unconfirmed bytes of the whole client.
        self.bytes_max = bytes_max
        #: How long one batch is tried; None is for ever.
        self.timeout_ms = timeout_ms
        self.retried = RETRIED.union(retried)


class Puts:
    """All queues that this client puts to."""

    def __init__(
        self,
        routes: Routes,
        counters: Counters,
        options: PutOptions,
        partitions: KnownPartitions,
        producer: bytes,
        troubles: list[MsgQueueError] | None = None,
        named: NamedProducer | None = None,
    ) -> None:
        self.routes = routes
        self.counters = counters
        self.options = options
        self._partitions = partitions
        self.producer = producer if named is None else named.name
        #: Under which channels are published to, whatever the client is called.
        self.unnamed_producer = producer
        self._named = named
        self._troubles = troubles
        self.unconfirmed_bytes = 0
        #: Batches that failed while nobody waited for them.
        self.ignored: list[PutBatch] = []
        self._queues: dict[str, PutQueue] = {}
        #: Those of them that have anything to put.
        self._busy: dict[str, PutQueue] = {}
        #: Queues that opened a batch of several, to be closed when the linger ends.
        self._gathering: dict[str, PutQueue] = {}

    def queue(self, name: str) -> PutQueue:
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = self._make_queue(name)
        return queue

    def channel(self, name: str) -> PublishQueue:
        """What this client publishes to the channel."""
        queue = PublishQueue(self, name)
        found = self._queues.setdefault(queue.name, queue)
        assert isinstance(found, PublishQueue)
        return found

    def _make_queue(self, name: str) -> PutQueue:
        named = self._named
        return PutQueue(self, name) if named is None else NamedPutQueue(self, name, named)

    def spread(self, queue: PutQueue, error: Partitioned, now: int) -> None:
        """What was put to ``queue`` belongs to its partitions."""
        if queue.spread is None:
            queue.spread_over(Spread(self, queue, self._partitions.learn(queue.name, error, now)))

    def forget_partitions(self, queue: PutQueue) -> None:
        """They are gone: the next batch asks anew what the queue is."""
        self._partitions.forget(queue.name)
        queue.begin_anew()

    def is_being_declared(self, queue: str) -> bool:
        return self._partitions.is_being_declared(queue)

    def gather(self, queue: PutQueue) -> None:
        self._gathering[queue.name] = queue

    @property
    def unconfirmed(self) -> list[PutBatch]:
        """The batches on their way, those that still gather not included."""
        return [batch for queue in self._busy.values() for batch in queue.unconfirmed.values()]

    def busy(self, queue: PutQueue) -> None:
        self._busy[queue.name] = queue

    def flush(self) -> None:
        """Sends every open batch."""
        gathering, self._gathering = self._gathering, {}
        for queue in gathering.values():
            queue.close()

    def resume(self, routes: set[Route]) -> None:
        """These queues begin anew: everything unconfirmed, in order."""
        for queue in self._busy.values():
            if queue.route in routes:
                queue.resend()

    def connection_lost(self, exchange: Exchange) -> None:
        for queue in self._busy.values():
            if queue.route.exchange is exchange:
                queue.doubt()

    def tick(self, now: int) -> None:
        for queue in list(self._gathering.values()):
            if queue.linger_ends_at is None or queue.linger_ends_at <= now:
                del self._gathering[queue.name]
                queue.close()
        for queue in list(self._busy.values()):
            queue.tick(now)
            if queue.is_idle:
                del self._busy[queue.name]

    def next_at(self) -> int | None:
        instants = [queue.linger_ends_at for queue in self._gathering.values()]
        instants += [queue.next_at() for queue in self._busy.values()]
        return min((at for at in instants if at is not None), default=None)

    def claim(self, batch: PutBatch) -> None:
        """Somebody waits for ``batch`` and will be told of its error."""
        batch.waited = True
        if batch in self.ignored:
            self.ignored.remove(batch)

    def failed(self, batch: PutBatch) -> None:
        self.counters.puts_failed += batch.count
        self.tell_failure(batch)

    def tell_failure(self, batch: PutBatch) -> None:
        """To the application, unless somebody waits for the batch."""
        if batch.waited or batch.error is None:
            return
        if self._troubles is not None:
            self._troubles.append(batch.error)
        else:
            self.ignored.append(batch)
