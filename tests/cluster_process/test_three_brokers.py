"""Three brokers and an etcd, all real processes: what clients see while brokers come and go."""

from __future__ import annotations

import signal

import msgpack
import pytest

from patterns import Client
from tests.support.cluster_process import NAME, ClusterProcess
from tests.support.waiting import wait_until
from tests.support.wire import Reply, WireClient, WireClients, bodies_of

QUEUE = "orders"
#: What a client is told while a slot changes hands; the same request may be sent again.
PASSING = ("not_primary", "not_enough_replicas", "outcome_unknown")


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def take_all(cluster: ClusterProcess, count: int) -> list[bytes]:
    """What a consumer is given until it has seen ``count`` different messages."""
    seen: dict[bytes, int] = {}
    with Client(cluster.endpoints) as mq:
        while len(seen) < count:
            for message in mq.queue(QUEUE).consume(max=count, timeout=5):
                seen[message.body] = seen.get(message.body, 0) + 1
                message.ack()
        mq.flush(60)
    return list(seen)


def put_until_taken(client: WireClient, body: bytes) -> None:
    """Names the put, so that one whose outcome is unknown appears once."""

    def is_taken() -> bool:
        reply = client.put(QUEUE, [body], producer=b"p", seq=int(body))
        assert reply.name == "ok" or reply.name in PASSING, reply
        return reply.name == "ok"

    wait_until(is_taken, f"{body!r} taken")


def get_until_given(client: WireClient) -> Reply:
    replies: list[Reply] = []

    def is_given() -> bool:
        replies.append(client.get(QUEUE, max=1, timeout_ms=1_000))
        assert replies[-1].name == "messages" or replies[-1].name in PASSING, replies[-1]
        return bool(replies[-1].header.get("runs"))

    wait_until(is_given, "a message given")
    return replies[-1]


def test_the_ready_line_names_the_cluster_and_the_broker(cluster: ClusterProcess) -> None:
    for name, broker in cluster.brokers.items():
        assert f", data in {broker.data}, " in broker.stdout
        assert broker.stdout.endswith(f", cluster {NAME} as {name}\n")


def test_a_put_through_any_broker_is_read_through_any_other(
    cluster: ClusterProcess, clients: WireClients
) -> None:
    doors = [clients.open(broker.endpoint) for broker in cluster.brokers.values()]
    bodies = [b"%d" % index for index, _ in enumerate(doors)]
    for door, body in zip(doors, bodies, strict=True):
        put_until_taken(door, body)
    for door, body in zip(reversed(doors), bodies, strict=True):
        delivery = get_until_given(door)
        assert bodies_of(delivery) == [body]
        assert door.ack_all(delivery).name == "ok"


def test_all_brokers_tell_the_same_map(cluster: ClusterProcess, clients: WireClients) -> None:
    maps = [
        clients.open(broker.endpoint).request("map").header for broker in cluster.brokers.values()
    ]
    assert {str(each["owners"]) for each in maps} == {str(maps[0]["owners"])}
    assert set(maps[0]["owners"]) <= set(cluster.brokers)
    told = {name: [broker.endpoint] for name, broker in cluster.brokers.items()}
    assert maps[0]["brokers"] == told


def test_what_was_confirmed_is_all_delivered_after_kill_9_of_the_primary(
    cluster: ClusterProcess,
) -> None:
    bodies = numbers(2_000)
    with Client(cluster.endpoints) as mq:
        confirms = [mq.queue(QUEUE).put(body) for body in bodies[:1_000]]
        confirms[500].wait(60)
        cluster.brokers[cluster.primary_of(QUEUE)].kill()
        confirms += [mq.queue(QUEUE).put(body) for body in bodies[1_000:]]
        for confirm in confirms:
            confirm.wait(60)
    assert sorted(take_all(cluster, len(bodies))) == sorted(bodies)


def test_a_broker_that_was_killed_comes_back_as_a_copy_and_can_take_over(
    cluster: ClusterProcess,
) -> None:
    first = cluster.primary_of(QUEUE)
    with Client(cluster.endpoints) as mq:
        mq.queue(QUEUE).put_many(numbers(100)).wait(60)
        cluster.brokers[first].kill()
        mq.queue(QUEUE).put(b"while it was away").wait(60)
        cluster.brokers[first].restart()
        cluster.wait_replicated()
        second = cluster.primary_of(QUEUE)
        cluster.brokers[second].kill()
        mq.queue(QUEUE).put(b"at the end").wait(60)
    expected = [*numbers(100), b"while it was away", b"at the end"]
    assert sorted(take_all(cluster, len(expected))) == sorted(expected)


def test_a_broker_asked_to_end_hands_its_slots_over_and_ends_with_status_0(
    cluster: ClusterProcess, clients: WireClients
) -> None:
    primary = cluster.primary_of(QUEUE)
    other = next(name for name in cluster.brokers if name != primary)
    client = clients.open(cluster.brokers[other].endpoint)
    put_until_taken(client, b"0")
    assert cluster.brokers[primary].terminate() == 0
    assert "Traceback" not in cluster.output
    for number in range(1, 20):
        put_until_taken(client, b"%d" % number)
    assert cluster.primary_of(QUEUE) not in ("", primary)
    assert sorted(take_all(cluster, 20)) == sorted(numbers(20))


def test_a_primary_that_was_stopped_past_its_tenure_confirms_nothing_of_its_own(
    cluster: ClusterProcess, clients: WireClients
) -> None:
    first = cluster.primary_of(QUEUE)
    stopped = clients.open(cluster.brokers[first].endpoint)
    put_until_taken(stopped, b"0")
    cluster.brokers[first].signal(signal.SIGSTOP)
    request = stopped.command(
        "put", msgpack.packb([b"1"]), queue=QUEUE, count=1, producer=b"p", seq=1
    )
    other = next(name for name in cluster.brokers if name != first)
    client = clients.open(cluster.brokers[other].endpoint)
    put_until_taken(client, b"2")
    cluster.brokers[first].signal(signal.SIGCONT)
    reply = stopped.receive()
    while reply.header.get("req") != request and reply.name != "closed":
        reply = stopped.receive()
    expected = [b"0", b"2"] + [b"1"] * (reply.name == "ok")
    cluster.wait_replicated()
    assert set(take_all(cluster, len(expected))) >= set(expected)


def test_with_etcd_away_the_cluster_stops_within_a_tenure_and_goes_on_when_it_is_back(
    cluster: ClusterProcess, clients: WireClients
) -> None:
    client = clients.open(next(iter(cluster.brokers.values())).endpoint)
    put_until_taken(client, b"0")
    (member,) = cluster.etcd.members
    member.kill()
    delivery = "messages"

    def is_silent() -> bool:
        nonlocal delivery
        delivery = client.get(QUEUE, max=1, timeout_ms=100).name
        return delivery != "messages"

    wait_until(is_silent, "no more deliveries")
    cluster.etcd.restart(member)
    put_until_taken(client, b"1")


@pytest.mark.parametrize("lost", ["b1", "b2", "b3"])
def test_whichever_broker_dies_every_queue_is_served_again(
    cluster: ClusterProcess, lost: str
) -> None:
    queues = [f"queue-{number}" for number in range(20)]
    with Client(cluster.endpoints) as mq:
        for queue in queues:
            mq.queue(queue).put(b"before").wait(60)
        cluster.brokers[lost].kill()
        for queue in queues:
            mq.queue(queue).put(b"after").wait(60)
        for queue in queues:
            bodies = [mq.queue(queue).get(20) for _ in range(2)]
            assert [message.body for message in bodies if message] == [b"before", b"after"]
