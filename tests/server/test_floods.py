"""Clients that send without end or connect without end: memory and descriptors stay bounded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

from broker.limits import MIB
from tests.support.broker_process import BrokerProcess
from tests.support.raw_zmtp import RawDealer, frame
from tests.support.wire import WireClient, WireClients, bodies_of


def send_without_end(raw: RawDealer, part: bytes, bytes_max: int) -> int:
    """Sends ``part`` until the connection is cut; the bytes that went out."""
    sent = 0
    with contextlib.suppress(OSError):
        while sent < bytes_max:
            raw.socket.sendall(part)
            sent += len(part)
    return sent


@pytest.fixture
def small(tmp_path: Path) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path, ["--memory-max", "512MiB"]) as broker:
        yield broker


@pytest.mark.parametrize("frame_bytes", [MIB, 16], ids=["large frames", "small frames"])
def test_a_multipart_without_an_end_is_cut_and_its_memory_comes_back(
    small: BrokerProcess, clients: WireClients, frame_bytes: int
) -> None:
    client = clients.open(small.endpoint)
    before = small.rss_bytes
    part = frame(bytes(frame_bytes), more=True) * (MIB // frame_bytes)
    with RawDealer(small.port).shake_hands() as raw:
        assert send_without_end(raw, part, 8_192 * MIB) < 8_192 * MIB
    assert client.put("orders", [b"body"]).name in {"ok", "resource_alarm"}
    assert small.rss_bytes - before < 1_024 * MIB
    assert "connections cut" in small.stderr


def test_two_thousand_connections_do_not_stop_the_broker(
    broker: BrokerProcess, client: WireClient, clients: WireClients
) -> None:
    raws = [RawDealer(broker.port) for _ in range(2_000)]
    dealers = [clients.connect(broker.endpoint) for _ in range(500)]
    for dealer in dealers:
        dealer.command("hello", client="one of many")
    assert all(dealer.receive().name == "welcome" for dealer in dealers)
    assert client.put("orders", [b"body"]).name == "ok"
    assert bodies_of(client.get("orders")) == [b"body"]
    for raw in raws:
        raw.close()


def test_silent_connections_over_the_bound_make_room_for_a_client_that_speaks(
    tmp_path: Path, clients: WireClients
) -> None:
    with BrokerProcess(tmp_path, ["--connections-max", "50"]) as broker:
        raws = [RawDealer(broker.port) for _ in range(300)]
        client = clients.open(broker.endpoint)
        assert client.put("orders", [b"body"]).name == "ok"
        raws += [RawDealer(broker.port) for _ in range(300)]
        assert bodies_of(client.get("orders")) == [b"body"]
        for raw in raws:
            raw.close()


def test_a_client_that_never_reads_is_cut_off_and_others_are_served(
    broker: BrokerProcess, client: WireClient
) -> None:
    commands = [{"v": 1, "cmd": "hello", "req": 0, "client": "deaf"}]
    commands += [{"v": 1, "cmd": "queues", "req": 1}] * 1_000
    part = b"".join(frame(msgpack.packb(command), more=False) for command in commands)
    with RawDealer(broker.port).shake_hands() as deaf:
        assert send_without_end(deaf, part, 256 * MIB) < 256 * MIB
    assert client.request("ping").name == "pong"
    assert "too slow to take its replies" in broker.stderr
    assert broker.terminate() == 0
    assert "cut_slow=1" in broker.stderr


def test_what_was_refused_is_counted_in_the_log(broker: BrokerProcess, client: WireClient) -> None:
    for _ in range(3):
        client.send_frames(b"nonsense")
    client.request("ping")
    assert broker.terminate() == 0
    assert "refused_not_an_envelope=3" in broker.stderr
