"""The ROUTER and its connections, spoken to by real DEALERs and by raw TCP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from broker import limits
from broker.errors import AddressInUse, ConfigError
from broker.server.client_socket import ClientSocket, bind, open_router
from broker.server.connections import Connections
from tests.support.raw_zmtp import RawDealer, frame
from tests.support.waiting import wait_until


class Server:
    """A ROUTER with its guard, turned by hand; keeps what was taken in."""

    def __init__(self, connections_max: int = 1_000) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.router = open_router(self.context)
        self.connections = Connections(self.router, connections_max)
        self.clients = ClientSocket(self.router, self.connections)
        (self.endpoint,) = bind(self.router, ["tcp://127.0.0.1:0"])
        self.port = int(self.endpoint.rpartition(":")[2])
        self.taken: list[tuple[bytes, list[bytes]]] = []
        self._sockets: list[zmq.Socket[bytes]] = []

    def turn(self) -> None:
        self.connections.follow()
        self.clients.receive(0, lambda _now, peer, frames: self.taken.append((peer, frames)))

    def turn_until_taken(self, count: int) -> None:
        def is_taken() -> bool:
            self.turn()
            return len(self.taken) >= count

        wait_until(is_taken, f"{count} multiparts taken in")

    def turn_until_open(self, count: int) -> None:
        def is_open() -> bool:
            self.turn()
            return len(self.connections) == count

        wait_until(is_open, f"{count} connections open")

    def dealer(self, routing_id: bytes = b"") -> zmq.Socket[bytes]:
        dealer = self.context.socket(zmq.DEALER)
        self._sockets.append(dealer)
        if routing_id:
            dealer.routing_id = routing_id
        dealer.connect(self.endpoint)
        return dealer

    def another_router(self) -> zmq.Socket[bytes]:
        self._sockets.append(open_router(self.context))
        return self._sockets[-1]

    def close(self) -> None:
        self.connections.close()
        for socket in (self.router, *self._sockets):
            socket.close()
        self.context.term()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def test_multiparts_come_in_whole_with_the_id_that_the_router_gave(server: Server) -> None:
    server.dealer().send_multipart([b"header", b"batch"])
    server.turn_until_taken(1)
    peer, frames = server.taken[0]
    assert frames == [b"header", b"batch"]
    assert len(peer) == 5
    assert peer[0] == 0


def test_a_peers_own_routing_id_is_passed_on_as_it_is(server: Server) -> None:
    server.dealer(b"chosen").send(b"header")
    server.turn_until_taken(1)
    assert server.taken == [(b"chosen", [b"header"])]


def test_one_turn_takes_a_bounded_number_of_multiparts(server: Server) -> None:
    dealer = server.dealer()
    count = limits.TURN_MULTIPARTS_MAX + 1
    for _ in range(count):
        dealer.send(b"header")
    server.turn_until_taken(1)
    assert len(server.taken) <= limits.TURN_MULTIPARTS_MAX
    server.turn_until_taken(count)
    assert len(server.taken) == count


def test_one_turn_takes_a_bounded_number_of_bytes(server: Server) -> None:
    dealer = server.dealer()
    body = bytes(limits.TURN_BYTES_MAX // 2 + 1)
    for _ in range(5):
        dealer.send(body)
    before = 0
    while len(server.taken) < 5:
        server.turn()
        assert len(server.taken) - before <= 2
        before = len(server.taken)


def test_a_multipart_of_too_many_frames_is_cut_to_one_above_the_bound(server: Server) -> None:
    dealer = server.dealer()
    dealer.send_multipart([b"header", b"columns", b"batch", *[b"more"] * 30_000])
    dealer.send_multipart([b"next"])
    server.turn_until_taken(2)
    frames = [frames for _, frames in server.taken]
    assert frames == [[b"header", b"columns", b"batch", b""], [b"next"]]
    assert server.clients.counters["frames_discarded"] == 30_000


def test_a_frame_above_the_bound_ends_the_connection_and_the_rest_go_on(server: Server) -> None:
    with RawDealer(server.port).shake_hands() as raw:
        raw.socket.sendall(frame(bytes(limits.FRAME_BYTES_MAX + 1), more=False)[:64])
        raw.read_until_cut()
    server.dealer().send(b"header")
    server.turn_until_taken(1)
    assert server.taken[0][1] == [b"header"]


def test_a_reply_reaches_its_peer_whole(server: Server) -> None:
    dealer = server.dealer()
    dealer.send(b"header")
    server.turn_until_taken(1)
    peer = server.taken[0][0]
    replies = [(peer, [b"one"]), (peer, [b"two", b"columns", b"batch"])]
    assert server.clients.send(replies) == {}
    assert dealer.recv_multipart() == [b"one"]
    assert dealer.recv_multipart() == [b"two", b"columns", b"batch"]


def test_a_peer_that_is_gone_is_told_and_does_not_hinder_others(server: Server) -> None:
    dealer = server.dealer()
    dealer.send(b"header")
    server.turn_until_taken(1)
    peer = server.taken[0][0]
    failed = server.clients.send([(b"\0nobody", [b"lost"]), (peer, [b"kept"])])
    assert failed == {b"\0nobody": "the connection is gone"}
    assert dealer.recv() == b"kept"


def test_a_peer_that_does_not_read_is_cut_once_its_pipe_is_full(server: Server) -> None:
    with RawDealer(server.port).shake_hands() as raw:
        raw.send_frame(b"header", more=False)
        server.turn_until_taken(1)
        peer = server.taken[0][0]
        reply = (peer, [bytes(4_096)])
        rounds = 0
        while not (failed := server.clients.send([reply] * 1_000)):
            rounds += 1
            assert rounds < 100
        raw.read_until_cut()
    assert server.connections.counters["cut_slow"] == 1
    assert failed == {peer: "too slow to take its replies"}


def test_connections_beyond_the_bound_push_out_the_longest_silent_one() -> None:
    server = Server(connections_max=3)
    worker = server.dealer()
    worker.send(b"header")
    server.turn_until_taken(1)
    silent = [RawDealer(server.port) for _ in range(2)]
    server.turn_until_open(3)
    newest = RawDealer(server.port)
    server.turn_until_open(3)
    wait_until(lambda: _turned(server).counters["cut_too_many"] == 1, "one connection cut")
    silent[0].read_until_cut()
    worker.send(b"again")
    server.turn_until_taken(2)
    for raw in (*silent, newest):
        raw.close()
    server.close()


def test_a_connection_that_closes_makes_room(server: Server) -> None:
    raws = [RawDealer(server.port) for _ in range(5)]
    server.turn_until_open(5)
    for raw in raws:
        raw.close()
    server.turn_until_open(0)


def test_a_multipart_without_an_end_is_cut_off(server: Server) -> None:
    with RawDealer(server.port).shake_hands() as raw:
        raw.send_frame(b"header", more=False)
        server.turn_until_taken(1)
        assert server.connections.cut_unread(limits.MIB) == 0
        part = frame(bytes(limits.MIB), more=True)
        for _ in range(4):
            raw.socket.sendall(part)
        wait_until(lambda: _cut_unread(server) == 1, "the connection cut")
        raw.read_until_cut()
    server.turn_until_open(0)


def test_a_connection_that_delivers_is_never_cut_however_much_it_sends(server: Server) -> None:
    dealer = server.dealer()
    assert server.connections.cut_unread(limits.MIB) == 0
    for count in range(1, 9):
        dealer.send(bytes(limits.MIB))
        server.turn_until_taken(count)
        server.turn()
        assert server.connections.cut_unread(limits.MIB) == 0


def test_a_silent_connection_is_closed_when_it_does_not_shake_hands(server: Server) -> None:
    with RawDealer(server.port) as raw:
        server.turn_until_open(1)
        assert raw.socket.recv(64)
        server.turn_until_open(0)


def test_a_port_in_use_is_named(server: Server) -> None:
    router = server.another_router()
    with pytest.raises(AddressInUse, match=server.endpoint):
        bind(router, [server.endpoint])


def test_an_address_that_cannot_be_had_is_named(server: Server) -> None:
    router = server.another_router()
    with pytest.raises(ConfigError, match="no-such-interface"):
        bind(router, ["tcp://no-such-interface:5570"])


def test_an_ipv6_address_can_be_listened_on(server: Server) -> None:
    router = server.another_router()
    bound = bind(router, ["tcp://[::1]:0", "tcp://127.0.0.1:0"])
    assert [address.rpartition(":")[0] for address in bound] == ["tcp://[::1]", "tcp://127.0.0.1"]


def _turned(server: Server) -> Connections:
    server.turn()
    return server.connections


def _cut_unread(server: Server) -> int:
    server.turn()
    return server.connections.cut_unread(limits.MIB)
