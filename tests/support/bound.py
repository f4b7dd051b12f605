"""Queues bound to channels, as tests ask for them of a node that is driven by hand."""

from __future__ import annotations

from typing import Any

import msgpack

from broker import limits
from tests.support.node_rig import PEER, NodeRig, Sent

#: What a channel may keep, by what it is called in the tests.
KINDS: dict[str, dict[str, Any]] = {
    "light": {},
    "in memory": {"history_messages": 10},
    "on disk": {"history_messages": 10, "durable": True},
}


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


def require_nothing_left(rig: NodeRig, channel: str) -> None:
    """No share waits, and what stood for shares alone is settled or gone."""
    rig.pass_time(limits.TRANSFER_RETRY)
    machine = rig.machine(channel)
    assert not machine.outbox.lines
    assert not machine.outbox.shared
    if "$outbox" in machine.names:
        assert machine.names["$outbox"].ledger.messages == 0
    assert not [name for name in machine.names if name.startswith("$ended/")]


def heard(rig: NodeRig) -> list[tuple[int, list[Any]]]:
    """(first sequence, bodies) of what left for subscribers."""
    told = [
        (msgpack.unpackb(frames[1])["first"], msgpack.unpackb(frames[-1]))
        for frames in rig.published
    ]
    rig.published.clear()
    return told
