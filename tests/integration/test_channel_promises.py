"""What a channel promises, at one real broker: who gets what, how it is counted, what is told."""

from __future__ import annotations

from typing import Any

import pytest
import zmq

from patterns import Client, NameNotAllowed, QueueFull
from tests.integration.conftest import bodies, kill_9
from tests.support.broker_process import BrokerProcess
from tests.support.waiting import DEADLINE_S, wait_until

WAIT_S = 60


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_a_star_is_one_token_and_the_end_is_all_the_rest(mq: Client, name: str) -> None:
    patterns = {f"{name}.*.c": ["a.c"], f"{name}.a.>": ["a.b", "a.b.c", "a.c"]}
    subscriptions = {p: mq.subscribe(p, timeout=WAIT_S, max=len(n)) for p, n in patterns.items()}
    for ending in ("a", "a.b", "a.b.c", "a.c"):
        mq.publish(f"{name}.{ending}", b"").wait(WAIT_S)
    for pattern, subscription in subscriptions.items():
        seen = [event.channel.removeprefix(f"{name}.") for event in subscription]
        assert sorted(seen) == patterns[pattern]


def test_a_channel_whose_name_only_begins_so_is_another(mq: Client, name: str) -> None:
    subscription = mq.subscribe(name, timeout=WAIT_S, max=1)
    assert mq.publish(f"{name}2", b"other").wait(WAIT_S).subscriptions == 0
    assert mq.publish(name, b"own").wait(WAIT_S).subscriptions == 1
    assert bodies(subscription) == [b"own"]


def test_every_subscription_is_counted_where_it_matches(mq: Client, name: str) -> None:
    subscriptions = [mq.subscribe(pattern) for pattern in (name, f"{name}.>", "*", ">")]
    mq.publish(f"{name}.a", b"").wait(WAIT_S)
    counts = [mq.channels(each)[each]["subscriptions"] for each in (f"{name}.a",)]
    assert mq.publish(name, b"").wait(WAIT_S).subscriptions == 3
    assert counts == [2]
    for subscription in subscriptions:
        subscription.close()
    wait_until(lambda: not mq.publish(name, b"").wait(WAIT_S).subscriptions, "nobody subscribes")


def test_who_reads_slowly_is_told_what_it_missed_and_holds_up_nobody(
    shared: BrokerProcess, mq: Client, name: str
) -> None:
    """The slow one looks at nothing until all is published; the other sees each message."""
    count = 20_000
    channel = mq.channel(name, history=2_000)
    with Client(shared.endpoint) as other:
        slow = other.subscribe(name, buffer_bytes=64 * 1024, timeout=2.0, on_gap=lambda _gap: None)
        quick = mq.subscribe(name, timeout=WAIT_S, max=count, raise_gaps=True)
        seen: list[bytes] = []
        reading = iter(quick)
        for start in range(0, count, 1_000):
            confirm = channel.publish_many(b"%d" % n for n in range(start, start + 1_000))
            seen += [next(reading).body for _ in range(1_000)]
            confirm.wait(WAIT_S)
        assert seen == numbers(count)
        late = [int(event.body) for event in slow]
    assert late == sorted(set(late))
    assert late[-1] == count - 1
    assert slow.missed == count - len(late) > 0


def test_a_durable_history_outlives_a_kill(shared: BrokerProcess, mq: Client, name: str) -> None:
    channel = mq.channel(name, history=5, durable=True)
    channel.publish_many(numbers(8)).wait(WAIT_S)
    kept = [(event.sequence, event.body) for event in channel.history()]
    kill_9(shared)
    assert [(event.sequence, event.body) for event in channel.history()] == kept
    result = channel.publish(b"8").wait(WAIT_S)
    assert (result.sequence, result.copies) == (8, 1)


def test_what_is_older_than_its_age_is_not_shown(mq: Client, name: str) -> None:
    channel = mq.channel(name, history_age=0.2)
    channel.publish(b"old").wait(WAIT_S)
    assert channel.last() is not None
    wait_until(lambda: channel.last() is None, "it is too old")
    channel.publish(b"new").wait(WAIT_S)
    assert bodies(channel.history()) == [b"new"]


def test_a_bound_queue_has_each_message_once_over_a_kill(
    shared: BrokerProcess, mq: Client, name: str
) -> None:
    channel = mq.channel(name, history=10, durable=True)
    queues = [mq.queue(f"{name}-{number}", durable=True) for number in range(2)]
    queues[0].bind(name)
    queues[1].bind(">")
    confirms = []
    for number in range(400):
        confirms.append(channel.publish(b"%d" % number))
        if number == 200:
            confirms[100].wait(WAIT_S)
            kill_9(shared)
    for confirm in confirms:
        confirm.wait(WAIT_S)
    for queue in queues:
        taken = []
        for message in queue.consume(max=400, timeout=WAIT_S):
            taken.append(message.body)
            message.ack()
        assert taken == numbers(400)
        mq.flush(WAIT_S)
        assert queue.stats()["messages"] == 0
        queue.delete()


def test_anybody_who_speaks_zeromq_publishes_and_subscribes(
    shared: BrokerProcess, mq: Client, name: str
) -> None:
    subscription = mq.subscribe(name, timeout=WAIT_S)
    topic = name.encode() + b"\0"
    with (
        zmq.Context() as context,
        context.socket(zmq.SUB) as listener,
        context.socket(zmq.PUB) as speaker,
    ):
        listener.connect(shared.publish_endpoint)
        listener.subscribe(topic)
        speaker.linger = 0
        speaker.connect(shared.raw_endpoint)

        def is_heard() -> bool:
            # What a PUB sends before it is connected is lost.
            speaker.send_multipart([name.encode(), b"raw"])
            if not listener.poll(100):
                return False
            heard, _header, batch = listener.recv_multipart()
            return heard == topic and b"raw" in batch

        wait_until(is_heard, "the raw message")
        counted = mq.publish(name, b"counted").wait(WAIT_S)
    assert counted.subscriptions == 2
    assert next(iter(subscription)).body == b"raw"
    subscription.close()


def test_the_brokers_own_channels_tell_what_happens_to_who_names_them(
    mq: Client, name: str
) -> None:
    everything = mq.subscribe(">", timeout=WAIT_S)
    events = mq.subscribe("$sys.queue.>", timeout=WAIT_S)
    queue = mq.queue(name, max_messages=1)
    queue.put(b"fits").wait(WAIT_S)
    with pytest.raises(QueueFull):
        queue.put(b"does not").wait(WAIT_S)
    assert next(iter(events)).channel == f"$sys.queue.full.{name}"
    mq.publish(name, b"").wait(WAIT_S)
    assert next(iter(everything)).channel == name
    with pytest.raises(NameNotAllowed):
        mq.publish("$sys.alarm", b"").wait(WAIT_S)
    everything.close()
    events.close()


def test_what_was_published_once_is_there_once_over_a_kill(
    shared: BrokerProcess, mq: Client, name: str
) -> None:
    channel = mq.channel(name, history=10_000, durable=True)
    confirms: list[Any] = []
    for number in range(1_000):
        confirms.append(channel.publish(b"%d" % number))
        if number == 500:
            confirms[200].wait(WAIT_S)
            kill_9(shared)
    for confirm in confirms:
        confirm.wait(DEADLINE_S)
    kept = list(channel.history())
    assert bodies(kept) == numbers(1_000)
    assert [event.sequence for event in kept] == list(range(1_000))
