"""Queues bound to channels, over crashes and deaths: what was published is in each of them once.

One broker that dies with each single write; and three brokers of which one reigns over the channel
and another over the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from broker.limits import LINK_SILENCE_MAX, SECOND, TRANSFER_RETRY
from broker.model.entries import Bound
from tests.node.soundness import require_same_copies, require_sound
from tests.support.cluster_rig import BrokerRig, ClusterRig
from tests.support.node_rig import PEER, CrashPoint, NodeRig, Sent

KINDS: dict[str, dict[str, Any]] = {
    "light": {},
    "in memory": {"history_messages": 5},
    "on disk": {"history_messages": 5, "durable": True},
}


def publish(rig: NodeRig, channel: str, body: bytes, **fields: Any) -> Sent:
    return rig.ask(PEER, "publish", msgpack.packb([body]), channel=channel, count=1, **fields)


def drain(rig: NodeRig, queue: str) -> list[bytes]:
    arrived: list[bytes] = []
    while (got := rig.get(queue)).messages():
        arrived += got.bodies()
        rig.settle("ack", got)
    return arrived


# One broker

CHANNEL = "a.b"
#: What happens, in order: a queue is (un)bound, or so many messages are published.
STEPS: list[tuple[str, Any]] = [
    ("publish", 2),
    ("bind", ("all", "a.>")),
    ("publish", 3),
    ("bind", ("some", "a.b")),
    ("publish", 4),
    ("unbind", ("some", "a.b")),
    ("publish", 3),
]


class Steps:
    """Carries the steps out one by one; the one in which the process died is done again."""

    def __init__(self, settings: dict[str, Any], crash_in: int, kept: int) -> None:
        self.rig = NodeRig(slots=4, checkpoint_bytes=300, log_kept_bytes=200)
        self.rig.hello()
        self.kept = kept
        self.settings = settings
        self.published = 0
        self.expected: dict[str, list[bytes]] = {"all": [], "some": []}
        self.bound: set[str] = set()
        self.arrived: dict[str, list[bytes]] = {"all": [], "some": []}
        self.rig.store.crash_in = crash_in

    def run(self) -> None:
        self._do("declare", queue="all", settings={"max_messages": 6})
        self._do("declare", queue="some")
        if self.settings:
            self._do("declare_channel", channel=CHANNEL, settings=self.settings)
        for kind, what in STEPS:
            if kind == "publish":
                for _ in range(what):
                    self._publish()
                continue
            queue, pattern = what
            self._do(kind, queue=queue, pattern=pattern)
            if kind == "bind":
                self.bound.add(queue)
            else:
                self.bound.discard(queue)
        for _ in range(4):
            self._take("all")
            self.rig.pass_time(2 * TRANSFER_RETRY)
        self._take("some")

    def _publish(self) -> None:
        body = b"%d" % self.published
        fields = {"producer": b"p", "seq": self.published, "channel": CHANNEL, "count": 1}
        self._do("publish", msgpack.packb([body]), **fields)
        self.published += 1
        for queue in self.bound:
            self.expected[queue].append(body)

    def _take(self, queue: str) -> None:
        """The crash is over by now."""
        self.rig.store.crash_in = None
        self.arrived[queue] += drain(self.rig, queue)

    def _do(self, cmd: str, *frames: bytes, **fields: Any) -> None:
        while True:
            try:
                answer = self.rig.ask(PEER, cmd, *frames, **fields)
            except CrashPoint:
                self.rig.store.crash_in = None
                self.rig.crash(self.kept)
                self.rig.hello()
                continue
            # What was done and not confirmed is not there any more.
            gone = cmd == "unbind" and answer.header.get("error") == "binding_not_found"
            assert answer.re == "ok" or gone, answer
            return


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("kept", [0, 1, 100])
@pytest.mark.parametrize("write", range(2, 80, 4))
def test_a_process_that_dies_with_any_write_owes_no_queue_anything(
    write: int, kept: int, settings: dict[str, Any]
) -> None:
    steps = Steps(settings, write, kept)
    steps.run()
    assert steps.arrived == steps.expected
    require_all_settled(steps.rig)


def require_all_settled(rig: NodeRig) -> None:
    for replica in rig.node._replicas:
        machine = replica.machine
        assert not machine.outbox.lines
        assert not machine.binding_work
        for queue in machine.queues.values():
            assert not queue.ledger.uncarried
            if not queue.is_transient:
                require_sound(rig, queue)


# Three brokers


class Trio:
    """A channel and a queue of which two brokers reign; the third never dies."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.rig = ClusterRig(slots=8)
        for broker in self.rig.living:
            broker.hello()
        names = [f"n{number}" for number in range(64)]
        self.channel = names[0]
        from_ = self.rig.primary(self.channel)
        self.queue = next(name for name in names if self.rig.primary(name) is not from_)
        self.at, self.to = from_.name, self.rig.primary(self.queue).name
        self.third = next(name for name in "abc" if name not in (self.at, self.to))
        self.seq = 0
        assert self.client.ask(PEER, "declare", queue=self.queue, settings={}).re == "ok"
        if settings:
            fields = {"channel": self.channel, "settings": settings}
            assert self.client.ask(PEER, "declare_channel", **fields).re == "ok"

    @property
    def client(self) -> BrokerRig:
        return self.rig[self.third]

    def bind(self, pattern: str | None = None, cmd: str = "bind") -> Sent:
        return self.client.ask(PEER, cmd, queue=self.queue, pattern=pattern or self.channel)

    def publish(self, count: int) -> list[bytes]:
        bodies = [b"%d" % (self.seq + number) for number in range(count)]
        for body in bodies:
            answer = publish(self.client, self.channel, body, producer=b"p", seq=self.seq)
            assert answer.re == "ok", answer
            self.seq += 1
        return bodies

    def die(self, name: str) -> None:
        self.rig.kill(name)
        self.rig.pass_time(LINK_SILENCE_MAX + 5 * SECOND)

    def require_arrived(self, bodies: list[bytes]) -> None:
        self.rig.pass_time(5 * SECOND)
        assert drain(self.client, self.queue) == bodies
        # The other copies hear that it is committed.
        self.rig.pass_time(2 * SECOND)
        for name in (self.queue, "$outbox", f"$channel/{self.channel}"):
            channel = self.queue if name == self.queue else self.channel
            primary = self.rig.primary(channel)
            machine = primary.machine(channel)
            if name in machine.names and not machine.names[name].is_transient:
                assert not machine.outbox.lines
                if name == self.queue:
                    require_sound(primary, machine.names[name])
                    holders = [rig for rig in self.rig.living if rig.has(name)]
                    require_same_copies(holders, name)


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def trio(request: pytest.FixtureRequest) -> Trio:
    return Trio(request.param)


@pytest.mark.parametrize("pattern", [None, ">", "*"])
def test_a_queue_of_another_broker_gets_what_is_published(trio: Trio, pattern: str | None) -> None:
    assert trio.bind(pattern).re == "ok"
    trio.require_arrived(trio.publish(5))
    assert trio.bind(pattern, "unbind").re == "ok"
    trio.publish(2)
    trio.require_arrived([])


def has_shares(trio: Trio) -> bool:
    return bool(trio.rig[trio.at].machine(trio.channel).outbox.lines)


def has_taken(trio: Trio) -> bool:
    primary = trio.rig[trio.to]
    return primary.is_up and primary.queue(trio.queue).ledger.messages > 3


@pytest.mark.parametrize("which", ["at", "to"])
@pytest.mark.parametrize("moment", [has_shares, has_taken])
def test_a_primary_dies_while_shares_are_on_their_way(
    trio: Trio, which: str, moment: Callable[[Trio], bool]
) -> None:
    trio.bind(">")
    bodies = trio.publish(3)
    fields = {"channel": trio.channel, "count": 1, "producer": b"p", "seq": trio.seq}
    batch = msgpack.packb([b"x"])
    trio.client.command(PEER, "publish", batch, **fields)
    trio.rig.run(lambda: moment(trio))
    assert moment(trio)
    trio.die(getattr(trio, which))
    # It may not have been confirmed: it is sent again, and there once.
    assert trio.client.ask(PEER, "publish", batch, **fields).re == "ok"
    trio.seq += 1
    trio.require_arrived([*bodies, b"x", *trio.publish(2)])


def is_decided(trio: Trio) -> bool:
    ledger = trio.rig[trio.to].queue(trio.queue).ledger
    return bool(ledger.uncarried)


def is_copied(trio: Trio) -> bool:
    return bool(trio.rig[trio.at].machine(trio.channel).bindings.copies)


@pytest.mark.parametrize("which", ["at", "to"])
@pytest.mark.parametrize("moment", [is_decided, is_copied])
def test_a_primary_dies_while_a_binding_is_carried(
    trio: Trio, which: str, moment: Callable[[Trio], bool]
) -> None:
    trio.client.command(PEER, "bind", queue=trio.queue, pattern=">")
    trio.rig.run(lambda: moment(trio))
    assert moment(trio)
    trio.die(getattr(trio, which))
    # Nobody asks again: the new reign goes on with it.
    trio.rig.pass_time(5 * SECOND)
    assert not trio.rig.primary(trio.queue).queue(trio.queue).ledger.uncarried
    for name in [f"n{number}" for number in range(64)]:
        copies = trio.rig.primary(name).machine(name).bindings.copies
        assert [copy.queue for copy in copies.values()] == [trio.queue]
    trio.require_arrived(trio.publish(3))


@pytest.mark.parametrize("which", ["at", "to"])
def test_a_primary_dies_while_a_binding_ends(trio: Trio, which: str) -> None:
    trio.bind(">")
    bodies = trio.publish(1)
    trio.client.command(PEER, "unbind", queue=trio.queue, pattern=">")
    trio.rig.run(lambda: is_decided(trio))
    trio.die(getattr(trio, which))
    trio.rig.pass_time(5 * SECOND)
    answer = trio.bind(">", "unbind")
    assert answer.re == "ok" or answer["error"] == "binding_not_found"
    trio.publish(3)
    trio.require_arrived(bodies)


def test_an_old_word_of_a_binding_does_not_undo_its_end(trio: Trio) -> None:
    """The broker that carried it is cut off; its word comes when another has said that it ended."""
    trio.rig.hold(trio.to, trio.at)
    trio.client.command(PEER, "bind", queue=trio.queue, pattern=trio.channel)
    trio.rig.run()
    held = [frames for way, frames in trio.rig.held_back if way == (trio.to, trio.at)]
    assert held
    trio.die(trio.to)
    assert trio.bind(None, "unbind").re == "ok"
    machine = trio.rig.primary(trio.channel).machine(trio.channel)
    version = max(machine.bindings.version_of(key) for key in machine.bindings._gone)
    lost = next(iter(machine.bindings._gone))
    late = Bound(trio.channel, trio.queue, lost[0], version - 1, None)
    machine.propose(late)
    trio.rig.pass_time(SECOND)
    assert not machine.bindings.copies
    trio.publish(2)
    trio.require_arrived([])


def test_a_slot_copied_whole_has_its_bindings_and_shares(trio: Trio) -> None:
    trio.client.ask(PEER, "update", queue=trio.queue, settings={"max_messages": 1})
    trio.bind(">")
    bodies = trio.publish(5)
    third = next(name for name in "abc" if name not in (trio.at, trio.to))
    trio.rig.kill(third)
    trio.rig.start(third, empty=True)
    trio.rig.pass_time(30 * SECOND)
    trio.client.hello()
    trio.rig.kill(trio.at)
    trio.rig.pass_time(LINK_SILENCE_MAX + 5 * SECOND)
    arrived: list[bytes] = []
    for _ in bodies:
        arrived += drain(trio.client, trio.queue)
        trio.client.pass_time(2 * TRANSFER_RETRY)
    assert arrived == bodies
    trio.client.ask(PEER, "update", queue=trio.queue, settings={"max_messages": None})
    trio.require_arrived(trio.publish(2))
