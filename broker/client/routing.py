"""Which broker each queue of a client speaks to, and the lines to these brokers.

Owns the lines.  It never sends anything of a queue: it tells ``resume`` which queues begin anew,
and their parts do.  Laws:

- A queue uses one line at a time: its owner's, or any other broker's while the owner is not
  known or not reached.  It leaves a line that works for its owner's alone.
- On a lone broker there is one line, and every queue uses it.
- A line that owes an answer and is silent is asked after at the others; a queue whose owner
  changed meanwhile leaves it as if it were lost.
- A line that no queue uses is closed; there are never more than brokers and one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.client.line import GOODBYE_MS, UNUSED_MS, Line
from broker.client.refresh import RefreshPace
from broker.client.routes import Route, Routes

if TYPE_CHECKING:
    from broker.client.codec import Reply
    from broker.client.connection import Draw
    from broker.client.directory import Directory
    from broker.client.exchange import Exchange

#: A line to the broker of that id, "" for any, at one of these addresses.
MakeLine = Callable[[str, list[str]], Line]
#: These queues begin anew on the lines that their routes name, all of them ready.
Resume = Callable[[set[Route], int], None]
#: Whether anything is still held, or waited for, over this exchange.
IsBound = Callable[["Exchange"], bool]


class Routing:
    def __init__(
        self,
        make_line: MakeLine,
        addresses: list[str],
        directory: Directory,
        draw: Draw,
        resume: Resume,
        is_bound: IsBound,
    ) -> None:
        self.directory = directory
        self._make_line = make_line
        self._given_addresses = addresses
        self._resume = resume
        self._is_bound = is_bound
        #: The line that goes to any broker at the addresses that the user gave.
        self.entry = make_line("", addresses)
        #: Another tuple whenever a line was made or dropped.
        self.lines: tuple[Line, ...] = (self.entry,)
        self.routes = Routes(self._place)
        self._is_clustered = False
        #: True while a queue is not with its owner: the map is asked for again and again.
        self._is_unsettled = False
        self._is_doubtful = False
        self._pace = RefreshPace(draw)
        self._asked = 0
        self._scouted = 0
        self._asked_line: Line | None = None

    def doubt(self) -> None:
        """Something told that the map is not right any more; a lone broker has none."""
        self._is_doubtful = self._is_clustered

    @property
    def is_owed_answers(self) -> bool:
        """True while the lines must be watched for their silence."""
        return self._is_clustered and any(line.exchange.owes for line in self.lines)

    def opened(self, line: Line, now: int) -> None:
        """A session has begun on ``line``."""
        connection = line.connection
        if line is not self.entry:
            if connection.broker == line.broker:
                self._admit(line, now)
            else:
                connection.lost(now, f"broker {connection.broker!r} answers there")
                self.doubt()
        elif connection.cluster:
            self._is_clustered = True
            self.doubt()
            self.tick(now)
        else:
            self._be_alone(now)

    def lost(self, line: Line, now: int) -> None:
        if self._asked_line is line:
            self._asked_line = None
            self._pace.answered()
        line.lost(now)
        if self.directory.is_known:
            self.doubt()
            self._settle(now)

    def tick(self, now: int) -> None:
        if not self._is_clustered:
            return
        self._tick_lines(now)
        self._watch_lines(now)
        if not self._pace.may_ask(now):
            return
        if self._is_waiting_for_map and self._asked_line is self.entry:
            self._admit(self.entry, now)  # It does not answer: it may serve all the same.
        if self._wants_map:
            self._ask_next(now)

    def next_at(self) -> int | None:
        if not self._is_clustered:
            return self.entry.connection.next_at()
        instants = [at for line in self.lines if (at := line.next_at()) is not None]
        if self._is_waiting_for_map or (self._wants_map and self._has_open_line):
            instants.append(self._pace.next_at())
        return min(instants, default=None)

    @property
    def _wants_map(self) -> bool:
        return self._is_doubtful or self._is_unsettled or any(line.is_silent for line in self.lines)

    @property
    def _has_open_line(self) -> bool:
        return any(line.is_heard for line in self.lines)

    @property
    def _is_waiting_for_map(self) -> bool:
        return self.entry.connection.is_open and not self.entry.is_ready

    def _tick_lines(self, now: int) -> None:
        given_up = [line for line in self.lines[1:] if line.maybe_lose_patience(now)]
        if given_up:
            self._settle(now)
        for line in self.lines[1:]:
            if line.unused_since is None:
                continue
            unused_ms = now - line.unused_since
            if unused_ms >= UNUSED_MS + GOODBYE_MS:
                self._drop(line)
            elif unused_ms >= UNUSED_MS and self._is_bound(line.exchange):
                line.unused_since = now
            elif unused_ms >= UNUSED_MS and not line.is_leaving:
                line.say_goodbye()

    def _watch_lines(self, now: int) -> None:
        for line in self.lines:
            line.watch(now)
            if line.is_silent and line is self._asked_line:
                self._asked_line = None
                self._pace.answered()
        if any(line.is_silent for line in self.lines):
            self._scout()

    def _scout(self) -> None:
        """Makes a line to somebody else where only silent ones could be asked."""
        if any(not line.is_silent and (line.is_ready or line.is_promising) for line in self.lines):
            return
        unknown = [
            broker
            for broker, addresses in self.directory.addresses.items()
            if addresses and not any(line.serves(broker) for line in self.lines)
        ]
        if unknown:
            self._scouted += 1
            broker = unknown[self._scouted % len(unknown)]
            line = self._make_line(broker, self.directory.addresses[broker])
            self.lines = (*self.lines, line)

    def _ask_next(self, now: int) -> None:
        """Asks another line each time: a broker may be cut off from what the others know."""
        open_lines = [line for line in self.lines if line.is_heard]
        if self._is_waiting_for_map:
            self._ask(self.entry, now)
        elif open_lines:
            self._asked += 1
            self._ask(open_lines[self._asked % len(open_lines)], now)

    def _ask(self, line: Line, now: int) -> None:
        self._is_doubtful = False
        self._asked_line = line
        self._pace.asked(now)

        def answered(reply: Reply, at: int) -> None:
            self._asked_line = None
            self._pace.answered()
            if reply.error() is None:
                self.directory.learn(reply.header)
                self._follow_addresses()
            else:
                self.doubt()
            if self._is_waiting_for_map and line is self.entry:
                self._admit(line, at)
            else:
                self._settle(at)

        line.exchange.ask({"cmd": "map"}, answered)

    def _follow_addresses(self) -> None:
        advertised = self.directory.addresses
        for line in self.lines[1:]:
            if advertised.get(line.broker):
                line.connection.use_addresses(advertised[line.broker])
        everywhere = dict.fromkeys(self._given_addresses)
        for addresses in advertised.values():
            everywhere.update(dict.fromkeys(addresses))
        self.entry.connection.use_addresses(list(everywhere))

    def _be_alone(self, now: int) -> None:
        self.directory.forget()
        self._is_clustered = self._is_doubtful = False
        for line in self.lines[1:]:
            self._drop(line)
        self._admit(self.entry, now)

    def _admit(self, line: Line, now: int) -> None:
        """Queues may use ``line`` from now on."""
        line.admit()
        self._settle(now, line)

    def _settle(self, now: int, fresh: Line | None = None) -> None:
        """Gives each queue its line; those that changed it, or whose line is fresh, begin anew."""
        of_exchange = {line.exchange: line for line in self.lines}
        resumed: set[Route] = set()
        used = {self.entry}
        self._is_unsettled = False
        for route in self.routes:
            owner = self.directory.owner_of(route.queue)
            line, wanted = self._choose(owner, of_exchange.get(route.exchange))
            used.add(line)
            if wanted is not None:
                used.add(wanted)
            epoch = self.directory.epoch_of(route.queue)
            is_changed = route.exchange is not line.exchange or epoch > route.epoch
            if is_changed or line is fresh:
                route.exchange, route.epoch = line.exchange, epoch
                resumed.add(route)
            if route.queue and self.directory.is_known and wanted is not line:
                self._is_unsettled = True
        self._let_go_unused(used, now)
        self._resume({route for route in resumed if route.exchange.ready}, now)

    def _place(self, queue: str) -> Route:
        line, _ = self._choose(self.directory.owner_of(queue), None)
        line.unused_since = None
        return Route(queue, line.exchange, self.directory.epoch_of(queue))

    def _choose(self, owner: str, current: Line | None) -> tuple[Line, Line | None]:
        """The line to use now, and the line to the owner if there is any."""
        wanted = self._find_owner(owner, current) if owner else None
        works = current is not None and current.works
        if wanted is not None and (wanted.is_ready or (wanted.is_promising and not works)):
            return wanted, wanted
        if current is not None and works:
            return current, wanted
        ready = sorted(
            (line for line in self.lines if line.is_ready), key=lambda each: each.is_silent
        )
        return ready[0] if ready else self.entry, wanted

    def _find_owner(self, owner: str, current: Line | None) -> Line | None:
        """Made anew when there is none; None when nobody tells where the owner is."""
        lines = [line for line in self.lines if line.serves(owner)]
        ready = [line for line in lines if line.is_ready]
        if lines:
            return current if current in ready else (ready or lines)[-1]
        addresses = self.directory.addresses.get(owner)
        if not addresses:
            return None
        made = self._make_line(owner, addresses)
        self.lines = (*self.lines, made)
        return made

    def _let_go_unused(self, used: set[Line], now: int) -> None:
        for line in self.lines:
            if line in used and not line.is_leaving:
                line.unused_since = None
            elif not line.connection.is_open:
                self._drop(line)
            elif line.unused_since is None:
                line.unused_since = now

    def _drop(self, line: Line) -> None:
        line.connection.close()
        line.exchange.reset()
        self.lines = tuple(each for each in self.lines if each is not line)
