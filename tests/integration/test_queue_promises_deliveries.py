"""What a delivery and its settle promise, over one real broker that is killed again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from patterns import Client, LeaseLost
from tests.integration.conftest import bodies, kill_9
from tests.support.broker_process import BrokerProcess
from tests.support.waiting import wait_until
from tests.support.wire import Reply, WireClient, bodies_of

Open = Callable[..., WireClient]
WAIT_S = 60
WAIT_MS = 60_000
MIB = 1024 * 1024


def take(queue: Any, **fields: Any) -> Any:
    message = queue.get(WAIT_S, **fields)
    assert message is not None
    return message


def settle(client: WireClient, command: str, delivery: Reply, **fields: Any) -> Reply:
    header = delivery.header
    ranges = [[run["first"], run["count"], run.get("attempts", 0)] for run in header["runs"]]
    named = {"queue": header["queue"], "tag": header["tag"], "ranges": ranges}
    return client.request(command, **named, **fields)


def test_a_get_takes_what_is_there_and_waits_no_longer_than_it_says(mq: Client, name: str) -> None:
    queue = mq.queue(name)
    assert (queue.get(), queue.get(0.05)) == (None, None)
    queue.put_many([b"a", b"b", b"c"]).wait(WAIT_S)
    assert bodies(queue.get_many(2)) == [b"a", b"b"]
    assert bodies(queue.get_many(9, WAIT_S)) == [b"c"]


def test_a_waiting_get_has_what_is_put_then(mq: Client, wire: Open, name: str) -> None:
    client = wire()
    client.request("declare", queue=name)
    client.command("get", queue=name, max=5, timeout_ms=WAIT_MS)
    wait_until(lambda: mq.queue(name).stats()["waiting_gets"] == 1, "it waits")
    mq.queue(name).put(b"a").wait(WAIT_S)
    assert bodies_of(client.receive()) == [b"a"]


def test_a_consumer_gets_no_more_than_its_credit_of_messages_and_bytes(
    mq: Client, wire: Open, name: str
) -> None:
    queue = mq.queue(name)
    queue.put_many([b"x" * 1_000] * 10, batch=1).wait(WAIT_S)
    client = wire()
    client.request("consume", queue=name, consumer=1, credit=3, credit_bytes=MIB)
    assert len(bodies_of(client.receive())) == 3
    assert client.request("credit", consumer=1, messages=7).name == "ok"
    assert len(bodies_of(client.receive())) == 7
    queue.put_many([b"x" * 1_000] * 10, batch=1).wait(WAIT_S)
    client.request("consume", queue=name, consumer=2, credit=10, credit_bytes=2_500)
    few = len(bodies_of(client.receive()))
    assert few < 10
    assert queue.stats()["ready"] == 10 - few


def test_a_clients_consumer_begins_with_32_on_hand_and_then_follows_its_pace(
    mq: Client, name: str
) -> None:
    queue = mq.queue(name)
    queue.put_many([b"x"] * 20_000).wait(WAIT_S)
    loop = queue.consume()
    held = [next(loop)]
    on_hand = [queue.stats()["in_flight"]]
    for number in range(20_000 - 1):
        held.pop().ack()
        held.append(next(loop))
        if number % 1_000 == 999:
            on_hand.append(queue.stats()["in_flight"])
    loop.close()
    assert on_hand[0] == 32
    assert 32 < max(on_hand) <= 16_384


def test_a_clients_consumer_has_at_most_4_mib_on_hand(mq: Client, name: str) -> None:
    queue = mq.queue(name)
    queue.put_many([b"x" * (MIB // 2)] * 12, batch=1).wait(WAIT_S)
    loop = queue.consume()
    next(loop)
    wait_until(lambda: queue.stats()["consumer_list"][0]["credit_bytes"] < MIB, "it is used up")
    # One message may go over the end of the credit, and the one that is worked on is granted anew.
    assert 7 <= queue.stats()["in_flight"] <= 10
    loop.close()


def test_consumers_with_credit_are_served_in_turn(mq: Client, wire: Open, name: str) -> None:
    queue = mq.queue(name)
    one, two = wire(), wire()
    for client in (one, two):
        assert client.request("consume", queue=name, consumer=1, credit=10).name == "ok"
    for number in range(4):
        queue.put(b"%d" % number).wait(WAIT_S)
    assert [bodies_of(one.receive()) for _ in range(2)] == [[b"0"], [b"2"]]
    assert [bodies_of(two.receive()) for _ in range(2)] == [[b"1"], [b"3"]]


def test_leaving_a_loop_sends_what_was_settled_in_it(mq: Client, name: str) -> None:
    queue = mq.queue(name)
    queue.put_many([b"%d" % n for n in range(50)]).wait(WAIT_S)
    for count, message in enumerate(queue.consume(), 1):
        message.ack()
        if count == 20:
            break
    stats = queue.stats()
    wait_until(lambda: queue.stats()["in_flight"] == 0, "nothing is held")
    assert (stats["counters"]["acked"], queue.stats()["ready"]) == (20, 30)


def test_what_was_settled_in_ranges_is_gone_after_a_kill(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name)
    queue.put_many([b"%d" % n for n in range(6)]).wait(WAIT_S)
    for message in queue.get_many(6, WAIT_S):
        if message.position % 2 == 0:
            message.ack(wait=message.position == 4)
    kill_9(shared)
    assert bodies(queue.browse()) == [b"1", b"3", b"5"]


def test_a_lease_is_30_seconds_unless_said_and_extend_counts_from_the_call(
    wire: Open, name: str
) -> None:
    client = wire()
    client.put(name, [b"a"])
    delivery = client.get(name, timeout_ms=WAIT_MS)
    extended = settle(client, "extend", delivery)
    assert (extended.header["lease_ms"], extended.header["held"]) == (30_000, [[0, 1, 0]])
    settle(client, "extend", delivery, lease_ms=1_000)
    again = client.get(name, timeout_ms=WAIT_MS)
    assert again.header["runs"][0]["attempts"] == 1


def test_the_end_of_a_lease_spends_an_attempt_and_the_late_settle_is_lease_lost(
    mq: Client, wire: Open, shared: BrokerProcess, name: str
) -> None:
    client = wire()
    client.put(name, [b"a"])
    late = client.get(name, timeout_ms=WAIT_MS, lease_ms=1_000)
    wait_until(lambda: mq.queue(name).stats()["ready"] == 1, "its lease has ended")
    assert settle(client, "ack", late).name == "lease_lost"
    kill_9(shared)
    again = take(mq.queue(name))
    assert (again.body, again.attempts) == (b"a", 1)


def test_a_stale_holder_is_fenced_though_the_message_is_its_own_again(
    wire: Open, name: str
) -> None:
    client = wire()
    client.put(name, [b"a"])
    first = client.get(name, timeout_ms=WAIT_MS)
    assert settle(client, "nack", first, delay_ms=0).name == "ok"
    second = client.get(name, timeout_ms=WAIT_MS)
    assert settle(client, "ack", first).name == "lease_lost"
    assert settle(wire(), "ack", second).name == "lease_lost"
    assert settle(client, "ack", second).header["count"] == 1


def test_a_kill_makes_what_is_in_flight_ready_without_a_charge(
    mq: Client, wire: Open, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name)
    queue.put(b"a").wait(WAIT_S)
    wire().get(name, timeout_ms=WAIT_MS)
    assert queue.stats()["in_flight"] == 1
    kill_9(shared)
    again = take(queue)
    assert (again.body, again.attempts) == (b"a", 0)


def test_after_a_kill_the_holder_settles_only_what_nobody_was_given_since(
    wire: Open, shared: BrokerProcess, name: str
) -> None:
    holder = wire()
    holder.put(name, [b"a", b"b"])
    delivery = holder.get(name, timeout_ms=WAIT_MS)
    kill_9(shared)
    back, other = wire(), wire()
    taken = other.get(name, max=1, timeout_ms=WAIT_MS)
    assert bodies_of(taken) == [b"a"]
    settled = settle(back, "ack", delivery)
    assert (settled.name, settled.header["lost"]) == ("lease_lost", [[0, 1, 0]])
    assert settle(other, "ack", taken).name == "ok"
    assert bodies_of(other.get(name)) == []


def test_a_nack_waits_for_the_backoff_which_doubles_and_for_a_named_delay(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue: Any = mq.queue(name, backoff=100.0, backoff_max=1_000.0, backoff_jitter=20)
    queue.put_many([b"a", b"b"]).wait(WAIT_S)
    waits = []
    for _ in range(5):
        take(queue).nack(wait=True)
        (rests, _) = queue.browse()
        waits.append(rests.due_at)
        queue.reschedule(0, delay=0)
    now = waits[0] - 200
    lows = [180, 340, 660, 820, 820]
    assert all(wait - now > low - 60 for wait, low in zip(waits, lows, strict=True))
    message = take(queue)
    assert (message.body, message.attempts) == (b"a", 5)
    message.nack(delay=3_600, wait=True)
    kill_9(shared)
    assert [m.state for m in queue.browse()] == ["resting", "ready"]
    assert take(queue).body == b"b"


def test_a_nack_without_a_charge_spends_no_attempt(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name)
    queue.put(b"a").wait(WAIT_S)
    take(queue).nack(delay=0, wait=True)
    take(queue).nack(delay=0, charge=False, wait=True)
    kill_9(shared)
    assert take(queue).attempts == 1


def test_a_lost_consumer_is_charged_for_what_it_had_in_hand(
    mq: Client, wire: Open, name: str
) -> None:
    queue = mq.queue(name)
    queue.put_many([b"%d" % n for n in range(5)]).wait(WAIT_S)
    dying = wire(timeout_ms=1_000)
    dying.request("consume", queue=name, consumer=1, credit=5, concurrency=2)
    wait_until(lambda: queue.stats()["ready"] == 5, "its session has ended")
    attempts = {m.body: m.attempts for m in (take(queue) for _ in range(5))}
    assert attempts == {b"0": 1, b"1": 1, b"2": 0, b"3": 0, b"4": 0}


def test_a_client_that_says_goodbye_is_charged_for_nothing(
    mq: Client, wire: Open, name: str
) -> None:
    queue = mq.queue(name)
    queue.put(b"a").wait(WAIT_S)
    leaving = wire()
    leaving.get(name, timeout_ms=WAIT_MS)
    leaving.request("bye")
    assert take(queue).attempts == 0


def test_with_auto_ack_a_message_is_gone_before_it_is_seen(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name)
    queue.put_many([b"a", b"b"]).wait(WAIT_S)
    assert take(queue, auto_ack=True).body == b"a"
    kill_9(shared)
    assert bodies(queue.browse()) == [b"b"]


def test_without_it_what_is_not_settled_comes_again(
    mq: Client, wire: Open, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name)
    queue.put(b"a").wait(WAIT_S)
    for _ in range(2):
        assert bodies_of(wire().get(name, timeout_ms=WAIT_MS)) == [b"a"]
        kill_9(shared)
    take(queue).ack(wait=True)
    kill_9(shared)
    assert queue.get() is None


def test_a_message_that_is_settled_twice_is_lease_lost(mq: Client, name: str) -> None:
    queue = mq.queue(name)
    queue.put(b"a").wait(WAIT_S)
    message = take(queue)
    message.ack(wait=True)
    with pytest.raises(LeaseLost):
        message.ack(wait=True)
