"""Connections keep their order and lose only by breaking; links do what they like."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from broker.testing.network import Connection, Network, NetworkFaults
from broker.testing.schedule import SECOND, Schedule


@dataclass
class Broker:
    name: str
    is_reachable: bool = True
    received: list[tuple[bytes, bytes]] = field(default_factory=list)
    linked: list[bytes] = field(default_factory=list)

    def receive(self, peer: bytes, frames: list[bytes]) -> None:
        self.received.append((peer, frames[0]))

    def receive_link(self, frames: list[bytes]) -> None:
        self.linked.append(frames[0])


@dataclass
class Client:
    name: str = "c"
    received: list[bytes] = field(default_factory=list)
    lost: list[Connection] = field(default_factory=list)

    def receive(self, frames: list[bytes]) -> None:
        self.received.append(frames[0])

    def lose_connection(self, connection: Connection) -> None:
        self.lost.append(connection)


class World:
    def __init__(self, **faults: float) -> None:
        self.schedule = Schedule()
        settings = NetworkFaults()
        for name, value in faults.items():
            setattr(settings, name, value)
        self.network = Network(self.schedule, Random(1), settings)
        self.client = Client()
        self.a, self.b = Broker("a"), Broker("b")
        self.network.brokers = {"a": self.a, "b": self.b}

    def connect(self) -> Connection:
        connection = self.network.connect(self.client, self.a)
        assert connection is not None
        return connection

    def run(self) -> None:
        while self.schedule.step():
            pass


NUMBERED = [b"%d" % n for n in range(200)]


def test_a_connection_keeps_the_order_even_when_much_is_late() -> None:
    world = World(late=0.5)
    connection = world.connect()
    for frame in NUMBERED:
        world.network.send_to_broker(connection, [frame])
        world.network.send_to_client(world.a, connection.peer, [frame])
    world.run()
    assert [frame for _, frame in world.a.received] == NUMBERED
    assert world.client.received == NUMBERED


def test_nobody_connects_to_a_broker_that_is_down() -> None:
    world = World()
    world.a.is_reachable = False
    assert world.network.connect(world.client, world.a) is None


def test_a_broken_connection_loses_what_is_under_way_and_the_client_is_told() -> None:
    world = World()
    connection = world.connect()
    world.network.send_to_broker(connection, [b"x"])
    world.network.break_connection(connection)
    world.run()
    assert world.a.received == []
    assert world.client.lost == [connection]
    assert not world.network.send_to_client(world.a, connection.peer, [b"y"])


def test_a_connection_that_was_made_again_is_a_new_peer_and_nobody_is_told() -> None:
    world = World()
    connection = world.connect()
    before = connection.peer
    world.network.send_to_broker(connection, [b"lost"])
    world.network.remake_connection(connection)
    world.network.send_to_broker(connection, [b"arrives"])
    world.run()
    assert world.a.received == [(connection.peer, b"arrives")]
    assert connection.peer != before
    assert world.client.lost == []


def test_every_peer_is_named_as_zeromq_names_it() -> None:
    world = World()
    peers = [world.connect().peer for _ in range(300)]
    assert all(len(peer) == 5 and peer[0] == 0 for peer in peers)
    assert len(dict.fromkeys(peers)) == 300


def test_a_calm_link_loses_nothing_and_keeps_the_order() -> None:
    world = World()
    for frame in NUMBERED:
        world.network.send_link("a", "b", [frame])
    world.run()
    assert world.b.linked == NUMBERED


def test_a_bad_link_drops_doubles_and_reorders() -> None:
    world = World(drop=0.2, double=0.2, reorder=0.5, late=0.2)
    for frame in NUMBERED:
        world.network.send_link("a", "b", [frame])
    world.run()
    came = world.b.linked
    assert len(dict.fromkeys(came)) < len(NUMBERED)
    assert len(dict.fromkeys(came)) < len(came)
    assert came != sorted(came, key=int)


def test_a_cut_is_of_one_way_and_some_of_what_it_held_surfaces_when_it_heals() -> None:
    world = World()
    world.network.cut("a", "b")
    for frame in NUMBERED:
        world.network.send_link("a", "b", [frame])
        world.network.send_link("b", "a", [frame])
    world.run()
    assert world.b.linked == []
    assert world.a.linked == NUMBERED
    world.network.heal("a", "b")
    world.run()
    assert 0 < len(world.b.linked) < len(NUMBERED)


def test_late_is_bounded() -> None:
    world = World(late=1.0, reorder=1.0)
    for frame in NUMBERED:
        world.network.send_link("a", "b", [frame])
    world.run()
    assert world.schedule.now_us < 5 * SECOND
