"""Queues with any settings, under any commands, late syncs and crashes: what must hold holds.

The long run: make soak-queues
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.node.settings_clients import NAMES, STEP_MS
from tests.node.settings_world import World

CLIENTS = st.integers(0, 1)
QUEUES = st.sampled_from(["a", "a", "a", "b", "b", "c"])
CONSUMERS = st.integers(1, 2)
RARELY = st.sampled_from([False, False, False, True])
IDS = st.sampled_from([None, None, "i", "j", "k"])
KEYS = st.sampled_from([None, "x", "y"])
KINDS = st.sampled_from(["e", "o"])
NONE: st.SearchStrategy[Any] = st.none()

#: What may change while a queue lives and holds messages.
LIVE: dict[str, st.SearchStrategy[Any]] = {
    "lease_ms": st.sampled_from([2 * STEP_MS, 60 * STEP_MS]),
    "ttl_ms": st.sampled_from([None, 4 * STEP_MS, 20 * STEP_MS]),
    "delay_ms": st.sampled_from([0, 0, 2 * STEP_MS]),
    "max_messages": st.sampled_from([None, 3, 8]),
    "max_bytes": st.sampled_from([None, 100, 400]),
    "overflow": st.sampled_from(["reject", "drop_oldest", "dead_letter_oldest"]),
    "max_attempts": st.sampled_from([None, 1, 2, 4]),
    "backoff_ms": st.sampled_from([0, STEP_MS]),
    "backoff_factor": st.sampled_from([1, 2]),
    "backoff_max_ms": st.sampled_from([STEP_MS, 3 * STEP_MS]),
    "max_in_flight": st.sampled_from([None, 1, 3]),
    "max_per_second": st.sampled_from([None, 1, 60]),
    "exclusive": st.booleans(),
    "paused": RARELY,
}
MADE_OF: dict[str, st.SearchStrategy[Any]] = {
    "dedup": st.sampled_from(["off", "window", "unsettled"]),
    "index_ids": st.booleans(),
    "ordering": st.sampled_from(["queue", "key"]),
}
FIXED: dict[str, st.SearchStrategy[Any]] = {
    "durable": st.just(True),
    "dedup_window_ms": st.sampled_from([3 * STEP_MS, 300 * STEP_MS]),
    "backoff_jitter": st.just(0),
}


def settings_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Any settings; dead letters go down the alphabet, so that they come to rest."""
    targets = st.sampled_from([None, *NAMES[NAMES.index(name) + 1 :]])
    optional = {**LIVE, **MADE_OF, **FIXED, "dead_letter": targets}
    del optional["backoff_jitter"]
    drawn = st.fixed_dictionaries({"backoff_jitter": st.just(0)}, optional=optional)
    return drawn.map(_valid)


def _valid(values: dict[str, Any]) -> dict[str, Any]:
    if values.get("overflow") == "dead_letter_oldest" and values.get("dead_letter") is None:
        return {**values, "overflow": "drop_oldest"}
    return values


def changes(of: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(sorted(of)).flatmap(lambda name: st.fixed_dictionaries({name: of[name]}))


PUTS = st.fixed_dictionaries(
    {
        "each": st.lists(
            st.tuples(IDS, KEYS, KINDS, st.sampled_from([0, 0, STEP_MS, 5 * STEP_MS])),
            min_size=1,
            max_size=5,
        ),
        "priority": st.sampled_from([4, 4, 4, 0, 9]),
        "delay_ms": st.sampled_from([None, None, 0, STEP_MS, 5 * STEP_MS]),
        "ttl_ms": st.sampled_from([None, None, STEP_MS, 10 * STEP_MS]),
        "timed": RARELY,
        "size": st.integers(0, 30),
    }
)
TAKES = st.fixed_dictionaries(
    {
        "most": st.integers(1, 8),
        "lease_ms": st.sampled_from([None, 2 * STEP_MS, 60 * STEP_MS]),
        "auto_ack": st.sampled_from([False] * 7 + [True]),
        "kind": st.sampled_from([None, None, "e"]),
        "priority": st.integers(-1, 1),
    }
)
#: By positions or by ids.
NAMED = st.one_of(
    st.tuples(st.integers(0, 30), st.integers(1, 5)).map(lambda r: {"ranges": [[*r, 0]]}),
    st.lists(st.sampled_from(["i", "j", "k"]), min_size=1, max_size=2, unique=True).map(
        lambda ids: {"ids": ids}
    ),
)


class QueuesOfAnySettings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize(a=settings_of("a"), b=settings_of("b"), c=settings_of("c"))
    def begin(self, **drawn: dict[str, Any]) -> None:
        self.world.begin(drawn)

    @rule(client=CLIENTS, how=st.sampled_from(["bye", "vanish", "resume"]), really=RARELY)
    def end_session(self, client: int, how: str, really: bool) -> None:
        if not really:
            return
        one = self.world.clients[client]
        if how == "resume":
            self.world.connect(one, resume=True)
        elif how == "bye":
            self.world.bye(one)
        else:
            self.world.vanish(one)

    @rule(client=CLIENTS, queue=QUEUES, options=PUTS)
    def put(self, client: int, queue: str, options: dict[str, Any]) -> None:
        self.world.put(self.world.clients[client], queue, options)

    @rule(client=CLIENTS, queue=QUEUES, options=PUTS, take=TAKES)
    def hand_on(
        self, client: int, queue: str, options: dict[str, Any], take: dict[str, Any]
    ) -> None:
        """So that in most runs somebody holds something."""
        self.world.put(self.world.clients[client], queue, options)
        self.world.sync()
        self.world.sync()
        self.world.get(self.world.clients[client], queue, take, 0)
        self.world.turn()

    @rule(client=CLIENTS, queue=QUEUES, take=TAKES, wait=st.sampled_from([0, 0, 3 * STEP_MS]))
    def get(self, client: int, queue: str, take: dict[str, Any], wait: int) -> None:
        self.world.get(self.world.clients[client], queue, take, wait)

    @rule(client=CLIENTS, queue=QUEUES, number=CONSUMERS, take=TAKES)
    def consume(self, client: int, queue: str, number: int, take: dict[str, Any]) -> None:
        self.world.consume(self.world.clients[client], queue, number, take)

    @rule(client=CLIENTS, number=CONSUMERS, messages=st.integers(1, 5))
    def credit(self, client: int, number: int, messages: int) -> None:
        self.world.credit(self.world.clients[client], number, messages)

    @rule(client=CLIENTS, number=CONSUMERS)
    def cancel(self, client: int, number: int) -> None:
        self.world.cancel(self.world.clients[client], number)

    @rule(
        client=CLIENTS,
        other=st.sampled_from([0, 0, 0, 1]),
        which=st.integers(0, 7),
        cmd=st.sampled_from(["ack", "ack", "nack", "nack", "reject"]),
        part=st.sampled_from([0, 0, 1, 2]),
        wrong=st.sampled_from([0, 0, 0, 0, 1]),
        charge=st.sampled_from([True, True, False]),
        delay=st.sampled_from([None, 0, 2 * STEP_MS]),
    )
    def settle(
        self,
        client: int,
        other: int,
        which: int,
        cmd: str,
        part: int,
        wrong: int,
        charge: bool,
        delay: int | None,
    ) -> None:
        """All of a delivery, or its beginning; at times another client's, or in wrong words."""
        memories = self.world.clients[(client + other) % 2].memory
        if not memories:
            return
        memory = memories[-1 - which % len(memories)]
        parts = [(position, attempts + wrong) for position, attempts in memory.parts]
        fields: dict[str, Any] = {}
        if cmd == "nack":
            fields = {"charge": charge}
            if delay is not None:
                fields["delay_ms"] = delay
        parts = parts[:part] if part else parts
        self.world.settle(self.world.clients[client], cmd, memory, parts, **fields)

    @rule(client=CLIENTS, which=st.integers(0, 7), lease=st.sampled_from([1, 60]))
    def extend(self, client: int, which: int, lease: int) -> None:
        one = self.world.clients[client]
        if one.memory:
            self.world.extend(one, one.memory[-1 - which % len(one.memory)], lease * STEP_MS)

    @rule(
        client=CLIENTS,
        which=st.integers(0, 7),
        puts=st.lists(st.tuples(QUEUES, PUTS), max_size=2),
    )
    def transact(self, client: int, which: int, puts: list[tuple[str, dict[str, Any]]]) -> None:
        one = self.world.clients[client]
        if one.memory:
            self.world.transact(one, one.memory[-1 - which % len(one.memory)], puts)

    @rule(queue=QUEUES, values=changes(LIVE), really=st.booleans())
    def update(self, queue: str, values: dict[str, Any], really: bool) -> None:
        if really:
            self.world.update(queue, values)

    @rule(queue=QUEUES, values=changes(MADE_OF))
    def make_over(self, queue: str, values: dict[str, Any]) -> None:
        self.world.update(queue, values)

    @rule(queue=QUEUES, named=NAMED)
    def remove(self, queue: str, named: dict[str, Any]) -> None:
        self.world.remove(queue, **named)

    @rule(queue=QUEUES, named=NAMED, after=st.sampled_from([0, STEP_MS, 8 * STEP_MS]))
    def reschedule(self, queue: str, named: dict[str, Any], after: int) -> None:
        self.world.reschedule(queue, after, **named)

    @rule(
        queue=st.sampled_from(["b", "c", "c"]),
        to=st.sampled_from([None, None, "a", "b"]),
        most=st.sampled_from([None, 2]),
        rate=st.sampled_from([None, 1]),
        really=RARELY,
    )
    def redrive(
        self, queue: str, to: str | None, most: int | None, rate: int | None, really: bool
    ) -> None:
        if really:
            given = {"max": most, "per_second": rate}
            fields = {name: value for name, value in given.items() if value is not None}
            self.world.redrive(queue, to, **fields)

    @rule(queue=QUEUES, really=RARELY)
    def purge(self, queue: str, really: bool) -> None:
        if really:
            self.world.purge(queue)

    @rule(queue=QUEUES, really=RARELY)
    def delete(self, queue: str, really: bool) -> None:
        if really:
            self.world.delete(queue)

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

    @rule()
    def quiet(self) -> None:
        self.world.quiet()

    def teardown(self) -> None:
        if self.world.facts.queues:
            self.world.quiet()
            self.world.crash(0)
            self.world.quiet()


_IS_SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
TestQueuesOfAnySettings = QueuesOfAnySettings.TestCase
TestQueuesOfAnySettings.settings = settings(
    max_examples=20_000 if _IS_SOAK else 250,
    stateful_step_count=60,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
