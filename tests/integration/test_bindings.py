"""Queues bound to channels of a real broker that is killed while somebody publishes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.broker_process import BrokerProcess
from tests.support.waiting import wait_until

Connect = Callable[..., Any]
WAIT_S = 60
KINDS: dict[str, dict[str, Any]] = {
    "light": {},
    "in memory": {"history": 20},
    "on disk": {"history": 20, "durable": True},
}


class Stream:
    """Publishes numbers in a thread until it is told to end; each is confirmed then."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.confirms: list[Any] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def wait_for(self, more: int) -> None:
        enough = len(self.confirms) + more
        wait_until(lambda: len(self.confirms) >= enough, f"{enough} messages")

    def _run(self) -> None:
        while not self._ends.is_set():
            self.confirms.append(self._channel.publish(b"%d" % len(self.confirms)))
            if len(self.confirms) % 50 == 0:
                self.confirms[-1].wait(WAIT_S)

    def end(self) -> int:
        self._ends.set()
        self._thread.join(WAIT_S)
        for confirm in self.confirms:
            confirm.wait(WAIT_S)
        return len(self.confirms)


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_bound_queues_have_every_message_once_and_in_order_over_kills_of_the_broker(
    connect: Connect, broker: BrokerProcess, settings: dict[str, Any]
) -> None:
    mq, publisher = connect(), connect()
    queues = [mq.queue(name, durable=True) for name in ("named", "wild")]
    queues[0].bind("orders.eu")
    queues[1].bind("orders.>")
    channel = publisher.channel("orders.eu", **settings)
    stream = Stream(channel)
    try:
        for _ in range(2):
            stream.wait_for(300)
            broker.kill()
            broker.restart()
        stream.wait_for(300)
    finally:
        count = stream.end()
    numbers = [b"%d" % number for number in range(count)]
    for queue in queues:
        taken = [message.body for message in queue.consume(max=count, timeout=WAIT_S)]
        assert taken == numbers
        assert queue.stats()["messages"] == count


def test_a_queue_that_was_unbound_before_the_kill_stays_so(
    connect: Connect, broker: BrokerProcess
) -> None:
    mq = connect()
    queue = mq.queue("q", durable=True)
    queue.bind("a.>")
    queue.bind("b")
    queue.unbind("a.>")
    broker.kill()
    broker.restart()
    mq.publish("a.b", b"no").wait(WAIT_S)
    mq.publish("b", b"yes").wait(WAIT_S)
    wait_until(lambda: queue.stats()["messages"] == 1, "the message that is for the queue")
    assert [message.body for message in queue.consume(max=1, timeout=WAIT_S)] == [b"yes"]
    assert queue.bindings() == {"b": {}}
