"""Channels of three real brokers: subscribers and publishers at any of them."""

from __future__ import annotations

import msgpack
import zmq

from broker.model.slots import slot_of
from tests.support.cluster_process import ClusterProcess
from tests.support.subscriber import Subscriber
from tests.support.waiting import wait_until
from tests.support.wire import Reply, WireClient, WireClients


def publish(client: WireClient, channel: str, *bodies: bytes) -> Reply:
    return client.request(
        "publish", msgpack.packb(list(bodies)), channel=channel, count=len(bodies)
    )


def fanouts(client: WireClient) -> int:
    """How many multiparts for its subscribers the broker had from others."""
    counters = client.request("stats").header["stats"]["counters"]
    return int(counters.get("fanouts_received", 0))


def channel_of(cluster: ClusterProcess, name: str) -> str:
    """A channel that the broker serves."""
    return next(c for c in (f"c{n}" for n in range(999)) if cluster.primary_of(c) == name)


def test_a_message_comes_to_every_broker_once_and_only_where_somebody_listens(
    cluster: ClusterProcess, clients: WireClients
) -> None:
    b1, b2, b3 = cluster.brokers.values()
    at = [clients.open(broker.endpoint) for broker in (b1, b2, b3)]
    channel = channel_of(cluster, "b1")
    subscribers = [Subscriber(at[1], b2.publish_endpoint) for _ in range(3)]
    for each in subscribers:
        each.subscribe(channel.encode() + b"\0")
    assert at[1].request("subscribe", pattern=channel, sub=1).name == "ok"
    with Subscriber(at[0], b1.publish_endpoint) as own:
        own.subscribe(channel.encode() + b"\0")
        before = [fanouts(client) for client in at]
        for number in range(10):
            told = publish(at[2], channel, b"%d" % number)
            assert told.header["subscriptions"] == 4
        for each in (*subscribers, own):
            bodies: list[bytes] = []
            while len(bodies) < 10:
                bodies += each.receive()[2]
            assert bodies == [b"%d" % number for number in range(10)]
        assert [fanouts(client) for client in at] == [before[0], before[1] + 10, before[2]]
    for each in subscribers:
        each.close()


def test_a_raw_publish_at_any_broker_comes_to_a_subscriber_at_any(
    cluster: ClusterProcess, clients: WireClients
) -> None:
    _, b2, b3 = cluster.brokers.values()
    channel = channel_of(cluster, "b1").encode()
    publisher: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUB)
    publisher.linger = 0
    publisher.connect(b3.raw_endpoint)
    with Subscriber(clients.open(b2.endpoint), b2.publish_endpoint) as subscriber:
        subscriber.subscribe(channel + b"\0")

        def has_come() -> bool:
            publisher.send_multipart([channel, b"raw"])
            return bool(subscriber.socket.poll(10))

        wait_until(has_come, "a raw publish")
        assert b"raw" in subscriber.receive()[2]
    publisher.close()


def test_subscribers_hear_of_a_new_owner_and_of_how_far_a_kept_channel_is(
    cluster: ClusterProcess, clients: WireClients
) -> None:
    b1, b2, _ = cluster.brokers.values()
    channel = channel_of(cluster, "b1")
    client = clients.open(b2.endpoint)
    settings = {"history_messages": 100, "durable": True}
    assert client.request("declare_channel", channel=channel, settings=settings).name == "ok"
    assert client.request("subscribe", pattern=">", sub=1).name == "ok"
    assert publish(client, channel, b"x", b"y").name == "ok"
    slot = slot_of(channel, cluster.slots)
    b1.kill()
    epoch = 0
    while True:
        reply = client.receive()
        if reply.name != "heads":
            continue
        reigns = dict(reply.header["reigns"])
        epoch = reigns.get(slot, epoch)
        if epoch > 1 and [channel, epoch, 2] in reply.header["heads"]:
            break
    with Subscriber(client, b2.publish_endpoint) as subscriber:
        subscriber.subscribe(channel.encode() + b"\0")
        wait_until(lambda: publish(client, channel, b"z").name == "ok", "the new owner takes it")
        _, header, bodies = subscriber.receive()
        assert (header["epoch"], header["first"], bodies[0]) == (epoch, 2, b"z")
