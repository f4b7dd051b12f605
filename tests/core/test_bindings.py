"""A queue bound to channels: what is published is in it once, as its binding asks."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from tests.support.node_rig import PEER, NodeRig, Sent


@pytest.fixture
def rig() -> NodeRig:
    rig = NodeRig(slots=4)
    rig.hello()
    return rig


def bind(rig: NodeRig, queue: str, pattern: str, **fields: Any) -> Sent:
    return rig.ask(PEER, "bind", queue=queue, pattern=pattern, **fields)


def bound(rig: NodeRig, queue: str, *patterns: str, **settings: Any) -> None:
    rig.ask(PEER, "declare", queue=queue, settings=settings)
    for pattern in patterns:
        assert bind(rig, queue, pattern).re == "ok"


def publish(rig: NodeRig, channel: str, *bodies: Any, **fields: Any) -> Sent:
    batch = msgpack.packb(list(bodies))
    return rig.ask(PEER, "publish", batch, channel=channel, count=len(bodies), **fields)


def drain(rig: NodeRig, queue: str) -> list[Any]:
    got = rig.get(queue)
    bodies = got.bodies()
    if bodies:
        assert rig.settle("ack", got).re == "ok"
    return bodies


def test_what_is_published_is_in_each_bound_queue_once(rig: NodeRig) -> None:
    bound(rig, "a", "orders.new")
    bound(rig, "b", "orders.*", "orders.>")
    bound(rig, "c", "users.>")
    answer = publish(rig, "orders.new", b"1", b"2")
    assert (answer.re, answer["first"] >= 0, answer["copies"]) == ("ok", True, 1)
    assert [drain(rig, name) for name in "abc"] == [[b"1", b"2"], [b"1", b"2"], []]
    assert [drain(rig, name) for name in "abc"] == [[], [], []]
