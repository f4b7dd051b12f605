"""The settling side of a session: ledgers, and the settles that are sent and not yet confirmed.

Owns the leases as the client knows them.  It never judges whether a lease is still good: the
broker does.  Laws:

- A settle is kept until the broker has answered it, and sent again after a reconnect, or to
  the new owner of its queue.
- There everything held, and everything in an unconfirmed settle, is first taken again with
  ``extend``: the new session holds nothing yet.
- While the session that holds a message lasts, and the reign too, it is settled there, though
  its queue moved to another line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from broker.client.directory import is_older
from broker.client.ledger import GIVE_BACK, Ledger, SettleKind, merge
from broker.client.outcome import Outcome
from broker.errors import MsgQueueError, OutcomeUnknown
from broker.limits import RANGES_MAX

if TYPE_CHECKING:
    from broker.client.codec import Reply
    from broker.client.counters import Counters
    from broker.client.delivery import Range
    from broker.client.directory import Directory
    from broker.client.exchange import Exchange
    from broker.client.routes import Route, Routes

RETRY_MS = 500
#: Gets have no credit that would set a pace: their settles are sent by the hundred.
GATHERED_MAX = 512

#: Fields that give credit back, and the messages of a consumer's ledger that this settles.
TakeCredit = Callable[[Ledger], dict[str, Any]]


class Settle(Outcome):
    """One settling command on its way.  ``lost`` are the ranges that were not held any more."""

    __slots__ = ("again", "kind", "ledger", "lost", "ranges", "sendings", "waited")

    def __init__(self, ledger: Ledger, kind: SettleKind, ranges: list[Range]) -> None:
        super().__init__()
        self.ledger = ledger
        self.kind = kind
        self.ranges = ranges
        self.lost: list[Range] = []
        self.waited = False
        self.sendings = 0
        #: True once it was sent where it may have counted without an answer.
        self.again = False

    @property
    def messages(self) -> int:
        return sum(count for _, count, _ in self.ranges)

    def has_lost(self, position: int) -> bool:
        return any(first <= position < first + count for first, count, *_ in self.lost)


class Settles:
    def __init__(
        self,
        routes: Routes,
        directory: Directory,
        counters: Counters,
        troubles: list[MsgQueueError],
        linger_ms: int,
    ) -> None:
        self.unconfirmed: dict[Settle, None] = {}
        #: When what is gathered is sent at the latest.
        self.linger_ends_at: int | None = None
        # How a consumer's credit rides on its settles, and how it learns that messages are
        # nobody's here any more; all set by the consumers' side.
        self.take_credit: TakeCredit = lambda _: {}
        self.leases_lost: Callable[[Ledger, int], None] = lambda _, __: None
        #: A settle was refused, and the credit that rode on it with it.
        self.credit_refused: Callable[[Ledger, int], None] = lambda _, __: None
        #: A settle was answered for good whose messages may have been delivered again meanwhile.
        self.copied_settled: Callable[[Settle], None] = lambda _: None
        self._routes = routes
        self._directory = directory
        self._counters = counters
        self._troubles = troubles
        self._linger_ms = linger_ms
        self._ledgers: dict[Ledger, None] = {}
        #: Those of them that deliveries are added to.
        self._current: dict[tuple[Exchange, str, bytes, int | None], Ledger] = {}
        self._refused: list[Settle] = []
        #: What could not be taken again yet.
        self._unclaimed: dict[Ledger, None] = {}
        self._retry_at: int | None = None

    def ledger(
        self,
        route: Route,
        exchange: Exchange,
        tag: bytes,
        consumer: int | None,
        lease_ms: int | None,
    ) -> Ledger:
        key = (exchange, route.queue, tag, consumer)
        ledger = self._current.get(key)
        if ledger is None:
            self._drop_finished()
            ledger = self._current[key] = Ledger(route, exchange, tag, consumer, lease_ms)
            self._ledgers[ledger] = None
            ledger.flush_at = GATHERED_MAX
            if self._directory.is_known:
                ledger.older = [each for each in self._all_ledgers() if is_older(each.tag, tag)]
                for older in ledger.older:
                    older.is_outlived = True
        return ledger

    def concerns(self, ledger: Ledger) -> bool:
        """Whether anything of it is still held, or a settle of it on its way."""
        return bool(ledger.gathered or len(ledger.runs)) or any(
            settle.ledger is ledger for settle in self.unconfirmed
        )

    def on_their_way(self, ledger: Ledger) -> Iterator[tuple[SettleKind, list[Range]]]:
        """What is settled of it and not confirmed, or not even sent."""
        yield from ledger.waiting()
        for settle in self.unconfirmed:
            if settle.ledger is ledger:
                yield settle.kind, settle.ranges

    def of_consumer(self, consumer: int) -> Iterator[Ledger]:
        return (ledger for ledger in self._ledgers if ledger.consumer == consumer)

    def is_bound(self, exchange: Exchange) -> bool:
        """Whether messages are held, or settles under way, in that session."""
        return any(ledger.exchange is exchange for ledger in self._all_ledgers())

    def gathered(self, now: int) -> None:
        """Something was gathered that no flush follows at once."""
        if self.linger_ends_at is None:
            self.linger_ends_at = now + self._linger_ms

    def flush(self) -> None:
        """Sends all that is gathered."""
        self.linger_ends_at = None
        for ledger in list(self._ledgers):
            if ledger.gathered:
                self.flush_ledger(ledger)

    def flush_ledger(self, ledger: Ledger) -> list[Settle]:
        """Sends what one ledger has gathered; gives the commands that carry it."""
        settles, credit = self._close(ledger)
        if ledger.exchange.ready:
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
            if ledger.exchange.ready:
                self._send(settle, {})

    def resume(self, routes: set[Route]) -> None:
        """These queues begin anew: take everything again, then settle again."""
        concerned = [
            ledger
            for ledger in self._all_ledgers()
            if ledger.route in routes and not self._is_held_elsewhere(ledger)
        ]
        self._take_again(concerned)

    def connection_lost(self, exchange: Exchange) -> None:
        """What was sent is in doubt; what was held there by a queue that moved is, too."""
        for settle in self.unconfirmed:
            if settle.ledger.exchange is exchange:
                settle.again = settle.sendings > 0
        self._take_again(
            [
                ledger
                for ledger in self._all_ledgers()
                if ledger.exchange is exchange and ledger.route.exchange is not exchange
            ]
        )

    def tick(self, now: int) -> None:
        if self.linger_ends_at is not None and now >= self.linger_ends_at:
            self.flush()
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            unclaimed, self._unclaimed = self._unclaimed, {}
            refused, self._refused = self._refused, []
            for ledger in unclaimed:
                if ledger.exchange.ready:
                    self._extend_again(ledger)
            for settle in refused:
                if settle.ledger.exchange.ready:
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

    def _all_ledgers(self) -> Iterable[Ledger]:
        return dict.fromkeys([*self._ledgers, *(settle.ledger for settle in self.unconfirmed)])

    def _is_held_elsewhere(self, ledger: Ledger) -> bool:
        exchange = ledger.exchange
        return (
            exchange is not ledger.route.exchange
            and exchange.ready
            and not self._directory.is_past(ledger.tag)
        )

    def _take_again(self, ledgers: list[Ledger]) -> None:
        """Binds them to the session that their queues now use; all at once when it is ready."""
        # Of a consumer that goes on where it is; one that begins anew is granted all at once.
        granted: dict[Ledger, dict[str, Any]] = {}
        for ledger in ledgers:
            self._unclaimed.pop(ledger, None)
            self._bind(ledger, ledger.route.exchange)
            _, granted[ledger] = self._close(ledger)
        ready = {ledger for ledger in ledgers if ledger.exchange.ready}
        for ledger in ledgers:
            if ledger in ready:
                self._extend_again(ledger)
        self._refused = [settle for settle in self._refused if settle.ledger not in ready]
        for settle in list(self.unconfirmed):
            if settle.ledger in ready:
                settle.again = settle.again or settle.sendings > 0
                self._send(settle, granted.pop(settle.ledger, {}))

    def _bind(self, ledger: Ledger, exchange: Exchange) -> None:
        if ledger.exchange is exchange:
            return
        if self._current.get(_key(ledger)) is ledger:
            del self._current[_key(ledger)]
        ledger.exchange = exchange
        if ledger in self._ledgers:
            self._current.setdefault(_key(ledger), ledger)

    def _send(self, settle: Settle, credit: dict[str, Any]) -> None:
        kind = settle.kind
        settle.sendings += 1
        sending = settle.sendings
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
            error = reply.error()
            if credit and error is not None and error.retryable:
                self.credit_refused(settle.ledger, now)
            self._answered(settle, sending, reply, now)

        settle.ledger.exchange.ask(fields, answered)

    def _answered(self, settle: Settle, sending: int, reply: Reply, now: int) -> None:
        error = reply.error()
        if settle.done or (error is not None and sending != settle.sendings):
            return  # It was sent again since, and that answer tells.
        if error is not None and error.retryable:
            settle.again = settle.again or isinstance(error, OutcomeUnknown)
            self._refused.append(settle)
            self._retry_at = self._retry_at or now + RETRY_MS
            return
        self.unconfirmed.pop(settle, None)
        gives_back = settle.kind is GIVE_BACK
        if error is None:
            self._counters.settles_confirmed += 0 if gives_back else settle.messages
            settle.finish(reply.header)
        else:
            self._refused_for_good(settle, error, reply)
        if settle.ledger.is_outlived:
            self.copied_settled(settle)

    def _refused_for_good(self, settle: Settle, error: MsgQueueError, reply: Reply) -> None:
        gives_back = settle.kind is GIVE_BACK
        settle.lost = [tuple(lost) for lost in reply.header.get("lost", settle.ranges)]
        lost = sum(count for _, count, *_ in settle.lost)
        self._counters.leases_lost += lost
        self._counters.settles_confirmed += 0 if gives_back else max(settle.messages - lost, 0)
        if settle.again:
            error = type(error)(f"{error.text} (sent again after a reconnect: the first may count)")
        settle.finish(error=error)
        if not settle.waited and not gives_back:
            self._troubles.append(error)

    def _extend_again(self, ledger: Ledger) -> None:
        waiting = [each for s in self.unconfirmed if s.ledger is ledger for each in s.ranges]
        ranges = merge(waiting + ledger.held())
        exchange = ledger.exchange

        def answered(reply: Reply, now: int) -> None:
            if ledger.exchange is exchange:
                self._extended_again(ledger, reply, now)

        for start in range(0, len(ranges), RANGES_MAX):
            part = ranges[start : start + RANGES_MAX]
            exchange.ask(extend_fields(ledger, part, ledger.lease_ms), answered)

    def _extended_again(self, ledger: Ledger, reply: Reply, now: int) -> None:
        error = reply.error()
        if error is not None and error.retryable:
            self._unclaimed[ledger] = None
            self._retry_at = self._retry_at or now + RETRY_MS
            return
        lost = reply.header.get("lost", []) if error is None else ledger.held()
        # Whoever settles one of them is told; the prefetched among them are simply skipped.
        count = ledger.lose(lost)
        self._counters.leases_lost += count
        self.leases_lost(ledger, count)

    def _drop_finished(self) -> None:
        """Ledgers of an older epoch or session, once nobody can settle anything of theirs."""
        self._ledgers = {each: None for each in self._ledgers if each.gathered or len(each.runs)}
        self._current = {key: each for key, each in self._current.items() if each in self._ledgers}


def _key(ledger: Ledger) -> tuple[Exchange, str, bytes, int | None]:
    return ledger.exchange, ledger.queue, ledger.tag, ledger.consumer


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
