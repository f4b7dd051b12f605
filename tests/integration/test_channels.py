"""Both clients publish and subscribe at a real broker that is killed, and at its pace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from patterns import BadPattern, BindingNotFound, ChannelNotFound, EventsMissed, Gap
from tests.support.broker_process import BrokerProcess
from tests.support.waiting import wait_until

Connect = Callable[..., Any]
WAIT_S = 60


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


class Stream:
    """Publishes numbers one after the other in a thread, each confirmed in the end."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._confirms: list[Any] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def count(self) -> int:
        return len(self._confirms)

    def wait_for(self, count: int) -> None:
        wait_until(lambda: self.count >= count, f"{count} messages")

    def _run(self) -> None:
        while not self._ends.is_set():
            self._confirms.append(self._channel.publish(b"%d" % len(self._confirms)))
            if len(self._confirms) % 50 == 0:
                self._confirms[-1].wait(WAIT_S)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ends.set()
        self._thread.join(WAIT_S)
        for confirm in self._confirms:
            confirm.wait(WAIT_S)


@contextmanager
def streaming(channel: Any) -> Iterator[Stream]:
    stream = Stream(channel)
    stream.start()
    try:
        yield stream
    finally:
        stream.end()


def test_every_subscriber_gets_every_message_in_order(connect: Connect) -> None:
    mq = connect()
    with mq.subscribe("orders.>", timeout=WAIT_S, max=500) as first:
        second = mq.subscribe("*.eu", timeout=WAIT_S, max=500)
        confirms = [mq.publish("orders.eu", body) for body in numbers(500)]
        assert [event.body for event in first] == numbers(500)
        assert [event.body for event in second] == numbers(500)
    result = confirms[-1].wait(WAIT_S)
    assert result.subscriptions == 2
    assert result.sequence == confirms[0].wait(WAIT_S).sequence + 499


def test_an_event_has_what_it_was_published_with(connect: Connect) -> None:
    mq = connect()
    sub = mq.subscribe("orders", max=2, timeout=WAIT_S)
    mq.publish("orders", {"n": 1}, {"trace": "t"}, type="event", key="k")
    mq.publish("orders", b"\xff")
    told, raw = list(sub)
    assert (told.channel, told.body, told.json(), told.text) == (
        "orders",
        {"n": 1},
        {"n": 1},
        '{"n":1}',
    )
    assert (told.headers, told.type, told.key) == ({"trace": "t"}, "event", "k")
    assert (raw.raw, raw.sequence, raw.epoch) == (b"\xff", told.sequence + 1, told.epoch)
    assert raw.published_at >= told.published_at > 0


def test_a_selector_is_met_by_header_and_by_type(connect: Connect) -> None:
    mq = connect()
    sub = mq.subscribe("o", selector={"land": "de", "$type": "new"}, max=2, timeout=WAIT_S)
    for land, kind in (("de", "new"), ("fr", "new"), ("de", "old"), ("de", "new")):
        mq.publish("o", land + kind, {"land": land}, type=kind)
    assert [event.body for event in sub] == ["denew", "denew"]


def test_a_callback_gets_the_events_and_its_failure_ends_nothing(connect: Connect) -> None:
    mq = connect()
    seen: list[Any] = []

    def take(event: Any) -> None:
        seen.append(event.body)
        if event.body == b"1":
            raise ValueError("refused")

    sub = mq.subscribe("orders", callback=take)
    mq.channel("orders").publish_many(numbers(10)).wait(WAIT_S)
    wait_until(lambda: len(seen) == 10, "all are seen")
    assert seen == numbers(10)
    sub.close()


def test_an_iteration_that_is_left_goes_on_where_it_was(connect: Connect) -> None:
    mq = connect()
    sub = mq.subscribe("orders", timeout=WAIT_S)
    mq.channel("orders").publish_many(numbers(10)).wait(WAIT_S)
    seen = []
    for event in sub:
        seen.append(event.body)
        if len(seen) == 4:
            break
    for event in sub:
        seen.append(event.body)
        if len(seen) == 10:
            break
    assert seen == numbers(10)


def test_it_ends_when_it_is_idle_and_when_it_is_closed(connect: Connect) -> None:
    mq = connect()
    sub = mq.subscribe("orders", timeout=0.01)
    assert list(sub) == []
    sub.close()
    assert list(sub) == []


def test_what_is_no_pattern_is_refused(connect: Connect) -> None:
    with pytest.raises(BadPattern):
        connect().subscribe("a.>.b")


def test_a_channel_tells_what_it_keeps(connect: Connect) -> None:
    mq = connect()
    prices = mq.channel("prices", history=5)
    prices.publish_many(numbers(8), type="price").wait(WAIT_S)
    kept = list(prices.history())
    assert [event.body for event in kept] == numbers(8)[3:]
    assert [event.body for event in prices.history(after=kept[2].sequence)] == numbers(8)[6:]
    assert [event.body for event in prices.history(max=2)] == numbers(8)[3:5]
    assert [event.body for event in prices.history(since=kept[0].published_at)] == numbers(8)[3:]
    assert prices.last().body == b"7"
    assert prices.stats()["published"] == 8
    assert prices.update(history=2)["history_messages"] == 2
    assert list(mq.channels("prices.>")) == []
    assert list(mq.channels("*")) == ["prices"]
    prices.delete()
    with pytest.raises(ChannelNotFound):
        prices.stats()


@pytest.mark.parametrize(
    ("start", "first"), [("all", 15), ("last", 19), ("sequence", 17), ("time", 15), ("now", 20)]
)
def test_where_a_subscription_begins(connect: Connect, start: Any, first: int) -> None:
    mq = connect()
    prices = mq.channel("prices", history=5, durable=True)
    prices.publish_many(numbers(20)).wait(WAIT_S)
    began = {"sequence": 17, "time": next(iter(prices.history())).published_at}
    sub = mq.subscribe("prices", start=began.get(start, start), timeout=WAIT_S, max=22 - first)
    prices.publish_many([b"20", b"21"]).wait(WAIT_S)
    assert [event.body for event in sub] == numbers(22)[first:]


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "memory"])
def test_replay_and_live_have_neither_a_hole_nor_a_double_between_them(
    connect: Connect, durable: bool
) -> None:
    mq = connect()
    with streaming(connect().channel("load", history=100_000, durable=durable)) as stream:
        subs = []
        for _ in range(5):
            stream.wait_for(stream.count + 300)
            subs.append(mq.subscribe("load", start="all", timeout=WAIT_S, raise_gaps=True))
    for sub in subs:
        seen = sub_until(sub, stream.count)
        assert seen == numbers(stream.count)


def sub_until(sub: Any, count: int) -> list[bytes]:
    """All bodies, up to that of the last of ``count``."""
    seen: list[bytes] = []
    for event in sub:
        seen.append(event.body)
        if event.body == b"%d" % (count - 1):
            break
    return seen


def test_a_durable_channel_misses_nothing_over_a_kill_9_of_the_broker(
    connect: Connect, broker: BrokerProcess
) -> None:
    mq = connect()
    channel = connect().channel("load", history=100_000, durable=True)
    sub = mq.subscribe("load", timeout=WAIT_S, raise_gaps=True)
    with streaming(channel) as stream:
        stream.wait_for(300)
        broker.kill()
        broker.restart()
        stream.wait_for(stream.count + 300)
    assert sub_until(sub, stream.count) == numbers(stream.count)


def test_a_channel_in_memory_tells_that_it_began_anew(
    connect: Connect, broker: BrokerProcess
) -> None:
    mq = connect()
    gaps: list[Gap] = []
    sub = mq.subscribe("orders", timeout=WAIT_S, max=2, on_gap=gaps.append)
    mq.publish("orders", b"before").wait(WAIT_S)
    broker.kill()
    broker.restart()
    wait_until(lambda: published_to_somebody(mq), "the subscription is at the new process")
    bodies = [event.body for event in sub]
    assert bodies == [b"before", b"after"]
    # What was published before anybody subscribed anew is missed as well, and can be counted.
    assert (gaps[0].channel, gaps[0].missed) == ("orders", None)
    assert all(gap.missed for gap in gaps[1:])


def published_to_somebody(mq: Any) -> bool:
    return bool(mq.publish("orders", b"after").wait(WAIT_S).subscriptions)


def test_gaps_may_be_raised(connect: Connect, broker: BrokerProcess) -> None:
    mq = connect()
    sub = mq.subscribe("orders", timeout=WAIT_S, raise_gaps=True)
    mq.publish("orders", b"before").wait(WAIT_S)
    broker.kill()
    broker.restart()
    wait_until(lambda: published_to_somebody(mq), "the subscription is at the new process")
    events = iter(sub)
    assert next(events).body == b"before"
    with pytest.raises(EventsMissed):
        next(events)


def test_a_queue_is_bound_to_channels(connect: Connect) -> None:
    mq = connect()
    audit = mq.queue("audit", durable=True)
    audit.bind("orders.>", selector={"land": "de"})
    audit.bind("users.*")
    assert audit.bindings() == {
        "orders.>": {"selector": [["land", "=", "de"]]},
        "users.*": {},
    }
    mq.publish("orders.eu", b"yes", {"land": "de"}).wait(WAIT_S)
    mq.publish("orders.eu", b"no", {"land": "fr"}).wait(WAIT_S)
    mq.publish("users.new", b"user").wait(WAIT_S)
    bodies = []
    for message in audit.consume(max=2, timeout=WAIT_S):
        bodies.append(message.body)
        message.ack()
    assert sorted(bodies) == [b"user", b"yes"]
    audit.unbind("users.*")
    with pytest.raises(BindingNotFound):
        audit.unbind("users.*")


def test_definitions_have_the_channels_that_were_declared(connect: Connect) -> None:
    mq = connect()
    mq.channel("prices", history=7, durable=True)
    mq.publish("undeclared", b"x").wait(WAIT_S)
    exported = mq.export()
    assert list(exported["channels"]) == ["prices"]
    mq.channel("prices").delete()
    report = mq.import_(exported)
    assert report.channels.created == ["prices"]
    assert mq.import_(exported).channels.same == ["prices"]
    mq.channel("prices").update(history=9)
    assert mq.import_(exported).channels.different == ["prices"]
    assert mq.import_(exported, update=True).channels.updated == ["prices"]
    assert mq.channel("prices").stats()["settings"]["history_messages"] == 7
