"""A queue with keys and selectors against a naive reading of its rules, under random commands.

What a get brings is known exactly: of each free key the first waiting message, and all messages
without a key, as far as the selector wants them, in order.  A delivery may be a part of that from
its beginning, as frames and budgets have it, but never nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import msgpack
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker import limits
from tests.support.node_rig import PEER, NodeRig, Sent

KEYS = st.sampled_from(["a", "b", "c", "", None])
KINDS = st.sampled_from(["x", "y"])
#: None wants all.
WANTED = st.sampled_from([None, "x", "y"])
LEASE_MS = 5_000


@dataclass
class Message:
    position: int
    key: str | None
    kind: str
    priority: int
    #: Before this instant it waits for its due time or its retry.
    not_before: int
    attempts: int = 0
    #: True where it rests after a failed attempt, which keeps its key held.
    rests: bool = False
    lease_ends_at: int | None = None
    tag: bytes = b""

    @property
    def rank(self) -> tuple[int, int]:
        return -self.priority, self.position


class KeyedQueue(RuleBasedStateMachine):
    @initialize(looks=st.sampled_from([3, 1_000]), keyed=st.booleans())
    def begin(self, looks: int, keyed: bool) -> None:
        self.patched = patch.object(limits, "CHOICE_LOOKS_PER_TURN", looks)
        self.patched.start()
        self.rig = NodeRig()
        self.rig.hello()
        self.keyed = keyed
        ordering = "key" if keyed else "queue"
        self.rig.ask(PEER, "declare", queue="q", settings={"ordering": ordering})
        self.live: dict[int, Message] = {}
        self.settled: set[int] = set()

    def teardown(self) -> None:
        self.patched.stop()

    # What the rules say

    def is_waiting(self, message: Message) -> bool:
        return message.lease_ends_at is None and message.not_before <= self.rig.now

    def is_away(self, message: Message) -> bool:
        rests = message.rests and message.not_before > self.rig.now
        return message.lease_ends_at is not None or rests

    def expected(self, wanted: str | None) -> list[int]:
        held = {m.key for m in self.live.values() if self.is_away(m)} if self.keyed else set()
        waiting = sorted(filter(self.is_waiting, self.live.values()), key=lambda m: m.rank)
        found: list[int] = []
        for message in waiting:
            if self.keyed and message.key is not None:
                if message.key in held:
                    continue
                held.add(message.key)
            if wanted in (None, message.kind):
                found.append(message.position)
        return found

    # Commands

    @rule(
        messages=st.lists(st.tuples(KEYS, KINDS), min_size=1, max_size=6),
        priority=st.sampled_from([4, 4, 7]),
        delay_ms=st.sampled_from([0, 0, 0, 2_000]),
        in_header=st.booleans(),
    )
    def put(
        self, messages: list[tuple[str | None, str]], priority: int, delay_ms: int, in_header: bool
    ) -> None:
        keys = [key for key, _ in messages]
        batch = msgpack.packb([[b"", {"kind": kind}] for _, kind in messages])
        fields: dict[str, Any] = {"priority": priority, "delay_ms": delay_ms, "count": len(keys)}
        frames = [batch]
        if in_header and len(set(keys)) == 1 and keys[0] is not None:
            fields["key"] = keys[0]
        elif set(keys) != {None}:
            frames = [msgpack.packb({"keys": keys}), batch]
        first = self.rig.ask(PEER, "put", *frames, queue="q", **fields)["first"]
        for position, (key, kind) in enumerate(messages, first):
            due_at = self.rig.now + delay_ms
            self.live[position] = Message(position, key, kind, priority, due_at)

    @rule(
        wanted=WANTED,
        count=st.sampled_from([1, 2, 100]),
        auto_ack=st.sampled_from([False] * 3 + [True]),
    )
    def get(self, wanted: str | None, count: int, auto_ack: bool) -> None:
        expected = self.expected(wanted)[:count]
        fields: dict[str, Any] = {"lease_ms": LEASE_MS, "auto_ack": auto_ack}
        if wanted is not None:
            fields["selector"] = [["kind", "=", wanted]]
        got = self.rig.get("q", count, **fields)
        self.check_delivery(got, expected)
        for run in got["runs"]:
            for position in range(run["first"], run["first"] + run["count"]):
                message = self.live[position]
                assert run.get("attempts", 0) == message.attempts
                if auto_ack:
                    self.remove(position)
                else:
                    message.lease_ends_at = self.rig.now + LEASE_MS
                    message.tag = got["tag"]

    def check_delivery(self, got: Sent, expected: list[int]) -> None:
        positions = got.positions()
        assert positions == expected[: len(positions)]
        assert bool(positions) == bool(expected)
        keys = [self.live[position].key for position in positions]
        if len(got.frames) == 2:
            assert msgpack.unpackb(got.frames[0])["keys"] == keys
        else:
            told = [m.run.get("key") for m in got.messages()]
            assert told == keys

    def remove(self, position: int) -> None:
        del self.live[position]
        self.settled.add(position)

    def in_flight(self) -> Iterator[Message]:
        return (m for m in self.live.values() if m.lease_ends_at is not None)

    def settle(self, cmd: str, message: Message, **fields: Any) -> Sent:
        ranges = [[message.position, 1, message.attempts]]
        return self.rig.ask(PEER, cmd, queue="q", tag=message.tag, ranges=ranges, **fields)

    @precondition(lambda self: any(self.in_flight()))
    @rule(data=st.data(), cmd=st.sampled_from(["ack", "ack", "reject"]))
    def end_one(self, data: st.DataObject, cmd: str) -> None:
        message = data.draw(st.sampled_from(list(self.in_flight())))
        assert self.settle(cmd, message)["count"] == 1
        self.remove(message.position)

    @precondition(lambda self: any(self.in_flight()))
    @rule(data=st.data(), delay_ms=st.sampled_from([0, 3_000]), charge=st.booleans())
    def nack(self, data: st.DataObject, delay_ms: int, charge: bool) -> None:
        message = data.draw(st.sampled_from(list(self.in_flight())))
        assert self.settle("nack", message, delay_ms=delay_ms, charge=charge)["count"] == 1
        message.attempts += charge
        message.rests = True
        message.not_before = self.rig.now + delay_ms
        message.lease_ends_at = None

    @rule(ms=st.sampled_from([500, 3_000, 6_000]))
    def pass_time(self, ms: int) -> None:
        self.rig.pass_time(ms)
        # Leases are looked at in steps.
        self.rig.pass_time(limits.LEASE_STEP)
        for message in list(self.in_flight()):
            if message.lease_ends_at is not None and message.lease_ends_at <= self.rig.now:
                message.lease_ends_at = None
                message.attempts += 1

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        (self.rig.restart if clean else self.rig.crash)()
        self.rig.hello()
        for message in self.in_flight():
            message.lease_ends_at = None

    @precondition(lambda self: any(m.tag for m in self.live.values() if self.is_waiting(m)))
    @rule(data=st.data(), cmd=st.sampled_from(["extend", "ack"]))
    def claim(self, data: st.DataObject, cmd: str) -> None:
        """Who held a message before a restart may take it again, or settle it."""
        holders = [m for m in self.live.values() if m.tag and self.is_waiting(m)]
        message = data.draw(st.sampled_from(holders))
        answer = self.settle(cmd, message)
        if cmd == "ack" and answer.re == "ok":
            self.remove(message.position)
        elif cmd == "extend" and answer["held"]:
            same = [m for m in self.live.values() if m.key == message.key and self.is_away(m)]
            assert not self.keyed or message.key is None or not same
            lease_ms = answer["lease_ms"]
            message.lease_ends_at = self.rig.now + lease_ms

    @rule()
    def purge(self) -> None:
        kept = [m.position for m in self.in_flight()]
        self.rig.ask(PEER, "purge", queue="q")
        for position in [p for p in self.live if p not in kept]:
            self.remove(position)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        if hasattr(self, "rig"):
            stats = self.rig.stats("q")
            assert stats["messages"] == len(self.live)
            assert stats["in_flight"] == sum(1 for _ in self.in_flight())


KeyedQueue.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestKeyedQueue = KeyedQueue.TestCase
