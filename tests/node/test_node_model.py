"""A whole node against a model: any commands, in any order, with syncs that come late and crashes.

The long run: HYPOTHESIS_PROFILE=soak pytest tests/node/test_node_model.py
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.node.judge import STEP_MS
from tests.node.world import World

CLIENTS = st.integers(0, 2)
QUEUES = st.sampled_from(["a", "b.c", "auto"])
#: What ends much comes seldom, so that something is there to be ended.
RARELY = st.sampled_from([False, False, False, True])
CONSUMERS = st.integers(1, 2)
LEASES = st.sampled_from([STEP_MS, 3 * STEP_MS, 60 * STEP_MS])
SIZES = st.one_of(
    st.lists(st.integers(0, 40), min_size=1, max_size=3),
    st.lists(st.integers(0, 40), min_size=4, max_size=50),
)
PRIORITIES = st.sampled_from([4, 4, 4, 0, 9])
TTLS = st.sampled_from([None, None, None, STEP_MS, 5 * STEP_MS])


class NodeAndModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(client=CLIENTS, resume=st.booleans(), timeout=st.sampled_from([5, 300]))
    def reconnect(self, client: int, resume: bool, timeout: int) -> None:
        self.world.connect(self.world.clients[client], resume, timeout * STEP_MS)

    @rule(client=CLIENTS)
    def ping(self, client: int) -> None:
        self.world.ping(self.world.clients[client])

    @rule(client=CLIENTS, really=RARELY)
    def bye(self, client: int, really: bool) -> None:
        if really:
            self.world.bye(self.world.clients[client])

    @rule(client=CLIENTS, really=RARELY)
    def vanish(self, client: int, really: bool) -> None:
        if really:
            self.world.vanish(self.world.clients[client])

    @rule(
        client=CLIENTS,
        queue=QUEUES,
        sizes=SIZES,
        priority=PRIORITIES,
        ttl=TTLS,
        delay=st.sampled_from([0, 0, STEP_MS, 5 * STEP_MS]),
    )
    def put(
        self,
        client: int,
        queue: str,
        sizes: list[int],
        priority: int,
        ttl: int | None,
        delay: int,
    ) -> None:
        self.world.put(self.world.clients[client], queue, sizes, priority, ttl, delay)

    @rule(client=CLIENTS, queue=QUEUES, sizes=SIZES, times=st.integers(1, 5))
    def put_many(self, client: int, queue: str, sizes: list[int], times: int) -> None:
        for _ in range(times):
            self.world.put(self.world.clients[client], queue, sizes, 4, None)

    @rule(client=CLIENTS, taker=CLIENTS, sizes=SIZES, most=st.integers(2, 30), lease=LEASES)
    def hand_on(self, client: int, taker: int, sizes: list[int], most: int, lease: int) -> None:
        """So that in most runs somebody holds something."""
        self.world.put(self.world.clients[client], "a", sizes, 4, None)
        self.world.sync()
        self.world.sync()
        self.world.get(self.world.clients[taker], "a", most, 0, lease)
        self.world.turn()

    @rule(client=CLIENTS, queue=QUEUES, back=st.integers(0, 3))
    def put_again(self, client: int, queue: str, back: int) -> None:
        self.world.put_again(self.world.clients[client], queue, back)

    @rule(
        client=CLIENTS,
        queue=QUEUES,
        most=st.integers(1, 30),
        wait=st.sampled_from([0, 0, STEP_MS, 10 * STEP_MS]),
        lease=LEASES,
    )
    def get(self, client: int, queue: str, most: int, wait: int, lease: int) -> None:
        self.world.get(self.world.clients[client], queue, most, wait, lease)

    @rule(
        client=CLIENTS,
        queue=QUEUES,
        number=CONSUMERS,
        credit=st.integers(0, 20),
        lease=LEASES,
        concurrency=st.integers(1, 3),
    )
    def consume(
        self, client: int, queue: str, number: int, credit: int, lease: int, concurrency: int
    ) -> None:
        self.world.consume(self.world.clients[client], queue, number, credit, lease, concurrency)

    @rule(client=CLIENTS, number=CONSUMERS, messages=st.integers(0, 10))
    def credit(self, client: int, number: int, messages: int) -> None:
        self.world.credit(self.world.clients[client], number, messages)

    @rule(client=CLIENTS, number=CONSUMERS)
    def cancel(self, client: int, number: int) -> None:
        self.world.cancel(self.world.clients[client], number)

    @rule(
        client=CLIENTS,
        which=st.integers(0, 11),
        cmd=st.sampled_from(["ack", "ack", "nack", "reject", "extend"]),
        cuts=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=0, max_size=3),
        wrong=st.sampled_from([0, 0, 0, 0, 1]),
        other=st.sampled_from([0, 0, 0, 1]),
        charge=st.booleans(),
        delay=st.sampled_from([0, 0, 2 * STEP_MS]),
        lease=LEASES,
        credit=st.sampled_from([None, 0, 3]),
    )
    def settle(
        self,
        client: int,
        which: int,
        cmd: str,
        cuts: list[tuple[int, int]],
        wrong: int,
        other: int,
        charge: bool,
        delay: int,
        lease: int,
        credit: int | None,
    ) -> None:
        """All of a delivery, or parts of it; at times of another client's, or with wrong words."""
        world = self.world
        memories = world.clients[(client + other) % 3].memory
        if not memories:
            return
        memory = memories[-1 - which % len(memories)]
        ranges = [(memory.first, memory.count, memory.attempts + wrong)]
        if cuts:
            ranges = [(memory.first + at, n, memory.attempts + wrong) for at, n in cuts]
        fields: dict[str, Any] = {}
        if cmd == "nack":
            fields = {"charge": charge, "delay_ms": delay}
        elif cmd == "extend":
            fields = {"lease_ms": lease}
        if credit is not None and cmd != "extend":
            numbers = world.consumers_of(world.clients[client], memory.queue)
            if numbers:
                fields |= {"consumer": numbers[0], "credit": credit}
        world.settle(world.clients[client], cmd, memory, ranges, **fields)

    @rule(client=CLIENTS, queue=QUEUES)
    def purge(self, client: int, queue: str) -> None:
        self.world.purge(self.world.clients[client], queue)

    @rule(client=CLIENTS, queue=QUEUES, really=RARELY)
    def delete(self, client: int, queue: str, really: bool) -> None:
        if really:
            self.world.delete(self.world.clients[client], queue)

    @rule()
    def turn(self) -> None:
        self.world.turn()

    @rule()
    def sync(self) -> None:
        self.world.sync()

    @rule(steps=st.sampled_from([1, 1, 2, 4, 30, 61]))
    def pass_time(self, steps: int) -> None:
        self.world.pass_time(steps)

    @rule(kept=st.integers(0, 6))
    def crash(self, kept: int) -> None:
        self.world.crash(kept)
        for client in self.world.clients:
            self.world.connect(client, resume=True)

    @rule()
    def quiet(self) -> None:
        self.world.quiet()

    def teardown(self) -> None:
        self.world.quiet()
        self.world.crash(0)
        self.world.quiet()
        self.world.drain()


#: Many short lives find more than few long ones; the soak has both.
_IS_SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
TestNodeAndModel = NodeAndModel.TestCase
TestNodeAndModel.settings = settings(
    max_examples=20_000 if _IS_SOAK else 250,
    stateful_step_count=100 if _IS_SOAK else 50,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
