"""What a channel promises while the brokers of a cluster are killed and leave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from patterns import Client, Gap
from tests.integration.test_channels import streaming, sub_until
from tests.support.cluster_process import ClusterProcess
from tests.support.waiting import wait_until

WAIT_S = 90


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def cluster(whole: ClusterProcess) -> ClusterProcess:
    """All brokers run, and every slot has all its copies."""
    for broker in whole.brokers.values():
        if not broker.is_running:
            broker.restart()
    whole.wait_replicated()
    return whole


def clients_at(cluster: ClusterProcess) -> list[Client]:
    return [Client(broker.endpoint) for broker in cluster.brokers.values()]


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_subscribers_at_every_broker_get_what_is_published_at_any(
    cluster: ClusterProcess,
) -> None:
    """A confirm counts all of them, wherever they are."""
    clients = clients_at(cluster)
    subscriptions = [mq.subscribe("any.*", timeout=WAIT_S, max=3) for mq in clients]
    results = [mq.publish("any.where", b"%d" % n).wait(WAIT_S) for n, mq in enumerate(clients)]
    assert [result.subscriptions for result in results] == [3, 3, 3]
    for subscription in subscriptions:
        assert [event.body for event in subscription] == numbers(3)
    for mq in clients:
        mq.close()


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_a_durable_channel_misses_nothing_over_the_end_of_its_owner(
    cluster: ClusterProcess, end: str
) -> None:
    name = f"durable-{end}"
    with Client(cluster.endpoints) as mq, Client(cluster.endpoints) as other:
        sub = mq.subscribe(name, timeout=WAIT_S, raise_gaps=True)
        channel = other.channel(name, history=1_000_000, durable=True)
        with streaming(channel) as stream:
            stream.wait_for(300)
            getattr(cluster.brokers[cluster.primary_of(name)], end)()
            stream.wait_for(stream.count + 300)
        assert sub_until(sub, stream.count) == numbers(stream.count)
        assert [event.body for event in channel.history()] == numbers(stream.count)


def test_a_bound_queue_of_another_slot_has_each_message_once_over_a_kill_9_of_an_owner(
    cluster: ClusterProcess,
) -> None:
    channel_name = "bound-channel"
    owner = cluster.primary_of(channel_name)
    queue_name = next(
        name for name in map("bound-{}".format, range(100)) if cluster.primary_of(name) != owner
    )
    with Client(cluster.endpoints) as mq:
        queue = mq.queue(queue_name, durable=True)
        queue.bind(channel_name)
        channel = mq.channel(channel_name, history=10, durable=True)
        confirms = []
        for number in range(600):
            confirms.append(channel.publish(b"%d" % number))
            if number == 300:
                confirms[100].wait(WAIT_S)
                cluster.brokers[owner].kill()
        for confirm in confirms:
            assert confirm.wait(WAIT_S).copies or confirm.wait(WAIT_S).duplicate
        taken = []
        for message in queue.consume(max=600, timeout=WAIT_S):
            taken.append(message.body)
            message.ack()
        assert taken == numbers(600)


def test_a_channel_in_memory_tells_that_it_began_anew_at_another_broker(
    cluster: ClusterProcess,
) -> None:
    name = "in-memory"
    gaps: list[Gap] = []
    with Client(cluster.endpoints) as mq, Client(cluster.endpoints) as other:
        sub = mq.subscribe(name, timeout=WAIT_S, on_gap=gaps.append)
        other.publish(name, b"before").wait(WAIT_S)
        events = iter(sub)
        before = next(events)
        cluster.brokers[cluster.primary_of(name)].kill()
        wait_until(
            lambda: bool(other.publish(name, b"after").wait(WAIT_S).subscriptions),
            "the subscription counts again",
        )
        after = next(events)
    assert (before.body, after.body) == (b"before", b"after")
    assert after.epoch > before.epoch
    assert gaps[0].missed is None
