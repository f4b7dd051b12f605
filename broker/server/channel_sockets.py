"""The sockets of channels as the loop sees them: the XPUB, and the SUB of raw publishers.

Owns both, either of which may be off.  Law: subscriptions that have come are in force before
anything of the same turn is published, so that an echo is never ahead of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import zmq

from broker.node.node import Node
from broker.server.connections import Connections
from broker.server.publish_socket import PublishSocket
from broker.server.raw_socket import RawSocket


class Named(Mapping[str, int]):
    """Counters as they are at any time, under names that begin with ``prefix``."""

    def __init__(self, prefix: str, counters: Mapping[str, int]) -> None:
        self._prefix = prefix
        self._counters = counters

    def __getitem__(self, name: str) -> int:
        return self._counters[name.removeprefix(self._prefix)]

    def __iter__(self) -> Iterator[str]:
        return (self._prefix + name for name in self._counters)

    def __len__(self) -> int:
        return len(self._counters)


class ChannelSockets:
    """Binds at once; what has come is kept until ``attach`` tells who takes it.

    ``publish`` and ``raw`` are addresses, "" for a socket that is off.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        *,
        publish: str,
        raw: str,
        connections_max: int,
    ) -> None:
        self._node: Node | None = None
        self._publish: PublishSocket | None = None
        self._raw: RawSocket | None = None
        #: True while neither socket was used since it had nothing to say: its descriptor tells then
        #: of whatever comes, and to ask would cost each turn of clients that use no channel.
        self._is_quiet = False
        if publish:
            self._publish = PublishSocket(context, publish, connections_max, self._note)
        try:
            if raw:
                self._raw = RawSocket(context, raw, connections_max, self._take_raw)
        except BaseException:
            self.close()
            raise

    def attach(self, node: Node) -> None:
        self._node = node

    @property
    def publish_address(self) -> str:
        """Where subscribers connect; "" for nowhere."""
        return self._publish.address if self._publish is not None else ""

    @property
    def raw_address(self) -> str:
        return self._raw.address if self._raw is not None else ""

    @property
    def filenos(self) -> list[int]:
        """To be watched for input; ``note_ready`` is to hear of it."""
        sockets = [each for each in (self._publish, self._raw) if each is not None]
        return [fileno for each in sockets for fileno in (each.fileno, each.connections.fileno)]

    @property
    def counters(self) -> list[Mapping[str, int]]:
        named = (("subscribers_", self._publish), ("raw_publishers_", self._raw))
        return [
            Named(prefix, counter)
            for prefix, each in named
            if each is not None
            for counter in (each.counters, each.connections.counters)
        ]

    @property
    def connections(self) -> list[Connections]:
        return [each.connections for each in (self._publish, self._raw) if each is not None]

    @property
    def is_drained(self) -> bool:
        publish, raw = self._publish, self._raw
        return (publish is None or publish.is_drained) and (raw is None or raw.is_drained)

    def has_input(self) -> bool:
        """To be asked right before blocking."""
        if self._is_quiet:
            return False
        publish, raw = self._publish, self._raw
        has_input = (publish is not None and publish.has_input()) or (
            raw is not None and raw.has_input()
        )
        self._is_quiet = not has_input
        return has_input

    def note_ready(self, fileno: int) -> None:
        """One of ``filenos`` has something to tell."""
        self._is_quiet = False
        for each in self.connections:
            if each.fileno == fileno:
                each.follow()

    def follow(self) -> None:
        """Takes note of connections that came and went."""
        for each in self.connections:
            each.follow()

    def take_in(self, now_ms: int) -> None:
        if self._is_quiet:
            return
        publish, raw = self._publish, self._raw
        if publish is not None and (not publish.is_drained or publish.has_input()):
            publish.receive()
        if raw is not None and (not raw.is_drained or raw.has_input()):
            raw.receive(now_ms)

    def send(self, published: Iterable[list[bytes]]) -> None:
        if self._publish is not None:
            self._is_quiet = False
            self._publish.send(published)

    def close(self) -> None:
        for each in (self._publish, self._raw):
            if each is not None:
                each.close()

    def _note(self, prefix: bytes, on: bool) -> None:
        assert self._node is not None
        self._node.note_subscription(prefix, on)

    def _take_raw(self, now_ms: int, frames: list[bytes]) -> None:
        assert self._node is not None
        self._node.receive_raw(now_ms, frames)
