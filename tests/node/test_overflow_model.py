"""A queue that drops, under random commands, crashes and restarts: sound, and within its limits."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.node.soundness import require_sound
from tests.support.node_rig import PEER, NodeRig, Sent

MESSAGES_MAX = 12
BYTES_MAX = 150


class DroppingQueue(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rig = NodeRig()
        self.held: list[Sent] = []

    @initialize(
        overflow=st.sampled_from(["drop_oldest", "dead_letter_oldest"]), by_bytes=st.booleans()
    )
    def declare(self, overflow: str, by_bytes: bool) -> None:
        limit = {"max_bytes": BYTES_MAX} if by_bytes else {"max_messages": MESSAGES_MAX}
        fields = {"overflow": overflow, "dead_letter": "dead", **limit}
        self.rig.hello()
        assert self.rig.ask(PEER, "declare", queue="q", settings=fields).code == 0

    @rule(
        count=st.integers(1, 5),
        priority=st.integers(3, 5),
        delay_ms=st.sampled_from([0, 0, 0, 0, 2_000]),
        size=st.integers(1, 12),
    )
    def put_batch(self, count: int, priority: int, delay_ms: int, size: int) -> None:
        bodies = [b"x" * size] * count
        self.rig.put("q", *bodies, priority=priority, delay_ms=delay_ms)

    @rule(count=st.integers(1, 6))
    def get(self, count: int) -> None:
        got = self.rig.get("q", count)
        if got.messages():
            self.held.append(got)

    @precondition(lambda self: self.held)
    @rule(cmd=st.sampled_from(["ack", "nack", "reject"]), part=st.booleans(), data=st.data())
    def settle(self, cmd: str, part: bool, data: st.DataObject) -> None:
        got = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        ranges = got.ranges()[:1] if part else got.ranges()
        fields: dict[str, Any] = {"delay_ms": 0} if cmd == "nack" else {}
        self.rig.settle(cmd, got, ranges=ranges, **fields)

    @rule(ms=st.sampled_from([100, 2_000, 31_000]))
    def pass_time(self, ms: int) -> None:
        self.rig.pass_time(ms)

    @rule()
    def purge(self) -> None:
        self.rig.ask(PEER, "purge", queue="q")

    @rule(crash=st.booleans(), kept=st.integers(0, 2))
    def end(self, crash: bool, kept: int) -> None:
        if crash:
            self.rig.crash(kept)
        else:
            self.rig.restart()
        self.rig.hello()

    @invariant()
    def is_sound(self) -> None:
        self.rig.run()
        require_sound(self.rig, self.rig.queue("q"))

    @rule()
    def a_put_brings_it_within_its_limits(self) -> None:
        self.rig.put("q", b"y")
        stats = self.rig.stats("q")
        limits = stats["settings"]
        if limits["max_messages"] is not None:
            ready = stats["ready"]
            waits = stats["delayed"]
            assert ready + waits <= max(MESSAGES_MAX, waits)
        else:
            assert stats["ready"] == 0 or self._bytes_waiting(stats) <= BYTES_MAX

    def _bytes_waiting(self, stats: dict[str, int]) -> int:
        queue = self.rig.queue("q")
        departing = sum(move.size for _, _, move in queue.departing)
        return stats["bytes"] - queue.leases.bytes - departing


DroppingQueue.TestCase.settings = settings(deadline=None)
TestDroppingQueue = DroppingQueue.TestCase
