"""Channels that queues are bound to, and the client that binds them and publishes.

Each bound queue has a history of its own: what was published while the queue was bound counts as
put there, and nothing else.  Law: a binding changes only while all that was published has its
answer, so that everybody knows for whom a message was.
"""

from __future__ import annotations

from random import Random
from typing import Any

from broker.errors import BindingNotFound
from broker.testing.client import Clients, Header
from broker.testing.features import BOUND, Dresser
from broker.testing.history import Kind
from broker.testing.network import Connection
from broker.testing.producer import Confirmed, Producer, Stream
from broker.testing.schedule import MS

#: channel -> what it keeps
BOUND_CHANNELS: dict[str, dict[str, Any]] = {
    "news.eu": {},
    "news.log": {"durable": True, "history_messages": 5},
    "news.ring": {"history_messages": 5},
}
#: Bound all the time, and bound now and then.
_WIDE, _NARROW = BOUND
_PATTERNS = {_WIDE: "news.>", _NARROW: "news.eu"}
_CHANGES = 0.04

#: (command, its fields)
Task = tuple[str, dict[str, Any]]


class BoundPublisher(Producer):
    COMMAND, PLACE = "publish", "channel"

    def __init__(
        self,
        name: str,
        clients: Clients,
        random: Random,
        queues: list[str],
        interval_us: int,
        window: int,
        confirmed: Confirmed,
        dresser: Dresser,
    ) -> None:
        super().__init__(name, clients, random, queues, interval_us, window, confirmed, dresser)
        #: What is to be done before anything is published: commands with their fields.
        self._to_do: list[Task] = [
            ("declare_channel", {"channel": channel, "settings": settings})
            for channel, settings in BOUND_CHANNELS.items()
            if settings
        ]
        self._to_do += [self._binding("bind", queue) for queue in BOUND]
        self._is_narrow = False
        self._waits_for_queues = False
        #: message -> the queues that were bound when it was published
        self._bound_of: dict[str, list[str]] = {}

    @property
    def unanswered(self) -> int:
        return super().unanswered + len(self._to_do)

    def in_session(self) -> None:
        super().in_session()
        self._do_next()

    def each_tick(self) -> None:
        if not self.has_session:
            return
        if self._waits_for_queues:
            self._do_next()
        elif self.is_stopped or self._to_do or super().unanswered:
            return
        elif self.random.random() < _CHANGES:
            self._to_do = [self._binding("unbind" if self._is_narrow else "bind", _NARROW)]
            self.clients.declared.difference_update(BOUND_CHANNELS)
            self._do_next()

    # Bindings

    @staticmethod
    def _binding(cmd: str, queue: str) -> Task:
        return cmd, {"queue": queue, "pattern": _PATTERNS[queue]}

    def _do_next(self) -> None:
        self._waits_for_queues = not self.clients.declared.issuperset(BOUND)
        if not self._to_do:
            self.clients.declared.update(BOUND_CHANNELS)
        elif not self._waits_for_queues:
            cmd, fields = self._to_do[0]
            self.ask(self._done, cmd, **fields)

    def _done(self, header: Header) -> None:
        cmd, fields = self._to_do[0]
        is_gone = cmd == "unbind" and header.get("code") == BindingNotFound.code
        if header["re"] == "ok" or is_gone:
            del self._to_do[0]
            if fields.get("queue") == _NARROW:
                self._is_narrow = cmd == "bind"
            self._do_next()
        elif self.require_retryable(header):
            connection = self._connection
            delay_us = int((50 + 300 * self.random.random()) * MS)
            label = f"{self.name} tries again"
            self.schedule.after(delay_us, label, self._try_again, connection)

    def _try_again(self, connection: Connection | None) -> None:
        if self.has_session and self._connection is connection:
            self._do_next()

    # What the bound queues are owed

    def note(self, stream: Stream, kind: Kind, messages: list[str]) -> None:
        if kind is Kind.PUT:
            bound = [_WIDE]
            if self._is_narrow and stream.queue == _PATTERNS[_NARROW]:
                bound.append(_NARROW)
            self._bound_of.update(dict.fromkeys(messages, bound))
        for queue in self._bound_of[messages[0]] if messages else ():
            actor = f"{self.name}-{stream.queue}"
            self.clients.history.record(queue, kind, actor, messages)
