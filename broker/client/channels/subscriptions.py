"""All subscriptions of one client: who takes what comes, and what is asked for behind them.

Owns the intakes, their numbers at the broker, and the wish for a socket to hear from.  It never
waits and has no socket.  Laws:

- All subscriptions are at one broker, whose XPUB the socket is connected to: that of the route
  of no queue.  When either is lost, all of them begin anew at the next one.
- What is said of how far channels are is believed late (``rumours``): the messages may still be on
  their way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from broker.client.channels.echoes import Echoes
from broker.client.channels.hearing import Hearing
from broker.client.channels.intake import Intake, Start
from broker.client.channels.joining import Join
from broker.client.channels.repairs import Repairs
from broker.client.channels.rumours import Rumour, Rumours
from broker.client.channels.runs import Gap, Part, read_live
from broker.client.channels.track import REIGN_BITS
from broker.client.codec import decode_header
from broker.errors import ChannelsOff, LimitReached, NotAnEnvelope
from broker.limits import ECHO_PREFIX, ROUTES_MAX, SUBSCRIPTIONS_PER_SESSION_MAX
from broker.model.patterns import PatternTrie, topic_prefix

if TYPE_CHECKING:
    from broker.client.codec import Frames, Reply
    from broker.client.connection import Draw
    from broker.client.counters import Counters
    from broker.client.directory import Directory
    from broker.client.exchange import Exchange
    from broker.client.requests import Requests
    from broker.client.routes import Route, Routes
    from broker.errors import MsgQueueError

#: A socket that broke is made anew after so long.
PAUSE_MS = 100
REPORT_MS = 1_000

#: Where the XPUB of the broker behind an exchange is; none when that is off.
FindAddresses = Callable[["Exchange"], list[str]]


class Subscriptions:
    def __init__(
        self,
        routes: Routes,
        requests: Requests,
        counters: Counters,
        directory: Directory,
        draw: Draw,
        find_addresses: FindAddresses,
    ) -> None:
        self.hearing = Hearing()
        self._echoes = Echoes(self.hearing, draw)
        self._rumours = Rumours(self._echoes)
        #: False while nobody ever subscribed: then nothing here costs anything.
        self.is_used = False
        self._routes = routes
        self._counters = counters
        self._directory = directory
        self._find_addresses = find_addresses
        self._repairs = Repairs(requests)
        #: The numbers of each subscription's patterns.
        self._intakes: dict[Intake, dict[int, str]] = {}
        self._next_number = 1
        self._trie: PatternTrie[Intake] = PatternTrie()
        #: By topic: the channel, and who takes its messages.
        self._takers: dict[bytes, tuple[str, tuple[Intake, ...]]] = {}
        self._joins: dict[Intake, Join] = {}
        #: Where the subscriptions are registered.
        self._exchange: Exchange | None = None
        self._reopen_at: int | None = None
        #: How much of what each subscription missed was reported, and when the next report is due.
        self._reported: dict[Intake, int] = {}
        self._report_at: int | None = None
        self._attempts = 0
        self._abandoned: deque[Intake] = deque()

    @property
    def is_waiting(self) -> bool:
        """True while anything is missing, or may be."""
        return bool(self._rumours or self._joins or any(each.behind for each in self._intakes))

    def add(self, patterns: tuple[str, ...], start: Start, bytes_max: int, now: int) -> Intake:
        """Raises LimitReached when the client has too many."""
        if sum(map(len, self._intakes.values())) + len(patterns) > SUBSCRIPTIONS_PER_SESSION_MAX:
            most = SUBSCRIPTIONS_PER_SESSION_MAX
            raise LimitReached(f"a client subscribes to at most {most} patterns")
        self.is_used = True
        intake = Intake(patterns, start, bytes_max, self._counters)
        numbers = self._intakes[intake] = {}
        for pattern in patterns:
            numbers[self._next_number] = pattern
            self._next_number += 1
            self._trie.add(pattern, intake)
        self._takers.clear()
        self.hearing.add(map(topic_prefix, patterns))
        if self._exchange is None:
            self._anchor(now)
        else:
            self._join(intake, now)
        return intake

    def abandon(self, intake: Intake) -> None:
        """As ``remove``, at the next turn: from anywhere, with or without the lock."""
        if not intake.is_closed:
            self._abandoned.append(intake)

    def remove(self, intake: Intake) -> None:
        numbers = self._intakes.pop(intake, None)
        if numbers is None:
            return
        intake.close()
        self._report(intake, numbers)
        self._reported.pop(intake, None)
        for number, pattern in numbers.items():
            self._trie.remove(pattern, intake)
            if self._exchange is not None and self._exchange.ready:
                self._exchange.ask({"cmd": "unsubscribe", "sub": number}, _ignore)
        self._takers.clear()
        self._end_join(intake)
        self.hearing.remove(map(topic_prefix, intake.patterns))
        if not self._intakes:
            self._leave()

    # What comes, from the socket and from the broker.

    def take(self, intake: Intake, now: int) -> deque[Part | Gap]:
        """What waits for the application; what there is room for again is asked for."""
        items = intake.take()
        if intake.behind:
            self._repair(now)
        return items

    def receive(self, frames: Frames) -> None:
        """One multipart from the XPUB."""
        takers = self._takers.get(frames[0])
        if takers is None:
            takers = self._find_takers(frames)
        channel, intakes = takers
        if not intakes:
            return
        try:
            header = decode_header(frames[1])
            run = read_live(channel, header, frames)
        except (NotAnEnvelope, KeyError, TypeError, ValueError, IndexError):
            self._counters.events_broken += 1
            return
        self._counters.events_received += run.count
        start = header.get("start")
        for intake in intakes:
            intake.live(run, start)

    def has_read(self, now: int) -> None:
        """The shell has taken what the socket had, or as much of it as it takes at a time."""
        self._repair(now)

    def ear_lost(self, now: int) -> None:
        """The connection to the XPUB broke, or could not be made."""
        if self._exchange is not None:
            self.hearing.close()
            self._end_joins()
            self._attempts += 1
            self._reopen_at = now + PAUSE_MS

    def heads(self, reply: Reply, now: int) -> None:
        for channel, _epoch, next_, *start in reply.header.get("heads", ()):
            for intake in dict.fromkeys(self._trie.match(channel)):
                self._suspect(intake, channel, next_, start[0] if start else None, now)
        for slot, epoch in reply.header.get("reigns", ()):
            for intake in self._intakes:
                for channel in intake.of_older_reign(slot, epoch, self._directory.slots):
                    self._suspect(intake, channel, epoch << REIGN_BITS, None, now)

    # The session's life.

    def resume(self, routes: set[Route], now: int) -> None:
        """These begin anew; the subscriptions are where commands of no queue go."""
        if self._intakes and self._routes.home in routes:
            self._anchor(now)

    def connection_lost(self, exchange: Exchange) -> None:
        if exchange is self._exchange:
            self._exchange = None
            self._reopen_at = None
            self.hearing.close()
            self._end_joins()

    def tick(self, now: int) -> None:
        if not self.is_used:
            return
        while self._abandoned:
            self.remove(self._abandoned.popleft())
        if self._reopen_at is not None and now >= self._reopen_at:
            self._reopen_at = None
            self._anchor(now)
        for join in list(self._joins.values()):
            join.tick(now)
        self._rumours.tick(now, self._exchange)
        self._echoes.tick(now)
        self._repair(now)
        if self._report_at is not None and now >= self._report_at:
            self._report_at = None
            for intake, numbers in self._intakes.items():
                self._report(intake, numbers)

    def next_at(self) -> int | None:
        if not self.is_used:
            return None
        instants = [join.next_at() for join in self._joins.values()]
        instants += [self._reopen_at, self._report_at, self._repairs.next_at()]
        instants += [self._rumours.next_at(), self._echoes.next_at()]
        return min((at for at in instants if at is not None), default=None)

    # What joins tell.

    def found(self, intake: Intake, channel: str, facts: dict[str, Any]) -> None:
        if not intake.baseline(channel, facts):
            now = self._repairs.now
            self._suspect(intake, channel, facts["next"], facts.get("start"), now)

    def joined(self, join: Join) -> None:
        self._end_join(join.intake)
        join.intake.complete()
        self._attempts = 0
        self._repair(self._repairs.now)

    def refused(self, join: Join, reply: Reply) -> None:
        error = reply.error()
        assert error is not None
        self._fail(join.intake, error)

    def _anchor(self, now: int) -> None:
        """Begins all subscriptions at the broker that commands of no queue go to."""
        exchange = self._routes.home.exchange
        if not exchange.ready or not self._intakes:
            return
        if self._exchange is not None and self._exchange is not exchange and self._exchange.ready:
            for numbers in self._intakes.values():
                for number in numbers:
                    self._exchange.ask({"cmd": "unsubscribe", "sub": number}, _ignore)
        self._exchange = exchange
        self._end_joins()
        addresses = self._find_addresses(exchange)
        if not addresses:
            self.hearing.close()
            for intake in list(self._intakes):
                self._fail(intake, ChannelsOff("the broker publishes nothing: publish_listen"))
            return
        self.hearing.open(addresses[self._attempts % len(addresses)])
        for intake in self._intakes:
            self._join(intake, now)

    def _join(self, intake: Intake, now: int) -> None:
        if self._exchange is None or not self.hearing.is_open:
            return  # It begins with all the others.
        self._repairs.now = now
        join = Join(self, intake, self._exchange, self._intakes[intake], self._echoes)
        self._joins[intake] = join
        join.begin()

    def _end_join(self, intake: Intake) -> None:
        join = self._joins.pop(intake, None)
        if join is not None:
            join.end()

    def _end_joins(self) -> None:
        for intake in list(self._joins):
            self._end_join(intake)
        self._rumours.clear()

    def _fail(self, intake: Intake, error: MsgQueueError) -> None:
        self.remove(intake)
        intake.fail(error)

    def _leave(self) -> None:
        """Nobody subscribes any more."""
        self._exchange = None
        self._reopen_at = self._report_at = None
        self._rumours.clear()
        self.hearing.close()

    def _find_takers(self, frames: Frames) -> tuple[str, tuple[Intake, ...]]:
        topic = frames[0]
        if topic.startswith(ECHO_PREFIX):
            self._echoes.heard(topic)
            return "", ()
        channel = topic[:-1].decode(errors="replace")
        intakes = tuple(dict.fromkeys(self._trie.match(channel)))
        if len(self._takers) >= ROUTES_MAX:
            self._takers.clear()
        found = self._takers[topic] = (channel, intakes)
        return found

    def _suspect(
        self, intake: Intake, channel: str, next_: int, start: int | None, now: int
    ) -> None:
        self._rumours.add(Rumour(now, intake, channel, next_, start))

    def _repair(self, now: int) -> None:
        self._repairs.now = now
        for intake in self._intakes:
            if intake.behind:
                self._repairs.go_on(intake)
            if intake.missed > self._reported.get(intake, 0) and self._report_at is None:
                self._report_at = now + REPORT_MS

    def _report(self, intake: Intake, numbers: dict[int, str]) -> None:
        """Tells the broker what could not be had."""
        count = intake.missed - self._reported.get(intake, 0)
        if count and self._exchange is not None and self._exchange.ready:
            self._reported[intake] = intake.missed
            fields = {"cmd": "dropped", "sub": next(iter(numbers)), "count": count}
            self._exchange.ask(fields, _ignore)


def _ignore(_reply: Reply, _now: int) -> None:
    """An answer that changes nothing."""
