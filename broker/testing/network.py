"""Connections of clients to brokers, and one-way links between brokers.

Owns delays, losses, cuts and what is under way.  It never looks into a frame.  Law: a connection
is ordered and loses only by breaking; a link may lose, double, delay and reorder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Protocol
from zlib import crc32

from broker.testing.schedule import MS, SECOND, Schedule

Frames = list[bytes]
_HELD_MAX = 64


class Receiver(Protocol):
    """A broker's process, as the network sees it."""

    name: str

    @property
    def is_reachable(self) -> bool: ...

    def receive(self, peer: bytes, frames: Frames) -> None: ...

    def receive_link(self, frames: Frames) -> None: ...


class Caller(Protocol):
    """A client, as the network sees it."""

    name: str

    def receive(self, frames: Frames) -> None: ...

    def lose_connection(self, connection: Connection) -> None: ...


@dataclass(slots=True)
class NetworkFaults:
    """Probabilities of a single multipart; ``tail_us_max`` bounds the longest delay."""

    drop: float = 0.0
    double: float = 0.0
    reorder: float = 0.0
    late: float = 0.0
    late_us_max: int = 4 * SECOND
    #: What a cut link keeps of what was sent into it, to surface when it heals.
    surface: float = 0.3


@dataclass(eq=False, slots=True)
class Connection:
    """``peer`` is the broker's name for it; a connection that was re-made has another."""

    client: Caller
    broker: Receiver
    peer: bytes
    open: bool = True
    #: Instants of the last arrival in each direction: what follows arrives later.
    arrives_at: list[int] = field(default_factory=lambda: [0, 0])


class Network:
    def __init__(self, schedule: Schedule, random: Random, faults: NetworkFaults) -> None:
        self._schedule = schedule
        self._random = random
        self.faults = faults
        self._connections: dict[bytes, Connection] = {}
        self._peers = 0
        #: (from, to) of links that are cut, in the order of the cuts.
        self._cuts: dict[tuple[str, str], list[Frames]] = {}
        self._link_arrives_at: dict[tuple[str, str], int] = {}
        self.brokers: dict[str, Receiver] = {}

    # Connections

    def connect(self, client: Caller, broker: Receiver) -> Connection | None:
        """None when nobody listens."""
        if not broker.is_reachable or self.is_cut(client.name, broker.name):
            return None
        connection = Connection(client, broker, self._next_peer())
        self._connections[connection.peer] = connection
        return connection

    def _next_peer(self) -> bytes:
        self._peers += 1
        return b"\0" + self._peers.to_bytes(4, "big")

    def send_to_broker(self, connection: Connection, frames: Frames) -> None:
        at_us = self._arrival(connection, 0)
        label = f"{connection.client.name} > {connection.broker.name} {_digest(frames)}"
        args = (connection, connection.peer, frames)
        self._schedule.at(at_us, label, self._arrive_at_broker, *args)

    def send_to_client(self, broker: Receiver, peer: bytes, frames: Frames) -> bool:
        """False when the peer is gone."""
        connection = self._connections.get(peer)
        if connection is None or connection.broker is not broker:
            return False
        at_us = self._arrival(connection, 1)
        label = f"{broker.name} > {connection.client.name} {_digest(frames)}"
        self._schedule.at(at_us, label, self._arrive_at_client, connection, peer, frames)
        return True

    def _arrival(self, connection: Connection, way: int) -> int:
        last = connection.arrives_at[way]
        at_us = max(last + 1, self._schedule.now_us + self._delay_us())
        connection.arrives_at[way] = at_us
        return at_us

    def _arrive_at_broker(self, connection: Connection, peer: bytes, frames: Frames) -> None:
        if connection.peer == peer and connection.open:
            connection.broker.receive(peer, frames)

    def _arrive_at_client(self, connection: Connection, peer: bytes, frames: Frames) -> None:
        if connection.peer == peer and connection.open:
            connection.client.receive(frames)

    def close(self, connection: Connection) -> None:
        """The client goes; the broker learns of it when it sends."""
        connection.open = False
        self._connections.pop(connection.peer, None)

    def break_connection(self, connection: Connection) -> None:
        """What is under way is lost, and the client is told."""
        self.close(connection)
        label = f"{connection.client.name} lost {connection.broker.name}"
        delay_us = self._delay_us() * 4
        self._schedule.after(delay_us, label, connection.client.lose_connection, connection)

    def remake_connection(self, connection: Connection) -> None:
        """Broken and made again under the client: what was under way is lost and nobody is told."""
        del self._connections[connection.peer]
        connection.peer = self._next_peer()
        self._connections[connection.peer] = connection

    def connections_of(self, broker: Receiver) -> list[Connection]:
        return [c for c in self._connections.values() if c.broker is broker]

    @property
    def connections(self) -> list[Connection]:
        return list(self._connections.values())

    # Links

    def send_link(self, source: str, target: str, frames: Frames) -> None:
        faults, chance = self.faults, self._random.random
        held = self._cuts.get((source, target))
        if held is not None:
            if len(held) < _HELD_MAX and chance() < faults.surface:
                held.append(frames)
            return
        if faults.drop and chance() < faults.drop:
            return
        self._carry(source, target, frames)
        if faults.double and chance() < faults.double:
            self._carry(source, target, frames)

    def _carry(self, source: str, target: str, frames: Frames) -> None:
        at_us = self._schedule.now_us + self._delay_us()
        if not self.faults.reorder or self._random.random() >= self.faults.reorder:
            at_us = max(at_us, self._link_arrives_at.get((source, target), 0) + 1)
            self._link_arrives_at[source, target] = at_us
        label = f"{source} => {target} {_digest(frames)}"
        self._schedule.at(at_us, label, self._arrive_at_link, source, target, frames)

    def _arrive_at_link(self, source: str, target: str, frames: Frames) -> None:
        broker = self.brokers[target]
        if broker.is_reachable and (source, target) not in self._cuts:
            broker.receive_link(frames)

    # Cuts

    def is_cut(self, source: str, target: str) -> bool:
        return (source, target) in self._cuts

    def cut(self, source: str, target: str) -> None:
        self._cuts.setdefault((source, target), [])

    def heal(self, source: str, target: str) -> None:
        """Some of what was sent into the cut surfaces now."""
        for frames in self._cuts.pop((source, target), []):
            self._carry(source, target, frames)

    def heal_all(self) -> None:
        for source, target in list(self._cuts):
            self.heal(source, target)

    def _delay_us(self) -> int:
        faults, chance = self.faults, self._random.random
        if faults.late and chance() < faults.late:
            # A heavy tail: most late ones are a little late, a few very much.
            return int(MS + faults.late_us_max * chance() ** 4)
        return 100 + int(400 * chance())


def _digest(frames: Frames) -> str:
    crc = 0
    for frame in frames:
        crc = crc32(frame, crc)
    return f"{crc:08x}"
