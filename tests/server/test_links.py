"""Links between brokers: real sockets, a broker that restarts, moves, stops or sends rubbish."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import zmq

from broker import limits
from broker.cluster.ownership import BrokerRecord
from broker.errors import AddressInUse
from broker.server.links import Links
from broker.server.watermarks import release_freed_memory, resident_bytes
from tests.support.raw_zmtp import RawDealer, frame
from tests.support.waiting import wait_until

ANY_PORT = "tcp://127.0.0.1:0"
#: Receives at the address in its first argument, and tells what it took in on its output.
READER = """
import sys, zmq
router = zmq.Context().socket(zmq.ROUTER)
router.rcvhwm = 1
router.bind(sys.argv[1])
print(router.last_endpoint.decode(), flush=True)
while True:
    print(router.recv_multipart()[1].decode(), flush=True)
"""


def record(links: str) -> BrokerRecord:
    return BrokerRecord(incarnation="1", clients=(), links=links, version="1")


class Rig:
    """Brokers by id, each with its links; keeps what each took in."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.links: dict[str, Links] = {}
        self.taken: dict[str, list[list[bytes]]] = {}
        self.sockets: list[zmq.Socket[bytes]] = []

    def open(self, broker: str, address: str = ANY_PORT) -> Links:
        self.links[broker] = Links(self.context, address, own_id=broker)
        self.taken[broker] = []
        return self.links[broker]

    def close(self, broker: str) -> None:
        self.links.pop(broker).close()

    def introduce(self) -> None:
        """Everybody is told of everybody, himself included."""
        records = {broker: record(links.address) for broker, links in self.links.items()}
        for links in self.links.values():
            links.follow(records)

    def turn(self, broker: str) -> None:
        self.links[broker].receive(7, lambda _now, frames: self.taken[broker].append(frames))

    def pass_on(self, sender: str, receiver: str, frames: list[bytes]) -> None:
        """Sends ``frames`` again and again until they are taken in; empties what was taken."""

        def is_taken() -> bool:
            self.links[sender].send([(receiver, frames)])
            self.turn(receiver)
            return frames in self.taken[receiver]

        wait_until(is_taken, f"{frames[0][:40]!r} from {sender} to {receiver}")
        self.taken[receiver].clear()

    def dropped(self, sender: str, receiver: str) -> int:
        return self.links[sender].counters[f"links_dropped_{receiver}"]

    def stranger(self, broker: str) -> zmq.Socket[bytes]:
        dealer = self.context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.connect(self.links[broker].address)
        self.sockets.append(dealer)
        return dealer

    def end(self) -> None:
        for broker in list(self.links):
            self.close(broker)
        for socket in self.sockets:
            socket.close()
        self.context.term()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.end()


@pytest.fixture
def pair(rig: Rig) -> Rig:
    """Brokers ``a`` and ``b`` that have heard one another."""
    rig.open("a")
    rig.open("b")
    rig.introduce()
    rig.pass_on("a", "b", [b"to b"])
    rig.pass_on("b", "a", [b"to a"])
    return rig


def test_a_multipart_of_many_frames_arrives_whole_and_in_order(pair: Rig) -> None:
    frames = [b"header", *(b"%d" % index for index in range(limits.LINK_FRAMES_MAX - 1))]
    pair.pass_on("a", "b", frames)
    assert pair.links["b"].counters["links_refused"] == 0


def test_a_frame_as_large_as_the_largest_message_arrives(pair: Rig) -> None:
    pair.pass_on("a", "b", [b"header", bytes(limits.FRAME_BYTES_MAX)])


def test_between_two_living_brokers_the_order_is_kept(pair: Rig) -> None:
    sent = [[b"header", b"%d" % index] for index in range(100)]
    pair.links["a"].send([("b", frames) for frames in sent])
    wait_until(lambda: _turned(pair, "b")[-len(sent) :] == sent, "all of them")


def test_one_turn_takes_a_bounded_number_of_bytes(pair: Rig) -> None:
    half = [b"header", bytes(limits.TURN_BYTES_MAX // 2 + 1)]
    pair.turn("b")
    seen = len(pair.taken["b"])
    pair.links["a"].send([("b", half)] * 5)
    while [b"end"] not in pair.taken["b"]:
        pair.links["a"].send([("b", [b"end"])])
        pair.turn("b")
        assert pair.taken["b"][seen:].count(half) <= 2
        seen = len(pair.taken["b"])


def test_what_cannot_go_is_dropped_and_counted_for_its_broker(rig: Rig) -> None:
    links = rig.open("a")
    links.follow({"gone": record(_free_address(rig))})
    links.send([("gone", [b"one"]), ("unknown", [b"two"]), ("gone", [b"three", b"body"])])
    assert rig.dropped("a", "gone") == 2
    assert rig.dropped("a", "unknown") == 1


def test_a_broker_has_no_link_to_itself(rig: Rig) -> None:
    rig.open("a")
    rig.introduce()
    rig.links["a"].send([("a", [b"to myself"])])
    assert rig.dropped("a", "a") == 1


def test_a_broker_that_restarts_on_the_same_address_is_reached_again(pair: Rig) -> None:
    address = pair.links["b"].address
    pair.close("b")
    wait_until(lambda: _send_drops(pair, "a", "b"), "the link known to be gone")
    pair.open("b", address)
    pair.pass_on("a", "b", [b"again"])


def test_what_was_sent_while_a_broker_was_away_never_reaches_it(pair: Rig) -> None:
    address = pair.links["b"].address
    pair.close("b")
    wait_until(lambda: _send_drops(pair, "a", "b"), "the link known to be gone")
    for _ in range(100):
        pair.links["a"].send([("b", [b"stale"])])
    pair.open("b", address)
    wait_until(lambda: [b"new"] in _sent_and_turned(pair, b"new"), "the link is there again")
    assert [b"stale"] not in pair.taken["b"]


def test_a_broker_that_restarts_elsewhere_is_reached_where_it_is_now(pair: Rig) -> None:
    former = pair.links["b"].address
    pair.close("b")
    pair.open("b")
    assert pair.links["b"].address != former
    pair.introduce()
    pair.pass_on("a", "b", [b"at the new place"])


def test_the_same_records_again_keep_the_links(pair: Rig) -> None:
    pair.introduce()
    assert _sent(pair.links["a"], "b", b"at once")


def test_a_broker_without_a_record_has_no_link(pair: Rig) -> None:
    pair.links["a"].follow({"a": record(pair.links["a"].address)})
    dropped = pair.dropped("a", "b")
    pair.links["a"].send([("b", [b"lost"])])
    assert pair.dropped("a", "b") == dropped + 1


def test_a_record_with_no_usable_address_costs_that_link_alone(pair: Rig) -> None:
    records = {"b": record(pair.links["b"].address), "c": record("nowhere")}
    pair.links["a"].follow(records)
    pair.links["a"].send([("c", [b"lost"])])
    assert pair.dropped("a", "c") == 1
    pair.pass_on("a", "b", [b"still there"])


def test_a_port_in_use_is_named(rig: Rig) -> None:
    address = rig.open("a").address
    with pytest.raises(AddressInUse, match=address):
        rig.open("b", address)


def test_a_stopped_broker_never_blocks_the_sender_and_gets_what_is_new_once_it_goes_on(
    rig: Rig,
) -> None:
    with _reader_process() as (reader, address, lines):
        links = rig.open("a")
        links.follow({"r": record(address), "b": record(rig.open("b").address)})
        wait_until(lambda: _sent(links, "r", b"before") and lines() > 0, "the reader reached")
        os.kill(reader, signal.SIGSTOP)
        body = bytes(limits.MIB // 4)
        dropped = rig.dropped("a", "r")
        for _ in range(2 * limits.LINK_OUTBOX_MULTIPARTS_MAX):
            links.send([("r", [b"bulk", body])])
        assert rig.dropped("a", "r") > dropped
        rig.pass_on("a", "b", [b"others go on"])
        os.kill(reader, signal.SIGCONT)
        taken = lines()
        wait_until(lambda: _sent(links, "r", b"after") and lines() > taken, "the reader goes on")


def test_a_link_that_takes_nothing_is_cut_and_what_waited_is_freed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LINK_STALL_MAX", 500)
    monkeypatch.setattr(limits, "HANDSHAKE_MAX", 500)
    with _reader_process() as (reader, address, lines):
        links = rig.open("a")
        links.follow({"r": record(address)})
        wait_until(lambda: _sent(links, "r", b"before") and lines() > 0, "the reader reached")
        os.kill(reader, signal.SIGSTOP)
        body = bytes(limits.MIB // 4)
        for _ in range(limits.LINK_OUTBOX_MULTIPARTS_MAX):
            links.send([("r", [b"bulk", body])])
        held = resident_bytes()

        def is_given_back() -> bool:
            assert not _sent(links, "r", b"into the void")
            release_freed_memory()
            return resident_bytes() < held - 16 * limits.MIB

        wait_until(is_given_back, "the memory given back")
        os.kill(reader, signal.SIGCONT)
        wait_until(lambda: _sent(links, "r", b"after"), "the link made anew")


def test_a_multipart_of_too_many_frames_is_refused_and_the_next_one_taken(pair: Rig) -> None:
    pair.turn("b")
    pair.taken["b"].clear()
    stranger = pair.stranger("b")
    stranger.send_multipart([b"x"] * (3 * limits.LINK_FRAMES_MAX + 1))
    stranger.send_multipart([b"next"])
    wait_until(lambda: [b"next"] in _turned(pair, "b"), "the next one")
    assert pair.taken["b"] == [[b"next"]]
    assert pair.links["b"].counters["links_refused"] == 1


def test_a_frame_above_the_bound_ends_that_connection_alone(pair: Rig) -> None:
    port = int(pair.links["b"].address.rpartition(":")[2])
    with RawDealer(port).shake_hands() as raw:
        raw.socket.sendall(frame(bytes(limits.FRAME_BYTES_MAX + 1), more=False)[:64])
        raw.read_until_cut()
    pair.pass_on("a", "b", [b"goes on"])


def test_what_is_no_zmtp_at_all_does_no_harm(pair: Rig) -> None:
    port = int(pair.links["b"].address.rpartition(":")[2])
    with RawDealer(port) as raw:
        raw.socket.sendall(b"GET / HTTP/1.1\r\n\r\n" * 64)
    pair.pass_on("a", "b", [b"goes on"])


def test_an_answer_to_what_only_sends_does_no_harm(rig: Rig) -> None:
    context = rig.context
    router = context.socket(zmq.ROUTER)
    rig.sockets.append(router)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    links = rig.open("a")
    links.follow({"r": record(f"tcp://127.0.0.1:{port}")})
    wait_until(lambda: _sent(links, "r", b"question"), "the link made")
    peer, question = router.recv_multipart()
    assert question == b"question"
    for _ in range(1_000):
        router.send_multipart([peer, bytes(512)])
    wait_until(lambda: _sent(links, "r", b"more"), "the link goes on")
    assert router.recv_multipart()[1] == b"more"


def _turned(rig: Rig, broker: str) -> list[list[bytes]]:
    rig.turn(broker)
    return rig.taken[broker]


def _sent_and_turned(rig: Rig, word: bytes) -> list[list[bytes]]:
    rig.links["a"].send([("b", [word])])
    return _turned(rig, "b")


def _sent(links: Links, broker: str, word: bytes) -> bool:
    """True when it went, which does not say that it arrived."""
    before = links.counters[f"links_dropped_{broker}"]
    links.send([(broker, [word])])
    return links.counters[f"links_dropped_{broker}"] == before


def _send_drops(rig: Rig, sender: str, receiver: str) -> bool:
    return not _sent(rig.links[sender], receiver, b"is it there?")


def _free_address(rig: Rig) -> str:
    """An address at which nobody listens any more."""
    address = rig.open("closed").address
    rig.close("closed")
    return address


@contextmanager
def _reader_process() -> Iterator[tuple[int, str, Callable[[], int]]]:
    """Its pid, its address, and how many multiparts it has told of."""
    process = subprocess.Popen(
        [sys.executable, "-c", READER, ANY_PORT], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        os.set_blocking(process.stdout.fileno(), False)
        seen = 0

        def lines() -> int:
            nonlocal seen
            assert process.stdout is not None
            while process.stdout.readline():
                seen += 1
            return seen

        yield process.pid, address, lines
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
