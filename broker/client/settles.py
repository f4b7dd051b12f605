"""The settling side of a session: ledgers, and the settles that are sent and not yet confirmed.

Owns the leases as the client knows them.  It never judges whether a lease is still good: the
broker does.  Laws:

- A settle is kept until the broker has answered it, and sent again after a reconnect.
- After a reconnect everything held, and everything in an unconfirmed settle, is first taken
  again with ``extend``: the new session holds nothing yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from broker.client.ledger import GIVE_BACK, Ledger, SettleKind, merge
from broker.client.outcome import Outcome
from broker.errors import MsgQueueError
from broker.limits import RANGES_MAX

if TYPE_CHECKING:
    from broker.client.codec import Reply
    from broker.client.counters import Counters
    from broker.client.delivery import Range
    from broker.client.exchange import Exchange

RETRY_MS = 500
#: Gets have no credit that would set a pace: their settles are sent by the hundred.
GATHERED_MAX = 512

#: Fields that give credit back, and the messages of a consumer's ledger that this settles.
TakeCredit = Callable[[Ledger], dict[str, Any]]


class Settle(Outcome):
    """One settling command on its way.  ``lost`` are the ranges that were not held any more."""

    __slots__ = ("again", "kind", "ledger", "lost", "ranges", "sent", "waited")

    def __init__(self, ledger: Ledger, kind: SettleKind, ranges: list[Range]) -> None:
        super().__init__()
        self.ledger = ledger
        self.kind = kind
        self.ranges = ranges
        self.lost: list[Range] = []
        self.waited = False
        self.sent = False
        #: True once it was sent on a connection that was lost before the answer.
        self.again = False

    @property
    def messages(self) -> int:
        return sum(count for _, count, _ in self.ranges)

    def has_lost(self, position: int) -> bool:
        return any(first <= position < first + count for first, count, *_ in self.lost)


class Settles:
    def __init__(
        self,
        exchange: Exchange,
        counters: Counters,
        troubles: list[MsgQueueError],
        linger_ms: int,
    ) -> None:
        self.unconfirmed: dict[Settle, None] = {}
        #: When what is gathered is sent at the latest.
        self.linger_ends_at: int | None = None
        # How a consumer's credit rides on its settles, and how it learns that messages are
        # nobody's here any more; both set by the consumers' side.
        self.take_credit: TakeCredit = lambda _: {}
        self.leases_lost: Callable[[Ledger, int], None] = lambda _, __: None
        self._exchange = exchange
        self._counters = counters
        self._troubles = troubles
        self._linger_ms = linger_ms
        self._ledgers: dict[tuple[str, bytes, int | None], Ledger] = {}
        self._refused: list[Settle] = []
        self._retry_at: int | None = None

    def ledger(self, queue: str, tag: bytes, consumer: int | None, lease_ms: int | None) -> Ledger:
        key = (queue, tag, consumer)
        ledger = self._ledgers.get(key)
        if ledger is None:
            self._drop_finished()
            ledger = self._ledgers[key] = Ledger(queue, tag, consumer, lease_ms)
            ledger.flush_at = GATHERED_MAX
        return ledger

    def of_consumer(self, consumer: int) -> Iterator[Ledger]:
        return (ledger for ledger in self._ledgers.values() if ledger.consumer == consumer)

    def gathered(self, now: int) -> None:
        """Something was gathered that no flush follows at once."""
        if self.linger_ends_at is None:
            self.linger_ends_at = now + self._linger_ms

    def flush(self) -> None:
        """Sends all that is gathered."""
        self.linger_ends_at = None
        for ledger in self._ledgers.values():
            if ledger.gathered:
                self.flush_ledger(ledger)

    def flush_ledger(self, ledger: Ledger) -> list[Settle]:
        """Sends what one ledger has gathered; gives the commands that carry it."""
        settles, credit = self._close(ledger)
        if self._exchange.ready:
            for settle in settles:
                self._send(settle, credit)
                credit = {}
        return settles

    def give_back(self, ledger: Ledger, ranges: list[Range]) -> None:
        """Returns messages that nobody looked at, free of charge."""
        for start in range(0, len(ranges), RANGES_MAX):
            settle = Settle(ledger, GIVE_BACK, ranges[start : start + RANGES_MAX])
            self._counters.messages_given_back += settle.messages
            self.unconfirmed[settle] = None
            if self._exchange.ready:
                self._send(settle, {})

    def resend_all(self) -> None:
        """After a reconnect: take everything again, then settle again."""
        self._retry_at = None
        self._refused = []
        for ledger in self._ledgers.values():
            self._close(ledger)
        waiting: dict[Ledger, list[Range]] = {ledger: [] for ledger in self._ledgers.values()}
        for settle in self.unconfirmed:
            waiting.setdefault(settle.ledger, []).extend(settle.ranges)
        for ledger, ranges in waiting.items():
            self._extend_again(ledger, merge(ranges + ledger.held()))
        for settle in self.unconfirmed:
            self._send(settle, {})

    def connection_lost(self) -> None:
        """What was sent is in doubt."""
        for settle in self.unconfirmed:
            settle.again = settle.sent

    def tick(self, now: int) -> None:
        if self.linger_ends_at is not None and now >= self.linger_ends_at:
            self.flush()
        if self._retry_at is not None and now >= self._retry_at and self._exchange.ready:
            self._retry_at = None
            refused, self._refused = self._refused, []
            for settle in refused:
                self._send(settle, {})

    def next_at(self) -> int | None:
        instants = [at for at in (self.linger_ends_at, self._retry_at) if at is not None]
        return min(instants, default=None)

    def _close(self, ledger: Ledger) -> tuple[list[Settle], dict[str, Any]]:
        """Makes commands of what one ledger has gathered; gives them and the credit to go along."""
        credit = self.take_credit(ledger)
        settles = [Settle(ledger, kind, ranges) for kind, ranges in ledger.take()]
        self.unconfirmed.update(dict.fromkeys(settles))
        return settles, credit

    def _send(self, settle: Settle, credit: dict[str, Any]) -> None:
        kind = settle.kind
        settle.sent = True
        fields: dict[str, Any] = {
            "cmd": kind.command,
            "queue": settle.ledger.queue,
            "tag": settle.ledger.tag,
            "ranges": settle.ranges,
            **credit,
        }
        if kind.delay_ms is not None:
            fields["delay_ms"] = kind.delay_ms
        if not kind.charge:
            fields["charge"] = False

        def answered(reply: Reply, now: int) -> None:
            self._answered(settle, reply, now)

        self._exchange.ask(fields, answered)

    def _answered(self, settle: Settle, reply: Reply, now: int) -> None:
        error = reply.error()
        if error is not None and error.retryable:
            self._refused.append(settle)
            self._retry_at = self._retry_at or now + RETRY_MS
            return
        self.unconfirmed.pop(settle, None)
        gives_back = settle.kind is GIVE_BACK
        if error is None:
            self._counters.settles_confirmed += 0 if gives_back else settle.messages
            settle.finish(reply.header)
            return
        settle.lost = [tuple(lost) for lost in reply.header.get("lost", settle.ranges)]
        lost = sum(count for _, count, *_ in settle.lost)
        self._counters.leases_lost += lost
        self._counters.settles_confirmed += 0 if gives_back else max(settle.messages - lost, 0)
        if settle.again:
            error = type(error)(f"{error.text} (sent again after a reconnect: the first may count)")
        settle.finish(error=error)
        if not settle.waited and not gives_back:
            self._troubles.append(error)

    def _extend_again(self, ledger: Ledger, ranges: list[Range]) -> None:
        for start in range(0, len(ranges), RANGES_MAX):
            fields = extend_fields(ledger, ranges[start : start + RANGES_MAX], ledger.lease_ms)

            def answered(reply: Reply, _: int, ledger: Ledger = ledger) -> None:
                self._extended_again(ledger, reply)

            self._exchange.ask(fields, answered)

    def _extended_again(self, ledger: Ledger, reply: Reply) -> None:
        error = reply.error()
        lost = reply.header.get("lost", []) if error is None else ledger.held()
        # Whoever settles one of them is told; the prefetched among them are simply skipped.
        count = ledger.lose(lost)
        self._counters.leases_lost += count
        self.leases_lost(ledger, count)

    def _drop_finished(self) -> None:
        """Ledgers of an older epoch, once nobody can settle anything of theirs."""
        self._ledgers = {
            key: ledger
            for key, ledger in self._ledgers.items()
            if ledger.gathered or len(ledger.runs)
        }


def extend_fields(ledger: Ledger, ranges: list[Range], lease_ms: int | None) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "cmd": "extend",
        "queue": ledger.queue,
        "tag": ledger.tag,
        "ranges": ranges,
    }
    if lease_ms is not None:
        fields["lease_ms"] = lease_ms
    if ledger.consumer is not None:
        fields["consumer"] = ledger.consumer
    return fields
