"""What one client puts to one queue: batches gathered, numbered, sent, and sent again.

Owns the sequence and all that is unconfirmed.  It never waits.  Laws:

- A queue's batches go out in the order of their puts, also after a reconnect, after a refusal
  and at a new owner.
- A batch keeps its sequence until the broker has answered it for good.
- Nothing unconfirmed in the queue: a message goes at once.  Otherwise it gathers until the
  batch is full, all before it is confirmed, or the linger ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.client.put_batch import ELEMENTS_BYTES_MAX, PutBatch, PutSpec
from broker.client.waiters import Waiters
from broker.errors import (
    ConnectionLost,
    MsgQueueError,
    OutcomeUnknown,
    Partitioned,
    ProducerExpired,
    QueueNotFound,
)
from broker.limits import UNCONFIRMED_BATCHES_MAX

if TYPE_CHECKING:
    from broker.client.codec import Reply
    from broker.client.puts import Puts
    from broker.client.spread import Spread

RETRY_MS_MIN = 50
RETRY_MS_MAX = 2_000


class PutQueue:
    """What one client still has to put to one queue."""

    def __init__(self, puts: Puts, name: str, placed_by: str | None = None) -> None:
        self.name = name
        self.open: PutBatch | None = None
        #: Sealed batches without a final answer, by sequence, in order.
        self.unconfirmed: dict[int, PutBatch] = {}
        #: The lowest sequence that is unconfirmed; the next one where none is.
        self._oldest_seq = 0
        #: Called once each when a batch has got its final answer: there may be room.
        self.waiters = Waiters()
        #: A channel's is placed by its own name, which is not that of its queue here.
        self.route = puts.routes.find(placed_by or name)
        self._puts = puts
        self._next_seq = 0
        #: Those of the unconfirmed that wait to be sent (again), in order.
        self._unsent: list[PutBatch] = []
        self._in_flight = 0
        self._sendings = 0
        #: True once a batch was confirmed: the queue then knows this producer.
        self._is_known = False
        #: After a refusal one batch at a time asks whether the broker takes puts again.
        self._probing = False
        self._retry_at: int | None = None
        self._retry_ms = RETRY_MS_MIN
        #: Where a queue is spread over others: what sends its batches to them.
        self.spread: Spread | None = None
        #: Of such a partition: the queue that it is part of.
        self.whole: PutQueue | None = None

    @property
    def is_idle(self) -> bool:
        return not self.unconfirmed and self.open is None

    @property
    def has_room(self) -> bool:
        if self.spread is not None:
            return self.spread.has_room
        # The broker remembers so many sequences: none may fall further behind the newest.
        # Asked without the lock, so it looks at numbers and never into the dictionary.
        return (
            self._next_seq - self._oldest_seq < UNCONFIRMED_BATCHES_MAX
            and self._puts.unconfirmed_bytes < self._puts.options.bytes_max
        )

    @property
    def linger_ends_at(self) -> int | None:
        return None if self.open is None else self.open.created_at + self._puts.options.linger_ms

    def begin(self, spec: PutSpec, size: int, now: int) -> PutBatch:
        """Opens a batch for a message of ``size``, after closing the one that is open."""
        self.close()
        full_at = 1
        if self._is_under_way and size <= ELEMENTS_BYTES_MAX:
            full_at = self._puts.options.batch_count
            if spec.columns:
                full_at = min(full_at, spec.count_max)
        batch = self.open = PutBatch(self.name, spec, full_at, now)
        self._puts.busy(self)
        if full_at > 1:
            self._puts.gather(self)
        return batch

    @property
    def _is_under_way(self) -> bool:
        return bool(self.unconfirmed) or (self.spread is not None and self.spread.is_under_way)

    def close(self) -> None:
        """Seals and sends the open batch.

        It stays open until that is done: when Ctrl-C strikes midway, the next call goes on.
        """
        batch = self.open
        if batch is not None:
            if batch.elements or batch.is_sealed:
                self.add(batch)
            self.open = None

    def add(self, batch: PutBatch) -> None:
        """Takes a batch that is complete."""
        if self.spread is not None:
            self.spread.take(batch)
            return
        batch.seal()
        self._puts.busy(self)
        if batch.seq < 0:
            # No call comes between these, and so no Ctrl-C.
            batch.seq = self._next_seq
            self._next_seq += 1
            self.unconfirmed[batch.seq] = batch
            self._puts.unconfirmed_bytes += batch.body_bytes
            self._unsent.append(batch)
        self._send()

    def resend(self) -> None:
        self.doubt()
        self._unsent = list(self.unconfirmed.values())
        self._probing = False
        self._retry_at = None
        self._puts.counters.batches_resent += sum(b.maybe_taken for b in self._unsent)
        self._send()

    def doubt(self, seq: int = 0) -> list[PutBatch]:
        """No answer will tell of what is under way from ``seq`` on; gives these batches."""
        doubtful = [b for b in self.unconfirmed.values() if b.sending and b.seq >= seq]
        for batch in doubtful:
            batch.maybe_taken = True
            batch.sending = 0
        self._in_flight -= len(doubtful)
        return doubtful

    def tick(self, now: int) -> None:
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            self._send()
        timeout_ms = self._puts.options.timeout_ms
        if timeout_ms is None:
            return
        for batch in list(self.unconfirmed.values()):
            if batch.created_at + timeout_ms > now:
                break
            self._give_up(batch)

    def next_at(self) -> int | None:
        timeout_ms = self._puts.options.timeout_ms
        if timeout_ms is None or not self.unconfirmed:
            return self._retry_at
        oldest = next(iter(self.unconfirmed.values()))
        ends_at = oldest.created_at + timeout_ms
        return ends_at if self._retry_at is None else min(ends_at, self._retry_at)

    @property
    def _may_send(self) -> bool:
        return self.route.exchange.ready and self._retry_at is None

    def _send(self) -> None:
        if not self._may_send:
            return
        exchange = self.route.exchange
        while self._unsent and not (self._probing and self._in_flight):
            batch = self._unsent.pop(0)
            self._in_flight += 1
            self._sendings += 1
            batch.sending = self._sendings
            answer = _Answer(self, batch, batch.sending)
            exchange.ask(self._fields(batch), answer, *batch.frames)

    def _fields(self, batch: PutBatch) -> dict[str, Any]:
        fields = {
            "cmd": "put",
            "queue": self.name,
            "count": batch.count,
            "producer": self._puts.producer,
            "seq": batch.seq,
        }
        if not self._is_known and self.whole is None:
            # Where it is spread over several, this refuses what belongs to one of them.
            fields["partitions"] = 1
        fields.update(batch.spec.fields)
        return fields

    def answered(self, batch: PutBatch, sending: int, reply: Reply, now: int) -> None:
        if batch.sending != sending or self.spread is not None:
            return  # It was given up, or goes out again; its newer sending will be answered.
        self._in_flight -= 1
        batch.sending = 0
        error = reply.error()
        if error is None:
            self._confirmed(batch, reply)
        elif isinstance(error, OutcomeUnknown):
            self._unknown(batch, error, now)
        elif isinstance(error, Partitioned):
            self._puts.spread(self, error, now)
        elif error.name in self._puts.options.retried or self._is_unborn(error):
            self._refused(batch, error, now)
        elif isinstance(error, QueueNotFound) and self.whole is not None:
            self._return(batch, self.whole)
        elif isinstance(error, ProducerExpired):
            self._forgotten(batch, error, now)
        else:
            self._finish(batch, error)
        self._go_on()

    def _confirmed(self, batch: PutBatch, reply: Reply) -> None:
        counters = self._puts.counters
        counters.puts_confirmed += batch.count
        counters.batches_duplicate += bool(reply.header.get("duplicate", False))
        self._retry_ms = RETRY_MS_MIN
        if self._probing:
            self._probing = False
            self._retry_at = None
        self._is_known = True
        self._remove(batch)
        batch.finish(reply.header)

    def _unknown(self, batch: PutBatch, error: MsgQueueError, now: int) -> None:
        """As if the connection had been lost, for it and all behind it."""
        batch.maybe_taken = True
        self._unsent += self.doubt(batch.seq)
        self._refused(batch, error, now)

    def _refused(self, batch: PutBatch, error: MsgQueueError, now: int) -> None:
        """Not now: ask again after a pause, with the first of those that wait."""
        batch.refusal = error
        self._requeue(batch)
        if self._retry_at is None:
            self._retry_at = now + self._retry_ms
            self._retry_ms = min(self._retry_ms * 2, RETRY_MS_MAX)
        self._probing = True

    def _forgotten(self, batch: PutBatch, error: MsgQueueError, now: int) -> None:
        """The queue does not know this producer: it was made anew, or refused the first batch.

        None of what it refuses so was taken, so the rest is numbered from 0.  But what a queue
        that did know it may have taken on a lost connection is not put under another number.
        """
        if self._unsent and self._unsent[0].seq < batch.seq:
            self._refused(batch, error, now)
            return
        if batch.seq == 0:
            self._finish(batch, error)
            return
        for doubtful in [b for b in self.unconfirmed.values() if b.maybe_taken]:
            if self._is_known:
                self._finish(doubtful, error)
        self._is_known = False
        rest = list(self.unconfirmed.values())
        self.unconfirmed.clear()
        for seq, waiting in enumerate(rest):
            waiting.seq = seq
            self.unconfirmed[seq] = waiting
            waiting.sending = 0
        self._next_seq = len(rest)
        self._oldest_seq = 0
        self._unsent = rest
        self._in_flight = 0

    def begin_anew(self) -> None:
        """What is known of the queue was of an earlier one with its name."""
        self.spread = None
        self._is_known = False

    def _is_unborn(self, error: MsgQueueError) -> bool:
        """Whether the queue is a partition that is still being declared."""
        return isinstance(error, QueueNotFound) and self._puts.is_being_declared(self.name)

    def spread_over(self, spread: Spread) -> None:
        """Nothing was taken here, and from now on the partitions get all."""
        self.spread = spread
        moved = list(self.unconfirmed.values())
        self.unconfirmed.clear()
        self._unsent.clear()
        self._oldest_seq = self._next_seq
        self._in_flight = 0
        self._retry_at = None
        for batch in moved:
            self._puts.unconfirmed_bytes -= batch.body_bytes
            batch.reopen()
            spread.take(batch)

    def _return(self, batch: PutBatch, whole: PutQueue) -> None:
        """The partition was deleted: the batch goes to the whole, whatever that is by now."""
        del self.unconfirmed[batch.seq]
        self._oldest_seq = next(iter(self.unconfirmed), self._next_seq)
        self._puts.unconfirmed_bytes -= batch.body_bytes
        batch.reopen()
        batch.queue = whole.name
        self._puts.forget_partitions(whole)
        whole.add(batch)

    def _give_up(self, batch: PutBatch) -> None:
        cause = f": {batch.refusal.name}" if batch.refusal is not None else ""
        unsure = batch.sending > 0 or batch.maybe_taken
        if batch.sending:
            self._in_flight -= 1
        elif batch in self._unsent:
            self._unsent.remove(batch)
        text = "it may or may not have been taken" if unsure else "it was not taken"
        refusal = None if unsure else batch.refusal
        self._finish(batch, refusal or ConnectionLost(f"no confirm in time{cause}; {text}"))
        self._send()

    def _finish(self, batch: PutBatch, error: MsgQueueError) -> None:
        self._remove(batch)
        batch.finish(error=error)
        self._puts.failed(batch)

    def _remove(self, batch: PutBatch) -> None:
        batch.sending = 0
        self.unconfirmed.pop(batch.seq, None)
        self._oldest_seq = next(iter(self.unconfirmed), self._next_seq)
        self._puts.unconfirmed_bytes -= batch.body_bytes
        batch.frames = ()
        self.waiters.tell()
        if self.whole is not None:
            self.whole.waiters.tell()

    def _requeue(self, batch: PutBatch) -> None:
        self._unsent.append(batch)
        self._unsent.sort(key=lambda waiting: waiting.seq)

    def _go_on(self) -> None:
        self._send()
        if not self._is_under_way:
            self.close()
        if self.whole is not None:
            self.whole.send_what_gathered()

    def send_what_gathered(self) -> None:
        """Of the whole: when nothing of it is under way, nothing is waited for."""
        if not self._is_under_way:
            self.close()


class _Answer:
    """The handler of one sending; its number tells it from the others of its batch."""

    __slots__ = ("batch", "queue", "sending")

    def __init__(self, queue: PutQueue, batch: PutBatch, sending: int) -> None:
        self.queue = queue
        self.batch = batch
        self.sending = sending

    def __call__(self, reply: Reply, now: int) -> None:
        self.queue.answered(self.batch, self.sending, reply, now)
