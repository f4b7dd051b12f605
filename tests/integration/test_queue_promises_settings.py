"""What a queue's settings and its operators' calls promise, over one real broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from patterns import Client, ExclusiveQueue, QueueDeleted, QueueFull, QueueNotEmpty
from tests.integration.conftest import bodies, kill_9
from tests.support.broker_process import BrokerProcess
from tests.support.waiting import wait_until
from tests.support.wire import WireClient, bodies_of

Open = Callable[..., WireClient]
WAIT_S = 60


def put(queue: Any, *named: bytes, **fields: Any) -> None:
    for body in named:
        queue.put(body, **fields).wait(WAIT_S)


def take(queue: Any) -> Any:
    message = queue.get(WAIT_S)
    assert message is not None
    return message


def test_a_put_or_a_consumer_makes_an_unknown_queue(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    put(mq.queue(name), b"a")
    assert mq.queue(f"{name}-taken").get() is None
    kill_9(shared)
    assert {name, f"{name}-taken"} <= set(mq.queues())
    settings = mq.queue(name).stats()["settings"]
    assert (settings["durable"], settings["lease_ms"], settings["partitions"]) == (True, 30_000, 1)


def test_what_was_declared_and_updated_outlives_a_kill(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    mq.queue(name, lease=7.0, max_messages=3).update(max_messages=5, paused=True)
    kill_9(shared)
    settings = mq.queue(name).stats()["settings"]
    assert (settings["lease_ms"], settings["max_messages"], settings["paused"]) == (7_000, 5, True)
    mq.queue(name, lease=7.0, max_messages=5)


def test_a_queues_delay_and_time_to_live_are_of_puts_that_name_none(mq: Client, name: str) -> None:
    queue = mq.queue(name, delay=600.0, ttl=600.0)
    put(queue, b"as the queue says")
    put(queue, b"now", delay=0)
    assert (take(queue).body, queue.stats()["delayed"]) == (b"now", 1)


def test_limits_count_what_is_ready_and_delayed_and_not_what_is_in_flight(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name, max_messages=2)
    put(queue, b"ready")
    put(queue, b"delayed", delay=600)
    with pytest.raises(QueueFull):
        put(queue, b"refused")
    kill_9(shared)
    with pytest.raises(QueueFull):
        put(queue, b"refused")
    held = take(queue)
    put(queue, b"taken")
    held.ack(wait=True)


def test_what_is_proposed_counts_and_a_batch_is_refused_whole(
    mq: Client, wire: Open, name: str
) -> None:
    mq.queue(name, max_messages=5)
    client = wire()
    packed = msgpack.packb([b"x", b"y"])
    asked = [client.command("put", packed, queue=name, count=2) for _ in range(3)]
    answers = {reply.header["req"]: reply.name for reply in (client.receive() for _ in asked)}
    assert [answers[req] for req in asked] == ["ok", "ok", "queue_full"]
    assert mq.queue(name).stats()["messages"] == 4


def test_a_bound_of_bytes_refuses(mq: Client, name: str) -> None:
    queue = mq.queue(name, max_bytes=1_000)
    put(queue, b"x" * 600)
    with pytest.raises(QueueFull):
        put(queue, b"x" * 600)


def test_the_lowest_priority_and_in_it_the_oldest_is_dropped_for_good(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name, max_messages=3, overflow="drop_oldest")
    put(queue, b"high", priority=9)
    put(queue, b"low 1", b"low 2", b"low 3", priority=1)
    wait_until(lambda: queue.stats()["counters"]["overflowed"] == 1, "one has given way")
    kill_9(shared)
    assert bodies(queue.browse()) == [b"high", b"low 2", b"low 3"]


def test_the_oldest_goes_to_the_dead_letter_queue(mq: Client, name: str) -> None:
    dead = mq.queue(f"{name}-dead", lease=30.0)
    options = {"overflow": "dead_letter_oldest", "dead_letter": dead.name}
    queue = mq.queue(name, max_messages=1, **options)
    put(queue, b"old", b"new")
    letter = take(dead)
    assert (letter.body, letter.death.reason) == (b"old", "overflow")
    assert bodies(queue.browse()) == [b"new"]


def test_no_more_than_max_in_flight_are_held_over_all_who_take(mq: Client, name: str) -> None:
    queue = mq.queue(name, max_in_flight=2)
    put(queue, b"a", b"b", b"c")
    held = [take(queue), take(queue)]
    assert queue.get() is None
    held[0].ack(wait=True)
    assert take(queue).body == b"c"


def test_a_rate_is_spread_over_all_who_take(mq: Client, name: str) -> None:
    queue = mq.queue(name, max_per_second=1)
    put(queue, b"a", b"b")
    take(queue).ack(wait=True)
    assert queue.get() is None
    assert take(queue).body == b"b"


def test_of_an_exclusive_queue_one_consumer_takes_and_the_next_follows(
    mq: Client, wire: Open, name: str
) -> None:
    queue = mq.queue(name, exclusive=True)
    first, second = wire(), wire()
    for client in (first, second):
        assert client.request("consume", queue=name, consumer=1, credit=10).name == "ok"
    put(queue, b"a")
    assert first.receive().name == "messages"
    assert first.request("bye").name == "ok"
    put(queue, b"b")
    # What the first one held came back, and is the second's now.
    assert bodies_of(second.receive()) + bodies_of(second.receive()) == [b"a", b"b"]
    with pytest.raises(ExclusiveQueue):
        queue.get()


def test_a_purge_removes_what_waits_and_leaves_what_is_held(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name)
    put(queue, b"held", b"ready")
    put(queue, b"delayed", delay=600)
    held = take(queue)
    assert queue.purge() == 2
    held.nack(delay=0, wait=True)
    kill_9(shared)
    assert bodies(queue.browse()) == [b"held"]


def test_confirms_that_wait_are_sent_though_a_purge_comes(wire: Open, name: str) -> None:
    client = wire()
    packed = msgpack.packb([b"x"])
    asked = [client.command("put", packed, queue=name, count=1) for _ in range(20)]
    asked.append(client.command("purge", queue=name))
    answers = {reply.header["req"]: reply.name for reply in (client.receive() for _ in asked)}
    assert answers == dict.fromkeys(asked, "ok")


def test_only_force_deletes_what_holds_messages_and_who_waits_is_told(
    mq: Client, name: str
) -> None:
    queue = mq.queue(name)
    put(queue, b"a", b"b")
    with pytest.raises(QueueNotEmpty):
        queue.delete()
    loop = queue.consume(credit=1)
    next(loop)
    assert queue.delete(if_empty=False) == 2
    with pytest.raises(QueueDeleted):
        next(loop)


def test_of_a_deleted_queue_nothing_comes_back_under_its_name(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name, lease=7.0)
    put(queue, b"old", b"older")
    held = take(queue)
    uuid = queue.stats()["uuid"]
    queue.delete(if_empty=False)
    put(queue, b"new")
    kill_9(shared)
    assert bodies(queue.browse()) == [b"new"]
    stats = queue.stats()
    assert (stats["uuid"] != uuid, stats["settings"]["lease_ms"]) == (True, 30_000)
    held.ack()
    mq.flush(WAIT_S)
    assert queue.stats()["messages"] == 1


def test_stats_tell_states_priorities_age_rates_and_who_takes(mq: Client, name: str) -> None:
    queue = mq.queue(name)
    put(queue, b"a", b"b")
    put(queue, b"urgent", priority=9)
    put(queue, b"later", delay=600)
    loop = queue.consume(credit=1)
    next(loop)
    stats = queue.stats()
    states = ("ready", "delayed", "in_flight", "departing", "messages")
    assert [stats[state] for state in states] == [2, 1, 1, 0, 4]
    assert (stats["ready_by_priority"], stats["by_priority"]) == ({"4": 2}, {"4": 3, "9": 1})
    assert stats["bytes"] > 0
    assert stats["oldest_ms"] >= 0
    assert set(stats["rates"]) == {"in", "out", "ack", "nack"}
    (consumer,) = stats["consumer_list"]
    assert (consumer["in_flight"], consumer["active"], consumer["client"]) == (1, True, "python")
    loop.close()
