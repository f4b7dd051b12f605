"""What a client may do wrong: each mistake has its named answer, and the broker goes on."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker import limits
from tests.support.broker_process import BrokerProcess
from tests.support.raw_zmtp import RawDealer, frame
from tests.support.wire import WireClient, WireClients


@pytest.fixture
def stranger(broker: BrokerProcess, clients: WireClients) -> WireClient:
    """A client that has not said hello."""
    return clients.connect(broker.endpoint)


def answers_normally(client: WireClient) -> bool:
    return client.request("ping").name == "pong"


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"hello"],
        [b"\xc1"],
        [b"\x81"],
        [msgpack.packb([1, 2])],
        [msgpack.packb(7)],
        [msgpack.packb({1: 2})],
        [msgpack.packb({"v": 1}) + b"more"],
        [b"\xdf\xff\xff\xff\xff"],
        [b"\x91" * 2_000],
        [msgpack.packb({"v": 1, "cmd": msgpack.ExtType(5, b"x")})],
        [b"", msgpack.packb({"v": 1, "cmd": "ping", "req": 1})],
    ],
    ids=lambda frames: frames[0][:8].hex() or "empty",
)
def test_what_is_not_an_envelope_is_told_so(client: WireClient, frames: list[bytes]) -> None:
    client.send_frames(*frames)
    assert client.receive().name == "not_an_envelope"
    assert answers_normally(client)


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ({"v": 2, "cmd": "ping", "req": 1}, "unknown_version"),
        ({"v": 1, "cmd": "explode", "req": 1}, "unknown_command"),
        ({"v": 1, "cmd": "ping", "req": 1, "extra": 1}, "bad_field"),
        ({"v": 1, "cmd": "get", "req": 1, "queue": "orders"}, "bad_field"),
        ({"v": 1, "cmd": "get", "req": 1, "queue": "orders", "max": "ten"}, "bad_field"),
        ({"v": 1, "cmd": "get", "req": 1, "queue": "orders", "max": True}, "bad_field"),
        ({"v": 1, "cmd": "get", "req": 1, "queue": "or ders", "max": 1}, "name_not_allowed"),
        ({"v": 1, "cmd": "get", "req": 1, "queue": "x" * 256, "max": 1}, "name_not_allowed"),
        ({"v": 1, "cmd": "delete", "req": 1, "queue": "nowhere"}, "queue_not_found"),
        ({"v": 1, "cmd": "credit", "req": 1, "consumer": 9}, "consumer_not_found"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_header_is_refused_by_name(
    client: WireClient, header: dict[str, Any], error: str
) -> None:
    client.send(header)
    reply = client.receive()
    assert reply.name == error
    assert answers_normally(client)


def test_a_command_before_hello_gets_no_session(stranger: WireClient) -> None:
    assert stranger.put("orders", [b"body"]).name == "no_session"
    assert stranger.hello().name == "welcome"
    assert stranger.put("orders", [b"body"]).name == "ok"


def test_a_peer_with_a_routing_id_of_its_own_is_refused(
    broker: BrokerProcess, clients: WireClients
) -> None:
    client = clients.connect(broker.endpoint, routing_id=b"me")
    assert client.request("hello", client="test").name == "routing_id_not_allowed"


def test_a_count_that_is_not_the_batchs_is_refused(client: WireClient) -> None:
    batch = msgpack.packb([b"one", b"two"])
    assert client.request("put", batch, queue="orders", count=3).name == "count_mismatch"
    assert answers_normally(client)


def test_a_header_over_its_bound_is_too_large(client: WireClient) -> None:
    client.command("hello", client="x" * limits.HEADER_BYTES_MAX)
    assert client.receive().name == "too_large"
    assert answers_normally(client)


def test_a_batch_over_its_bound_is_too_large_and_one_message_may_be_larger(
    client: WireClient,
) -> None:
    half = bytes(limits.BATCH_BYTES_MAX // 2)
    assert client.put("orders", [half, half]).name == "too_large"
    assert client.put("orders", [bytes(limits.MESSAGE_BYTES_MAX)]).name == "ok"


def test_a_multipart_of_too_many_frames_is_too_large(client: WireClient) -> None:
    header = msgpack.packb({"v": 1, "cmd": "ping", "req": 1})
    client.send_frames(header, *[b"frame"] * 50_000)
    assert client.receive().name == "too_large"
    assert answers_normally(client)


def test_a_frame_over_its_bound_ends_that_connection_and_no_other(
    broker: BrokerProcess, client: WireClient
) -> None:
    with RawDealer(broker.port).shake_hands() as raw:
        raw.socket.sendall(frame(bytes(limits.FRAME_BYTES_MAX + 1), more=False)[:64])
        raw.read_until_cut()
    assert answers_normally(client)


def test_no_mistake_of_a_client_leaves_a_traceback(
    broker: BrokerProcess, client: WireClient
) -> None:
    for index in range(200):
        client.send_frames(bytes([index]) * index)
    assert answers_normally(client)
    assert "Traceback" not in broker.output
    assert len(broker.stderr.splitlines()) < 50
