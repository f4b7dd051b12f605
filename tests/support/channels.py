"""Channels of a node that is driven by hand: publishes, histories, what leaves for subscribers."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from tests.support.node_rig import PEER, NodeRig, Sent


class Event(NamedTuple):
    """One message as a subscriber has it, or as a history tells it."""

    sequence: int
    body: Any


def publish(rig: NodeRig, channel: str, *bodies: Any, peer: bytes = PEER, **fields: Any) -> Sent:
    """Publishes and waits for the answer."""
    batch = msgpack.packb(list(bodies))
    return rig.ask(peer, "publish", batch, channel=channel, count=len(bodies), **fields)


def send_publish(rig: NodeRig, channel: str, *bodies: Any, **fields: Any) -> int:
    """Only hands the command over."""
    batch = msgpack.packb(list(bodies))
    return rig.command(PEER, "publish", batch, channel=channel, count=len(bodies), **fields)


def declare(rig: NodeRig, channel: str, **settings: Any) -> Sent:
    return rig.ask(PEER, "declare_channel", channel=channel, settings=settings)


def history(rig: NodeRig, channel: str, **fields: Any) -> Sent:
    return rig.ask(PEER, "history", channel=channel, **fields)


def events_of(told: Sent) -> list[Event]:
    """The messages of a history's answer."""
    bodies = msgpack.unpackb(told.frames[-1])
    assert len(bodies) == sum(run["count"] for run in told["runs"])
    sequences = [
        sequence
        for run in told["runs"]
        for sequence in range(run["first"], run["first"] + run["count"])
    ]
    return [Event(*pair) for pair in zip(sequences, bodies, strict=True)]


def kept(rig: NodeRig, channel: str, **fields: Any) -> list[Any]:
    """The bodies of one page of a history."""
    return [event.body for event in events_of(history(rig, channel, **fields))]


def facts(rig: NodeRig, channel: str) -> dict[str, Any]:
    """What the list of channels tells of one."""
    [[name, told]] = rig.ask(PEER, "channels", pattern=channel)["channels"]
    assert name == channel
    found: dict[str, Any] = told
    return found


def listen(rig: NodeRig) -> None:
    """Somebody's socket subscribes everything."""
    rig.node.note_subscription(b"", on=True)


def heard(rig: NodeRig, channel: str) -> list[Event]:
    """What has left for subscribers of a channel so far."""
    events: list[Event] = []
    for topic, header, *frames in rig.published:
        if topic == channel.encode() + b"\0":
            first = msgpack.unpackb(header)["first"]
            bodies = msgpack.unpackb(frames[-1])
            events += [Event(first + index, body) for index, body in enumerate(bodies)]
    return events
