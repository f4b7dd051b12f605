"""Transactions on their way: held messages that are settled and puts, together or not at all.

Owns the numbers of transactions, which count for each slot.  It never waits.  Laws:

- A transaction keeps its number until the broker has answered it for good, so that it happens
  once, however often it is sent.
- Its messages stay held until then: after a reconnect they are first taken again.
- A number that the slot does not know any more is no harm: what was settled under it is held by
  nobody, so that the same transaction under another number is refused.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from broker.client.codec import encode_value
from broker.client.delivery import HELD, Part
from broker.client.ledger import ACK, Ledger, merge
from broker.client.outcome import Outcome
from broker.client.settles import RETRY_MS, Settle
from broker.errors import (
    BadField,
    LeaseLost,
    LimitReached,
    MsgQueueError,
    OutcomeUnknown,
    ProducerExpired,
    TooLarge,
    TransactionSpansSlots,
)
from broker.limits import (
    BATCH_BYTES_MAX,
    RANGES_MAX,
    TRANSACTION_PUTS_MAX,
    UNCONFIRMED_BATCHES_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.client.codec import Reply
    from broker.client.consumers import Consumers
    from broker.client.counters import Counters
    from broker.client.delivery import Range
    from broker.client.exchange import Exchange
    from broker.client.put_batch import PutBatch
    from broker.client.routes import Route
    from broker.client.settles import Settles

    Draw = Callable[[int], bytes]

PRODUCER_BYTES = 16


class _Numbers:
    """Under which producer id and sequence the next transaction of one slot goes."""

    __slots__ = ("next_seq", "producer")

    def __init__(self, producer: bytes) -> None:
        self.producer = producer
        self.next_seq = 0


class Transaction(Outcome):
    """``settled`` is what it settles: (ledger, parts, ranges), one for each delivery tag."""

    __slots__ = (
        "again",
        "exchange",
        "frame",
        "producer",
        "puts",
        "sendings",
        "seq",
        "settled",
        "waited",
    )

    def __init__(
        self, settled: list[tuple[Ledger, list[Part], list[Range]]], batches: list[PutBatch]
    ) -> None:
        super().__init__()
        self.settled = settled
        self.puts = [
            {"queue": batch.queue, "count": batch.count, **dict(batch.spec.fields)}
            for batch in batches
        ]
        frames = [batch.frames for batch in batches]
        self.frame = encode_value([each if len(each) == 2 else (b"", *each) for each in frames])
        self.producer = b""
        self.seq = -1
        #: Where it was sent last, and how often in all.
        self.exchange: Exchange | None = None
        self.sendings = 0
        #: True once it was sent where it may have happened without an answer.
        self.again = False
        #: True while somebody waits for it: its error is theirs and needs no other way out.
        self.waited = False

    @property
    def ledger(self) -> Ledger:
        """The one that leads to where it is sent."""
        return self.settled[0][0]

    @property
    def slot(self) -> bytes:
        return self.ledger.tag[:2]


class Transactions:
    def __init__(
        self,
        settles: Settles,
        consumers: Consumers,
        counters: Counters,
        troubles: list[MsgQueueError],
        draw: Draw,
    ) -> None:
        #: What is not answered for good, in the order of its numbers.
        self.unconfirmed: dict[Transaction, None] = {}
        self._settles = settles
        self._consumers = consumers
        self._counters = counters
        self._troubles = troubles
        self._draw = draw
        self._numbers: dict[bytes, _Numbers] = {}
        self._refused: list[Transaction] = []
        self._retry_at: int | None = None

    def begin(self, parts: list[Part], batches: list[PutBatch]) -> Transaction:
        """Sends it.  Raises what can be known here; then nothing was sent."""
        transaction = Transaction(_settled(parts), _sealed(batches))
        _require_sound(transaction)
        under_way = sum(other.slot == transaction.slot for other in self.unconfirmed)
        if under_way >= UNCONFIRMED_BATCHES_MAX:
            raise LimitReached(f"at most {UNCONFIRMED_BATCHES_MAX} transactions under way")
        self._number(transaction)
        if transaction.ledger.exchange.ready:
            self._send(transaction)
        return transaction

    def resume(self, routes: set[Route]) -> None:
        """These queues begin anew: sends again what they have not answered."""
        for transaction in list(self.unconfirmed):
            ledger = transaction.ledger
            if ledger.route in routes and ledger.exchange.ready:
                self._send_again(transaction)

    def connection_lost(self, exchange: Exchange) -> None:
        """What was sent there is in doubt; what is held elsewhere by now goes there at once."""
        for transaction in list(self.unconfirmed):
            if transaction.exchange is exchange:
                transaction.again = True
                present = transaction.ledger.exchange
                if present is not exchange and present.ready:
                    self._send_again(transaction)

    def tick(self, now: int) -> None:
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            refused, self._refused = self._refused, []
            for transaction in refused:
                if transaction.ledger.exchange.ready:
                    self._send(transaction)

    def next_at(self) -> int | None:
        return self._retry_at

    def _number(self, transaction: Transaction) -> None:
        numbers = self._numbers.get(transaction.slot)
        if numbers is None or numbers.producer == transaction.producer:
            numbers = _Numbers(self._draw(PRODUCER_BYTES))
            self._numbers[transaction.slot] = numbers
        transaction.producer, transaction.seq = numbers.producer, numbers.next_seq
        numbers.next_seq += 1
        # At the end: what has the lower number is sent first.
        self.unconfirmed.pop(transaction, None)
        self.unconfirmed[transaction] = None

    def _send_again(self, transaction: Transaction) -> None:
        transaction.again = transaction.again or transaction.sendings > 0
        if transaction in self._refused:
            self._refused.remove(transaction)
        self._send(transaction)

    def _send(self, transaction: Transaction) -> None:
        transaction.sendings += 1
        sending = transaction.sendings
        transaction.exchange = transaction.ledger.exchange
        settles = [
            {"queue": ledger.queue, "tag": ledger.tag, "ranges": ranges}
            for ledger, _, ranges in transaction.settled
        ]
        fields: dict[str, Any] = {
            "cmd": "transact",
            "settles": settles,
            "puts": transaction.puts,
            "producer": transaction.producer,
            "seq": transaction.seq,
        }

        def answered(reply: Reply, now: int) -> None:
            self._answered(transaction, sending, reply, now)

        transaction.exchange.ask(fields, answered, transaction.frame)

    def _answered(self, transaction: Transaction, sending: int, reply: Reply, now: int) -> None:
        error = reply.error()
        if transaction.done or (error is not None and sending != transaction.sendings):
            return  # It was sent again since, and that answer tells.
        if error is None:
            self._happened(transaction, reply)
        elif error.retryable:
            transaction.again = transaction.again or isinstance(error, OutcomeUnknown)
            self._refused.append(transaction)
            self._retry_at = self._retry_at or now + RETRY_MS
        elif isinstance(error, ProducerExpired):
            self._number(transaction)
            self._send(transaction)
        else:
            self._failed(transaction, error)

    def _happened(self, transaction: Transaction, reply: Reply) -> None:
        del self.unconfirmed[transaction]
        for ledger, parts, ranges in transaction.settled:
            count = ledger.mark_settled(parts)
            self._consumers.settled(ledger, count)
            self._counters.settles_confirmed += count
            if ledger.is_outlived:
                self._settles.copied_settled(Settle(ledger, ACK, ranges))
        self._counters.puts_confirmed += sum(put["count"] for put in transaction.puts)
        transaction.finish(reply.header)

    def _failed(self, transaction: Transaction, error: MsgQueueError) -> None:
        del self.unconfirmed[transaction]
        if transaction.again:
            error = type(error)(f"{error.text} (sent again after a reconnect: the first may count)")
        transaction.finish(error=error)
        if not transaction.waited:
            self._troubles.append(error)


def _settled(parts: list[Part]) -> list[tuple[Ledger, list[Part], list[Range]]]:
    """The parts by their ledgers; raises LeaseLost where not all of them is held."""
    by_ledger: dict[Ledger, list[Part]] = {}
    for part in parts:
        by_ledger.setdefault(part[0].ledger, []).append(part)
    settled = []
    for ledger, own in by_ledger.items():
        if any(run.marks.count(HELD, start, stop) < stop - start for run, start, stop in own):
            raise LeaseLost("a message of the transaction is settled, or lost")
        ranges = merge([held for run, start, stop in own for held in run.held(start, stop)])
        for (first, count, _), (following, *_) in pairwise(ranges):
            if first + count > following:
                raise BadField(f"{ledger.queue}:{following} is settled twice in the transaction")
        settled.append((ledger, own, ranges))
    return settled


def _sealed(batches: list[PutBatch]) -> list[PutBatch]:
    for batch in batches:
        batch.seal()
    return batches


def _require_sound(transaction: Transaction) -> None:
    if len({ledger.tag[:2] for ledger, _, _ in transaction.settled}) > 1:
        names = sorted({ledger.queue for ledger, _, _ in transaction.settled})
        raise TransactionSpansSlots(f"{', '.join(names)} are not all of one slot")
    if sum(len(ranges) for _, _, ranges in transaction.settled) > RANGES_MAX:
        raise TooLarge(f"a transaction settles at most {RANGES_MAX} ranges")
    if len(transaction.puts) > TRANSACTION_PUTS_MAX:
        raise TooLarge(f"a transaction has at most {TRANSACTION_PUTS_MAX} batches of puts")
    if len(transaction.frame) > BATCH_BYTES_MAX:
        raise TooLarge(f"the puts of a transaction have at most {BATCH_BYTES_MAX} bytes in all")
