"""Echoes: a topic that comes back through the XPUB tells a subscriber that its subscriptions are in
force there.

An echo leaves once its own topic is subscribed.  Subscriptions of one connection come in their
order, so that all which the subscriber sent before hold from then on, and it need not ask again.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.limits import ECHO_WAIT
from broker.model.commands import Echo
from broker.model.replies import Reply, ok


class Echoes:
    def __init__(self) -> None:
        #: Multiparts to be published.
        self.out: list[list[bytes]] = []
        self.replies: list[Reply] = []
        self._held: set[bytes] = set()
        #: (until when it waits, who asked, what) in the order of the instants
        self._waiting: list[tuple[int, bytes, Echo]] = []

    def ask(self, peer: bytes, command: Echo, now: int) -> None:
        if command.topic in self._held:
            self._give(peer, command)
        else:
            self._waiting.append((now + ECHO_WAIT, peer, command))

    def note_held(self, topic: bytes, on: bool) -> None:
        if not on:
            self._held.discard(topic)
            return
        self._held.add(topic)
        self._give_where(lambda _ends_at, command: command.topic == topic)

    def give_late(self, now: int) -> None:
        """Who subscribed nothing hears nothing; the command is answered all the same."""
        if self._waiting and self._waiting[0][0] <= now:
            self._give_where(lambda ends_at, _command: ends_at <= now)

    def next_at(self) -> int | None:
        return self._waiting[0][0] if self._waiting else None

    def _give_where(self, is_meant: Callable[[int, Echo], bool]) -> None:
        waiting, self._waiting = self._waiting, []
        for ends_at, peer, command in waiting:
            if is_meant(ends_at, command):
                self._give(peer, command)
            else:
                self._waiting.append((ends_at, peer, command))

    def _give(self, peer: bytes, command: Echo) -> None:
        self.out.append([command.topic])
        if command.req is not None:
            self.replies.append(ok(peer, command.req))
