"""A second dialog, of a subscriber: its session, its subscriptions at the XPUB and what comes from
there; and a raw publisher."""

from __future__ import annotations

from typing import Any

import msgpack

from broker.limits import HEADS_PAUSE
from tests.protocol.step import Step
from tests.support.node_rig import PEER, NodeRig

TWO = msgpack.packb([b"a", [b"b", {"trace": "x1"}]])
SUBSCRIBED = [
    (
        "subscription",
        "at the XPUB: 1 and the topic, which is the channel's name and a NUL",
        b"news.eu\0",
    ),
    ("subscription_prefix", "... or a prefix of topics, for the pattern news.>", b"news."),
    ("subscription_echo", "... or the topic of an echo", b"$sync.7f3a"),
]
SUBSCRIBER_STEPS = [
    Step("subscriber_hello", "opens a session", {"cmd": "hello", "req": 1, "client": "sub"}),
    Step(
        "subscribe", "registers it", {"cmd": "subscribe", "req": 2, "pattern": "news.>", "sub": 1}
    ),
    Step(
        "subscribe_again",
        "subscription_exists: the number is in use",
        {"cmd": "subscribe", "req": 3, "pattern": "news.eu", "sub": 1},
    ),
    Step(
        "subscribe_bad_pattern",
        "bad_pattern",
        {"cmd": "subscribe", "req": 4, "pattern": "news.>.eu", "sub": 2},
    ),
    Step(
        "echo",
        "what was subscribed before its topic is in force",
        {"cmd": "echo", "req": 5, "topic": b"$sync.7f3a"},
    ),
    Step(
        "publish_to_subscribers",
        "two messages, in one multipart; soon after it the head",
        {"cmd": "publish", "req": 6, "channel": "news.eu", "count": 2, "type": "goal", "key": "k"},
        (msgpack.packb({"ids": ["n-1", "n-2"]}), TWO),
        wait_ms=HEADS_PAUSE,
    ),
    Step(
        "dropped",
        "the subscriber could not get three messages",
        {"cmd": "dropped", "req": 7, "sub": 1, "count": 3},
    ),
    Step("unsubscribe", "ends it", {"cmd": "unsubscribe", "req": 8, "sub": 1}),
    Step("unsubscribe_again", "subscription_not_found", {"cmd": "unsubscribe", "req": 9, "sub": 1}),
]
RAW = [
    ("raw_publish", "a name and a body", [b"news.eu", b"body"]),
    (
        "raw_publish_headers",
        "... and headers",
        [b"news.eu", b"body", msgpack.packb({"trace": "x2"})],
    ),
]


def hold_subscriber_dialog() -> list[dict[str, Any]]:
    """Rows of the golden file: what goes to the XPUB and comes from it, and to the SUB."""
    rig = NodeRig()
    rows: list[dict[str, Any]] = []

    def add(name: str, direction: str, meaning: str, frames: list[bytes], error: Any) -> None:
        told = [frame.hex() for frame in frames]
        row = {"name": name, "direction": direction, "meaning": meaning, "frames": told}
        rows.append({**row, "error": error})

    def hear(name: str, meaning: str, wait_ms: int = 0) -> None:
        mark = len(rig.published)
        for number, sent in enumerate([*rig.run(), *rig.pass_time(wait_ms)]):
            error = sent.header.get("error")
            add(f"{name}.{number}", "to_client", f"{sent.re}: {meaning}", sent.raw, error)
        for number, frames in enumerate(rig.published[mark:]):
            add(f"{name}.published.{number}", "to_subscriber", meaning, frames, None)

    for name, meaning, topic in SUBSCRIBED:
        add(name, "to_xpub", meaning, [b"\1" + topic], None)
        rig.node.note_subscription(topic, True)
    for step in SUBSCRIBER_STEPS:
        assert isinstance(step.header, dict)
        frames = [msgpack.packb({"v": 1, **step.header}), *step.frames]
        malformed = "bad_pattern" if step.name == "subscribe_bad_pattern" else None
        add(step.name, "to_broker", step.meaning, frames, malformed)
        rig.receive(PEER, frames)
        hear(step.name, step.meaning, step.wait_ms)
    for name, meaning, frames in RAW:
        add(name, "to_raw", meaning, frames, None)
        rig.node.receive_raw(rig.now, frames)
        hear(name, meaning)
    return rows
