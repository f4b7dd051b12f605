"""MsgQueue's channels through the client that its users import; never behind `patterns`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.fanout.contender import CHANNEL, IDLE_SECONDS, Publish, Subscribe, Take
from bench.peers.msgqueue import COMMAND, MsgQueue
from bench.processes import Service

_HISTORY = 10_000_000


@dataclass(frozen=True, slots=True)
class MsgQueueChannels:
    """One broker; the channel keeps nothing, or all of the run on disk."""

    durable: bool = False
    kind: str = "ours"
    client: str = "Client; publish_many a batch, subscribe"

    @property
    def name(self) -> str:
        """The name in the tables."""
        return "MsgQueue, durable history" if self.durable else "MsgQueue"

    @property
    def _broker(self) -> MsgQueue:
        listen = ("--publish-listen", "tcp://127.0.0.1:0", "--raw-listen", "")
        return MsgQueue(command=(*COMMAND, *listen))

    def missing(self) -> str:
        """Name what this working tree does not have yet."""
        return self._broker.missing()

    def version(self) -> str:
        """Return the commit and the libraries below."""
        return self._broker.version()

    def start(self, directory: Path) -> Service:
        """Start the broker."""
        return self._broker.start(directory)

    @contextmanager
    def open_publisher(self, port: int) -> Iterator[Publish]:
        """Yield a publisher that hands lists over, and single messages as such."""
        from patterns import Client

        with Client(self._broker.addresses(port)) as client:
            channel = self._channel(client)

            def publish(bodies: list[bytes]) -> None:
                if len(bodies) == 1:
                    channel.publish(bodies[0])
                elif bodies:
                    channel.publish_many(bodies)
                else:
                    client.flush()

            yield publish

    @contextmanager
    def open_subscriber(self, port: int) -> Iterator[Subscribe]:
        """Yield a subscriber."""
        from patterns import Client

        with Client(self._broker.addresses(port)) as client:
            self._channel(client)
            with client.subscribe(CHANNEL, timeout=IDLE_SECONDS) as events:
                yield lambda take: _receive(events, take)

    def _channel(self, client: Any) -> Any:
        if self.durable:
            return client.channel(CHANNEL, history=_HISTORY, durable=True)
        return client.channel(CHANNEL)


def _receive(events: Any, take: Take) -> None:
    more = True
    while more:
        for event in events:
            more = take([event.body])
            if not more:
                break
        else:
            more = take([])
