"""Subscribers and raw publishers of a real broker, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
import zmq

from broker.limits import FANOUT_BYTES, MIB
from tests.support.broker_process import BrokerEnded, BrokerProcess
from tests.support.raw_zmtp import RawDealer
from tests.support.subscriber import Subscriber
from tests.support.waiting import wait_until
from tests.support.wire import Reply, WireClient, WireClients


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        yield context
        context.destroy(linger=0)


@pytest.fixture
def subscriber(broker: BrokerProcess, client: WireClient) -> Iterator[Subscriber]:
    with Subscriber(client, broker.publish_endpoint) as subscriber:
        yield subscriber


def publish(client: WireClient, channel: str, *bodies: bytes) -> Reply:
    reply = client.request(
        "publish", msgpack.packb(list(bodies)), channel=channel, count=len(bodies)
    )
    assert reply.name == "ok", reply
    return reply


def subscriptions(client: WireClient, channel: str) -> int:
    number: int = publish(client, channel, b"?").header["subscriptions"]
    return number


def counters(client: WireClient) -> dict[str, int]:
    found: dict[str, int] = client.request("stats").header["stats"]["counters"]
    return found


def test_the_welcome_tells_where_to_subscribe(broker: BrokerProcess, clients: WireClients) -> None:
    welcome = clients.connect(broker.endpoint).hello()
    assert welcome.header["channels"] == [broker.publish_endpoint]


def test_a_subscriber_gets_what_it_asked_for_and_nothing_else(
    subscriber: Subscriber, client: WireClient
) -> None:
    subscriber.subscribe(b"orders\0", b"a.")
    for channel in ("orders2", "a", "ab.c", "orders", "orders.x", "a.b"):
        publish(client, channel, channel.encode())
    assert [subscriber.receive()[::2] for _ in range(2)] == [
        ("orders", [b"orders"]),
        ("a.b", [b"a.b"]),
    ]
    assert subscriber.subscribe().passed_over == []


def test_ten_subscribers_have_all_in_order(broker: BrokerProcess, client: WireClient) -> None:
    subscribers = [Subscriber(client, broker.publish_endpoint) for _ in range(10)]
    for each in subscribers:
        each.subscribe(b"a\0")
    for number in range(50):
        batch = msgpack.packb([b"%d" % number] * 10)
        client.command("publish", batch, channel="a", count=10)
    assert publish(client, "a", b"last").header["subscriptions"] == 10
    for each in subscribers:
        bodies: list[bytes] = []
        while b"last" not in bodies:
            bodies += each.receive()[2]
        assert bodies == [b"%d" % (n // 10) for n in range(500)] + [b"last"]
        each.close()


def test_a_subscription_ends_with_its_connection(broker: BrokerProcess, client: WireClient) -> None:
    first, second = (Subscriber(client, broker.publish_endpoint) for _ in range(2))
    for each in (first, second):
        # SUB sockets tell of the same prefix each time that it is asked for.
        each.subscribe(b"a\0", b"a\0", b"a\0", b"b\0")
    assert subscriptions(client, "a") == 2
    second.socket.unsubscribe(b"b\0")
    second.subscribe()
    assert subscriptions(client, "b") == 1
    first.close()
    wait_until(lambda: subscriptions(client, "a") == 1, "the first is forgotten")
    assert subscriptions(client, "b") == 0
    second.close()
    wait_until(lambda: subscriptions(client, "a") == 0, "both are forgotten")


def test_a_subscription_that_is_too_long_is_refused_and_counted(
    broker: BrokerProcess, subscriber: Subscriber, client: WireClient
) -> None:
    longest = "n" * 255
    subscriber.subscribe(b"x" * 257, longest.encode() + b"\0")
    publish(client, longest, b"x")
    assert subscriber.receive()[0] == longest
    broker.terminate()
    assert "subscribers_subscriptions_too_long=1" in broker.stderr


def test_who_sends_messages_to_the_xpub_harms_nobody(
    broker: BrokerProcess, client: WireClient, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    stranger = context.socket(zmq.XSUB)
    stranger.linger = 0
    stranger.connect(broker.publish_endpoint)
    subscribers = [Subscriber(client, broker.publish_endpoint) for _ in range(8)]
    for number, each in enumerate(subscribers):
        for _ in range(20):
            stranger.send(b"\7rubbish")
            stranger.send_multipart([b"", b"more"])
        each.socket.subscribe(b"c%d\0" % number)
    for number, each in enumerate(subscribers):
        each.subscribe()
        publish(client, f"c{number}", b"x")
        assert each.receive()[0] == f"c{number}"
        each.close()
    stranger.close()
    broker.terminate()
    assert "subscribers_subscriptions_malformed=" in broker.stderr


def test_a_subscriber_that_reads_no_more_harms_nobody_and_holds_a_bounded_part(
    broker: BrokerProcess, client: WireClient
) -> None:
    stopped = Subscriber(client, broker.publish_endpoint, rcvhwm=1).subscribe(b"a\0")
    with Subscriber(client, broker.publish_endpoint) as reading:
        reading.subscribe(b"a\0")
        before = broker.rss_bytes
        batch = msgpack.packb([b"x" * 16_000] * 32)
        total = rss_max = 0
        while total < 256 * MIB:
            assert client.request("publish", batch, channel="a", count=32).name == "ok"
            got = 0
            while got < 32:
                got += reading.receive()[1]["count"]
            total += len(batch)
            rss_max = max(rss_max, broker.rss_bytes)
        # Its queue is 1 000 multiparts of 64 KiB at most, however long it stands.
        assert rss_max - before < 1_000 * FANOUT_BYTES * 2
    stopped.close()


def test_a_raw_publish_comes_to_subscribers_and_rubbish_is_counted(
    broker: BrokerProcess,
    subscriber: Subscriber,
    client: WireClient,
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    subscriber.subscribe(b"a\0")
    publisher = context.socket(zmq.PUB)
    publisher.connect(broker.raw_endpoint)
    wait_until(lambda: _sent(publisher, subscriber), "the publisher is connected")
    while subscriber.socket.poll(100):
        subscriber.socket.recv_multipart()
    for frames in (
        [b"a"],
        [b"a", b"b", b"\x80", b"d"],
        [b"f"] * 10_000,
        [b"no name", b"x"],
        [b"$sys.alarm", b"x"],
        [b"a", b"x", b"\xc1"],
        [b"a", b"body", msgpack.packb({"h": 1})],
    ):
        publisher.send_multipart(frames)
    assert subscriber.receive()[2] == [[b"body", {"h": 1}]]
    publisher.close()
    found = counters(client)
    assert found["raw_not_an_envelope"] == 3
    assert found["raw_name_not_allowed"] == 2
    assert found["raw_bad_field"] == 1


def _sent(publisher: zmq.Socket[bytes], subscriber: Subscriber) -> bool:
    """A PUB drops what it sends before it is connected."""
    publisher.send_multipart([b"a", b"?"])
    return bool(subscriber.socket.poll(10))


@pytest.mark.parametrize("which", ["publish", "raw"])
def test_rubbish_on_the_wire_ends_its_own_connection_alone(
    broker: BrokerProcess, subscriber: Subscriber, client: WireClient, which: str
) -> None:
    endpoint = broker.publish_endpoint if which == "publish" else broker.raw_endpoint
    with RawDealer(int(endpoint.rpartition(":")[2])) as stranger:
        stranger.socket.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"\xff" * 100)
        stranger.read_until_cut()
    subscriber.subscribe(b"a\0")
    publish(client, "a", b"x")
    assert subscriber.receive()[2] == [b"x"]


@pytest.mark.parametrize("flag", ["--publish-listen", "--raw-listen"])
def test_a_port_that_is_in_use_is_named(broker: BrokerProcess, tmp_path: Path, flag: str) -> None:
    second = BrokerProcess(tmp_path / "second", [flag, broker.publish_endpoint])
    with pytest.raises(BrokerEnded) as caught:
        second.start()
    assert broker.publish_endpoint in caught.value.output
    assert "in use" in caught.value.output
    assert not second.data.exists()


def test_both_sockets_can_be_off(tmp_path: Path, clients: WireClients) -> None:
    off = ["--publish-listen", "", "--raw-listen", ""]
    with BrokerProcess(tmp_path / "off", off) as broker:
        client = clients.connect(broker.endpoint)
        assert "channels" not in client.hello().header
        assert publish(client, "a", b"x").header["subscriptions"] == 0
        assert broker.terminate() == 0
