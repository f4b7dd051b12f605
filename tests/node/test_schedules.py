"""A schedule's puts over restarts and changes of the primary: each instant once, none forgotten.

The node is told by hand which instant is due, as its shell does.
"""

from __future__ import annotations

import msgpack
import pytest

from broker.core.timing.schedules import Scheduled
from broker.model.settings import QueueSettings
from tests.support.cluster_rig import ClusterRig
from tests.support.node_rig import PEER, NodeRig

SCHEDULE = {
    "cron": "* * * * *",
    "zone": "UTC",
    "body": "work",
    "type": "tick",
    "headers": {"a": 1},
    "priority": 7,
}
SETTINGS = {"schedules": {"s": SCHEDULE}}


def scheduled(rig: NodeRig) -> Scheduled:
    [found] = rig.node.recurring.schedules(rig.now)
    rig.run()
    return found


def put(rig: NodeRig, at: int) -> None:
    rig.node.recurring.put_scheduled(rig.now, scheduled(rig), at)
    rig.run()


@pytest.fixture
def one(rig: NodeRig) -> NodeRig:
    rig.ask(PEER, "declare", queue="q", settings=SETTINGS)
    return rig


@pytest.fixture
def cluster() -> ClusterRig:
    rig = ClusterRig()
    for broker in rig.living:
        broker.hello()
    rig["a"].ask(PEER, "declare", queue="q", settings=SETTINGS)
    return rig


def test_a_new_schedule_begins_with_its_declaration(one: NodeRig) -> None:
    began = one.now
    assert scheduled(one).last_at == began
    one.pass_time(5_000)
    assert scheduled(one).last_at == began


def test_its_message_has_what_the_schedule_says(one: NodeRig) -> None:
    put(one, one.now + 1)
    delivery = one.get("q")
    assert msgpack.unpackb(delivery.frames[-1]) == [[b"work", {"a": 1}]]
    [message] = delivery.messages()
    assert (message.priority, message.run["type"]) == (7, "tick")


def test_an_instant_is_put_once_over_a_crash(one: NodeRig) -> None:
    at = one.now + 1
    put(one, at)
    one.crash()
    one.hello()
    assert scheduled(one).last_at == at
    put(one, at)
    assert one.stats("q")["messages"] == 1


def test_what_was_not_on_the_disk_is_put_again_after_the_crash(one: NodeRig) -> None:
    began = scheduled(one).last_at
    one.node.recurring.put_scheduled(one.now, scheduled(one), began + 60_000)
    one.turn()
    one.crash()
    one.hello()
    assert scheduled(one).last_at == began
    put(one, began + 60_000)
    assert one.stats("q")["messages"] == 1


def test_a_schedule_is_not_forgotten_however_seldom_it_is_due(one: NodeRig) -> None:
    put(one, one.now + 1)
    last_at = scheduled(one).last_at
    for _ in range(8):
        one.pass_time(24 * 3_600_000)
    one.crash()
    assert scheduled(one).last_at == last_at


def test_another_clock_begins_anew(one: NodeRig) -> None:
    put(one, one.now + 1)
    one.pass_time(5_000)
    queue = one.queue("q")
    changed = {"schedules": {"s": {**SCHEDULE, "cron": "0 * * * *"}}}
    queue.settings = QueueSettings.from_map(changed)
    assert scheduled(one).last_at == one.now


def test_only_the_primary_puts_and_the_next_one_goes_on(cluster: ClusterRig) -> None:
    assert [len(broker.node.recurring.schedules(broker.now)) for broker in cluster.living] == [
        1,
        0,
        0,
    ]
    first = cluster["a"]
    put(first, first.now + 1)
    last_at = scheduled(first).last_at
    cluster.kill("a")
    cluster.pass_time(1_000)
    second = cluster.primary()
    assert scheduled(second).last_at == last_at
    put(second, last_at)
    put(second, last_at + 60_000)
    assert second.stats("q")["messages"] == 2
