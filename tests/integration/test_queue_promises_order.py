"""What comes when: priorities, delays, times to live, keys, selectors, over one real broker."""

from __future__ import annotations

import time
from typing import Any

from patterns import Client, exists
from tests.integration.conftest import bodies, kill_9
from tests.support.broker_process import BrokerProcess
from tests.support.waiting import wait_until

WAIT_S = 60


def take(queue: Any, **fields: Any) -> Any:
    """The next message, which must come."""
    message = queue.get(WAIT_S, **fields)
    assert message is not None
    return message


def take_all(queue: Any, count: int) -> list[Any]:
    return [take(queue).body for _ in range(count)]


def test_higher_priorities_come_first_and_equal_ones_as_they_were_put(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name)
    queue.put(b"unnamed").wait(WAIT_S)
    for priority in (0, 4, 9, 5, 4, 9):
        queue.put(b"%d" % priority, priority=priority)
    mq.flush(WAIT_S)
    kill_9(shared)
    assert take_all(queue, 7) == [b"9", b"9", b"5", b"unnamed", b"4", b"4", b"0"]


def test_what_comes_back_goes_before_what_is_younger_over_a_kill(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name)
    queue.put_many([b"a", b"b", b"c"]).wait(WAIT_S)
    first, second = take(queue), take(queue)
    second.nack(delay=0, wait=True)
    first.nack(delay=0, wait=True)
    kill_9(shared)
    assert take_all(queue, 3) == [b"a", b"b", b"c"]


def test_a_delayed_message_has_the_place_of_its_put_when_it_is_due(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name)
    queue.put(b"first", delay=1.5).wait(WAIT_S)
    queue.put(b"second").wait(WAIT_S)
    assert queue.stats()["delayed"] == 1
    kill_9(shared)
    wait_until(lambda: queue.stats()["ready"] == 2, "it is due")
    assert take_all(queue, 2) == [b"first", b"second"]


def test_what_came_due_while_the_broker_was_away_is_there_when_it_is_back(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name)
    due_at = time.time() + 0.3
    queue.put(b"a", at=due_at).wait(WAIT_S)
    shared.kill()
    wait_until(lambda: time.time() > due_at, "its instant has passed")
    shared.restart()
    assert take(queue).body == b"a"


def test_an_instant_in_the_past_is_now(mq: Client, name: str) -> None:
    queue = mq.queue(name, delay=600.0)
    queue.put(b"waits").wait(WAIT_S)
    queue.put(b"past", at=time.time() - 60).wait(WAIT_S)
    assert (take(queue).body, queue.stats()["delayed"]) == (b"past", 1)


def test_years_of_delay_outlive_a_kill_and_are_moved(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue: Any = mq.queue(name)
    year = 365 * 24 * 3_600
    position = queue.put(b"a", delay=9 * year).wait(WAIT_S).position
    kill_9(shared)
    (waiting,) = queue.browse()
    assert waiting.due_at > time.time() + 8 * year
    queue.reschedule(position, delay=0)
    assert take(queue).body == b"a"


def test_a_time_to_live_ends_behind_what_lives_on(mq: Client, name: str) -> None:
    queue = mq.queue(name)
    queue.put(b"lives").wait(WAIT_S)
    queue.put(b"dies", ttl=0.2).wait(WAIT_S)
    queue.put(b"lives too").wait(WAIT_S)
    wait_until(lambda: queue.stats()["counters"]["expired"] == 1, "the one in the middle is gone")
    assert bodies(queue.browse()) == [b"lives", b"lives too"]


def test_what_expired_is_a_dead_letter_where_there_is_a_queue_for_it(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    dead = mq.queue(f"{name}-dead", lease=30.0)
    queue = mq.queue(name, ttl=0.2, dead_letter=dead.name)
    queue.put(b"a").wait(WAIT_S)
    kill_9(shared)
    assert take(dead).death.reason == "expired"
    wait_until(lambda: queue.stats()["messages"] == 0, "it has left its queue")


def test_the_life_of_a_delayed_message_begins_when_it_is_due(mq: Client, name: str) -> None:
    queue = mq.queue(name)
    queue.put(b"a", delay=1.0, ttl=60).wait(WAIT_S)
    queue.put(b"b", delay=1.0, ttl=0.1).wait(WAIT_S)
    assert queue.stats()["delayed"] == 2
    wait_until(lambda: queue.stats()["counters"]["expired"] == 1, "one has lived")
    assert take(queue).body == b"a"


def test_a_message_in_flight_does_not_expire_and_a_return_does_not_lengthen_its_life(
    mq: Client, name: str
) -> None:
    queue = mq.queue(name)
    queue.put(b"held", ttl=0.5).wait(WAIT_S)
    queue.put(b"settled", ttl=0.5).wait(WAIT_S)
    queue.put(b"waits", ttl=0.5).wait(WAIT_S)
    held, settled = take(queue), take(queue)
    wait_until(lambda: queue.stats()["counters"]["expired"] == 1, "what waits is gone")
    assert queue.stats()["in_flight"] == 2
    settled.ack(wait=True)
    held.nack(delay=60, wait=True)
    stats = queue.stats()
    assert (stats["messages"], stats["counters"]["expired"]) == (0, 2)


def test_of_a_key_one_is_in_flight_and_the_others_flow(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name, ordering="key")
    queue.put_many([b"a1", b"a2", b"b1", b"b2"], keys=["a", "a", "b", "b"]).wait(WAIT_S)
    queue.put(b"free").wait(WAIT_S)
    kill_9(shared)
    taken = {message.body: message for message in (take(queue) for _ in range(3))}
    assert list(taken) == [b"a1", b"b1", b"free"]
    assert (queue.get(), queue.stats()["held_by_key"]) == (None, 2)
    taken[b"a1"].ack(wait=True)
    assert bodies(queue.get_many(9, WAIT_S)) == [b"a2"]


def test_a_key_is_held_while_its_message_waits_for_a_retry_over_a_kill(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name, ordering="key")
    queue.put_many([b"a1", b"a2", b"b1"], keys=["a", "a", "b"]).wait(WAIT_S)
    take(queue).nack(delay=3_600, wait=True)
    kill_9(shared)
    assert bodies(queue.get_many(9, WAIT_S)) == [b"b1"]
    queue.reschedule(0, delay=0)
    again = take(queue)
    assert (again.body, again.attempts, queue.get()) == (b"a1", 1, None)
    again.ack(wait=True)
    assert take(queue).body == b"a2"


def test_every_operator_of_a_selector_chooses(mq: Client, name: str) -> None:
    queue = mq.queue(name)
    queue.put(b"0", {"country": "de", "size": 5})
    queue.put(b"1", {"country": "fr", "size": 10, "trace": "t-1"}, type="event")
    queue.put(b"2", {"country": "at", "size": 20.5}, priority=9).wait(WAIT_S)
    chosen: dict[str, tuple[dict[str, Any], list[bytes]]] = {
        "equal": ({"country": "de"}, [b"0"]),
        "one of": ({"country": ["fr", "de"]}, [b"0", b"1"]),
        "prefix": ({"country": ("prefix", "f")}, [b"1"]),
        "less": ({"size": ("<", 10)}, [b"0"]),
        "at most": ({"size": ("<=", 10)}, [b"0", b"1"]),
        "more": ({"size": (">", 10)}, [b"2"]),
        "at least": ({"size": (">=", 10)}, [b"1", b"2"]),
        "exists": ({"trace": exists}, [b"1"]),
        "all of": ({"size": (">", 5), "country": ("prefix", "f")}, [b"1"]),
        "a property": ({"$type": "event"}, [b"1"]),
    }
    for selector, expected in chosen.values():
        assert bodies(queue.browse(selector=selector)) == expected
        taken = queue.get_many(9, WAIT_S, selector=selector)
        assert sorted(bodies(taken)) == expected
        for message in taken:
            message.nack(delay=0, charge=False, wait=True)


def test_what_a_selector_passes_over_waits_for_others_over_a_kill(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name)
    queue.put_many([b"%d" % n for n in range(4)], headers={"kind": "a"}).wait(WAIT_S)
    queue.put(b"b", {"kind": "b"}).wait(WAIT_S)
    for message in queue.consume(selector={"kind": "b"}, max=1, timeout=WAIT_S):
        assert message.body == b"b"
        message.ack(wait=True)
    kill_9(shared)
    assert take_all(queue, 4) == [b"0", b"1", b"2", b"3"]
