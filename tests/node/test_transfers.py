"""What leaves one queue for another, over crashes, deaths and targets that refuse: once, in order.

One broker that dies with each single write; and three brokers of which one reigns over the source
and another over the target.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from broker.limits import LINK_SILENCE_MAX, SECOND, TRANSFER_RETRY, TRANSFERS_UNDER_WAY_MAX
from tests.node.soundness import require_same_copies, require_sound
from tests.support.cluster_rig import BrokerRig, ClusterRig
from tests.support.node_rig import PEER, CrashPoint, NodeRig

BODIES = [b"%d" % n for n in range(12)]


def declare(rig: NodeRig, queue: str, **settings: Any) -> None:
    assert rig.ask(PEER, "declare", queue=queue, settings=settings).re == "ok"


def reject_all(rig: NodeRig, queue: str) -> None:
    while (got := rig.get(queue, 3)).messages():
        assert rig.settle("reject", got).re == "ok"


# One broker


def die_with_each(rig: NodeRig) -> None:
    """Messages put, rejected and taken by a target that is full for a while."""
    declare(rig, "dead", max_messages=8)
    declare(rig, "q", dead_letter="dead")
    for body in BODIES:
        rig.put("q", body)
    reject_all(rig, "q")
    rig.pass_time(TRANSFER_RETRY)


@pytest.mark.parametrize("kept", [0, 1, 100])
@pytest.mark.parametrize("write", range(2, 90, 3))
def test_a_process_that_dies_with_any_write_moves_each_message_once(write: int, kept: int) -> None:
    rig = NodeRig(checkpoint_bytes=300, log_kept_bytes=200)
    rig.hello()
    rig.store.crash_in = write
    with suppress(CrashPoint):
        die_with_each(rig)
    rig.store.crash_in = None
    rig.crash(kept)
    rig.hello()
    if "q" in rig.ask(PEER, "queues")["queues"]:
        require_moved(rig)


def require_moved(rig: NodeRig) -> None:
    """All that was put arrives, none twice, in order."""
    reject_all(rig, "q")
    arrived: list[bytes] = []
    for _ in range(5):
        rig.pass_time(2 * TRANSFER_RETRY)
        got = rig.get("dead")
        arrived += got.bodies()
        if got.messages():
            rig.settle("ack", got)
    stats = rig.stats("q")
    assert (stats["messages"], stats["departing"]) == (0, 0)
    assert arrived == BODIES[: stats["next_position"]]


def test_no_two_reigns_use_a_sequence_both() -> None:
    """A reign may follow on one whose last entries an operator gave up."""
    rig = NodeRig()
    rig.hello()
    declare(rig, "dead", max_messages=1)
    declare(rig, "q", dead_letter="dead")
    sequences: list[int] = []
    for _ in range(3):
        rig.put("q", b"a", b"b")
        rig.settle("reject", rig.get("q"))
        sequences.append(next(reversed(rig.machine("q").outbox.lines["dead"])))
        rig.crash()
        rig.hello()
    assert [sequence >> 32 for sequence in sequences] == [1, 2, 3]


# Three brokers


class Pair:
    """A cluster with a queue and its dead-letter queue, each with a primary of its own."""

    def __init__(self, **settings: Any) -> None:
        self.rig = ClusterRig(slots=8, **settings)
        for broker in self.rig.living:
            broker.hello()
        names = [f"n{number}" for number in range(64)]
        self.source = names[0]
        from_ = self.rig.primary(self.source)
        self.target = next(name for name in names if self.rig.primary(name) is not from_)
        self.at, self.to = from_.name, self.rig.primary(self.target).name
        self.third = next(name for name in "abc" if name not in (self.at, self.to))

    @property
    def client(self) -> BrokerRig:
        """A client at the broker that is never killed."""
        return self.rig[self.third]

    def begin(self, **target: Any) -> None:
        declare(self.client, self.source, dead_letter=self.target)
        if target:
            declare(self.client, self.target, **target)
        for body in BODIES:
            self.client.put(self.source, body)

    def pending(self) -> int:
        return int(self.client.stats(self.source)["departing"])

    def taken(self) -> int:
        """What the target holds at its primary."""
        return self.rig.primary(self.target).queue(self.target).ledger.messages

    def require_arrived(self, bodies: list[bytes] = BODIES) -> None:
        self.rig.pass_time(5 * SECOND)
        assert self.pending() == 0
        assert self.client.get(self.target).bodies() == bodies
        for name in (self.source, self.target):
            primary = self.rig.primary(name)
            require_sound(primary, primary.queue(name))
            require_same_copies([rig for rig in self.rig.living if rig.has(name)], name)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_dead_letters_go_to_another_broker(pair: Pair) -> None:
    pair.begin()
    reject_all(pair.client, pair.source)
    pair.require_arrived()


def test_a_target_that_is_full_is_asked_again_and_order_is_kept(pair: Pair) -> None:
    pair.begin(max_messages=5)
    reject_all(pair.client, pair.source)
    assert pair.pending() == len(BODIES) - 5
    error = pair.client.stats(pair.source)["last_transfer_error"]
    assert error.startswith(f"{pair.target}: queue_full")
    arrived: list[bytes] = []
    for _ in range(3):
        got = pair.client.get(pair.target)
        arrived += got.bodies()
        pair.client.settle("ack", got)
        pair.client.pass_time(2 * SECOND)
    assert arrived + pair.client.get(pair.target).bodies() == BODIES


def test_what_would_fit_does_not_overtake_what_does_not(pair: Pair) -> None:
    declare(pair.client, pair.source, dead_letter=pair.target)
    declare(pair.client, pair.target, max_messages=2)
    pair.client.put(pair.target, b"first")
    pair.client.put(pair.source, b"a", b"b")
    pair.client.put(pair.source, b"c")
    pair.client.settle("reject", pair.client.get(pair.source))
    assert pair.pending() == 3
    arrived: list[bytes] = []
    while (got := pair.client.get(pair.target)).messages():
        arrived += got.bodies()
        pair.client.settle("ack", got)
        pair.client.pass_time(2 * TRANSFER_RETRY)
    assert arrived == [b"first", b"a", b"b", b"c"]


def test_a_target_that_is_missing_is_waited_for() -> None:
    pair = Pair(auto_declare=False)
    pair.begin()
    reject_all(pair.client, pair.source)
    stats = pair.client.stats(pair.source)
    assert (stats["departing"], stats["messages"]) == (len(BODIES), len(BODIES))
    assert stats["last_transfer_error"].startswith(f"{pair.target}: queue_not_found")
    declare(pair.client, pair.target)
    pair.require_arrived()


def test_a_target_that_was_deleted_is_another_queue(pair: Pair) -> None:
    pair.begin()
    got = pair.client.get(pair.source, 5)
    pair.client.settle("reject", got)
    pair.rig.pass_time(SECOND)
    pair.client.ask(PEER, "delete", queue=pair.target, if_empty=False)
    reject_all(pair.client, pair.source)
    pair.require_arrived(BODIES[5:])


def test_more_than_may_be_under_way_goes_in_order(pair: Pair) -> None:
    declare(pair.client, pair.source, dead_letter=pair.target)
    bodies = [b"%d" % n for n in range(3 * TRANSFERS_UNDER_WAY_MAX)]
    for body in bodies:
        pair.client.put(pair.source, body)
    got = pair.client.get(pair.source)
    pair.client.settle("reject", got)
    pair.require_arrived(bodies)


def kill_when(pair: Pair, name: str, condition: Callable[[], bool]) -> None:
    """Rejects all and lets a broker die at the first moment at which the condition holds."""
    got = pair.client.get(pair.source)
    given = {"queue": got["queue"], "tag": got["tag"], "ranges": got.ranges()}
    pair.client.command(PEER, "reject", **given)
    pair.rig.run(condition)
    assert condition(), "the moment came"
    pair.rig.kill(name)
    pair.rig.pass_time(LINK_SILENCE_MAX + 5 * SECOND)
    reject_all(pair.client, pair.source)


def has_departed(pair: Pair) -> bool:
    return bool(pair.rig[pair.at].machine(pair.source).outbox.lines)


@pytest.mark.parametrize("which", ["at", "to"])
def test_a_primary_dies_after_the_departure_and_before_the_put(pair: Pair, which: str) -> None:
    pair.begin()
    kill_when(pair, getattr(pair, which), lambda: has_departed(pair) and not known(pair))
    pair.require_arrived()


def known(pair: Pair) -> bool:
    return pair.rig[pair.to].has(pair.target)


@pytest.mark.parametrize("which", ["at", "to"])
@pytest.mark.parametrize("taken", [1, len(BODIES)])
def test_a_primary_dies_after_the_put_and_before_it_is_cleared(
    pair: Pair, which: str, taken: int
) -> None:
    pair.begin(lease_ms=60_000)
    name = getattr(pair, which)
    kill_when(pair, name, lambda: has_departed(pair) and pair.taken() >= taken)
    pair.require_arrived()


def test_the_way_is_cut_while_puts_are_on_it(pair: Pair) -> None:
    pair.begin()
    pair.rig.hold(pair.to, pair.at)
    got = pair.client.get(pair.source)
    given = {"queue": got["queue"], "tag": got["tag"], "ranges": got.ranges()}
    pair.client.command(PEER, "reject", **given)
    pair.rig.run()
    pair.rig.release(pair.to, pair.at)
    pair.rig.pass_time(LINK_SILENCE_MAX + 5 * SECOND)
    reject_all(pair.client, pair.source)
    pair.require_arrived()


def test_a_copy_of_the_slot_has_the_outbox(pair: Pair) -> None:
    pair.begin(max_messages=1)
    reject_all(pair.client, pair.source)
    pair.rig.kill(pair.third)
    pair.rig.start(pair.third, empty=True)
    pair.rig.pass_time(30 * SECOND)
    pair.client.hello()
    pair.rig.kill(pair.at)
    pair.rig.pass_time(LINK_SILENCE_MAX + 5 * SECOND)
    assert pair.pending() == len(BODIES) - 1
    arrived: list[bytes] = []
    for _ in BODIES:
        got = pair.client.get(pair.target)
        arrived += got.bodies()
        pair.client.settle("ack", got)
        pair.client.pass_time(2 * TRANSFER_RETRY)
    assert arrived == BODIES
