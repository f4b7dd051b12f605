"""What is published on channels of each kind, and the queues that are bound to get it."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker import limits
from broker.core.applying import apply_committed
from broker.model.entries import Unbound
from broker.model.slots import slot_of
from tests.support.bound import KINDS, bound, drain, heard, publish, require_nothing_left
from tests.support.node_rig import PEER, NodeRig


@pytest.fixture
def rig() -> NodeRig:
    rig = NodeRig(slots=4)
    rig.hello()
    return rig


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest, rig: NodeRig) -> str:
    name: str = request.param
    if KINDS[name]:
        assert rig.ask(PEER, "declare_channel", channel="a.b", settings=KINDS[name]).re == "ok"
    return name


def test_publishes_of_any_channel_are_in_the_queue_in_order(rig: NodeRig, kind: str) -> None:
    bound(rig, "q", "a.*")
    answers = [publish(rig, "a.b", b"%d" % number) for number in range(30)]
    firsts = [answer["first"] for answer in answers]
    assert firsts == list(range(firsts[0], firsts[0] + 30))
    assert drain(rig, "q") == [b"%d" % number for number in range(30)]


def test_publishes_of_one_turn_are_one_entry(rig: NodeRig, kind: str) -> None:
    bound(rig, "q", "a.b")
    machine = rig.machine("a.b")
    before = machine.log.last_lsn
    for number in range(10):
        batch = msgpack.packb([b"%d" % number])
        rig.command(PEER, "publish", batch, channel="a.b", count=1)
    rig.turn()
    assert machine.log.last_lsn - before <= 2
    rig.run()
    assert drain(rig, "q") == [b"%d" % number for number in range(10)]


def test_a_publish_that_is_sent_again_is_there_once(rig: NodeRig, kind: str) -> None:
    bound(rig, "q", "a.b")
    mine = {"producer": b"p", "seq": 7 if kind == "light" else 0}
    first = publish(rig, "a.b", b"1", **mine)
    assert first.re == "ok"
    assert publish(rig, "a.b", b"1", **mine)["duplicate"]
    rig.crash()
    rig.hello()
    again = publish(rig, "a.b", b"1", **mine)
    assert (again.re, again["duplicate"]) == ("ok", True)
    assert drain(rig, "q") == [b"1"]


def test_a_repeat_waits_for_the_commit_of_the_first(rig: NodeRig, kind: str) -> None:
    bound(rig, "q", "a.b")
    batch = msgpack.packb([b"1"])
    fields = {"channel": "a.b", "count": 1, "producer": b"p", "seq": 0}
    reqs = {rig.command(PEER, "publish", batch, **fields) for _ in range(2)}
    assert [sent for sent in rig.turn() if sent.req in reqs] == []
    assert {sent.req for sent in rig.run() if sent.re == "ok"} >= reqs
    assert drain(rig, "q") == [b"1"]


def test_a_channel_that_ends_owes_its_queues_nothing(rig: NodeRig, kind: str) -> None:
    bound(rig, "q", "a.b", max_messages=2)
    for number in range(5):
        publish(rig, "a.b", b"%d" % number)
    assert rig.ask(PEER, "delete_channel", channel="a.b").re == "ok"
    if KINDS[kind]:
        rig.ask(PEER, "declare_channel", channel="a.b", settings=KINDS[kind])
    publish(rig, "a.b", b"5")
    rig.restart()
    rig.hello()
    arrived: list[Any] = []
    for _ in range(4):
        rig.pass_time(2 * limits.TRANSFER_RETRY)
        arrived += drain(rig, "q")
    assert arrived == [b"%d" % number for number in range(6)]
    require_nothing_left(rig, "a.b")


def test_a_history_is_trimmed_and_what_a_queue_waits_for_stays(rig: NodeRig) -> None:
    settings = {"history_messages": 3, "durable": True}
    rig.ask(PEER, "declare_channel", channel="a.b", settings=settings)
    bound(rig, "q", "a.b", max_messages=5)
    for number in range(300):
        publish(rig, "a.b", b"%d" % number, bytes(60))
        # Checkpoints, trims and sweeps come all the time.
        rig.pass_time(1)
    assert rig.ask(PEER, "history", channel="a.b")["oldest"] > 100
    rig.restart()
    rig.hello()
    arrived: list[Any] = []
    for _ in range(310):
        arrived += drain(rig, "q")
        rig.pass_time(2 * limits.TRANSFER_RETRY)
    arrived += drain(rig, "q")
    assert arrived[::2] == [b"%d" % number for number in range(300)]


def test_a_full_queue_holds_its_own_line_alone(rig: NodeRig, kind: str) -> None:
    bound(rig, "full", "a.b", max_messages=1)
    bound(rig, "free", "a.b")
    for number in range(4):
        publish(rig, "a.b", b"%d" % number)
    assert drain(rig, "free") == [b"0", b"1", b"2", b"3"]
    arrived: list[Any] = []
    for _ in range(4):
        arrived += drain(rig, "full")
        rig.pass_time(2 * limits.TRANSFER_RETRY)
    assert arrived == [b"0", b"1", b"2", b"3"]
    require_nothing_left(rig, "a.b")


def test_a_deleted_queue_is_not_made_again_and_its_loss_is_counted(rig: NodeRig, kind: str) -> None:
    bound(rig, "q", "a.b", max_messages=1)
    bound(rig, "other", "a.b")
    publish(rig, "a.b", b"1")
    publish(rig, "a.b", b"2", b"3")
    assert rig.ask(PEER, "delete", queue="q", if_empty=False).re == "ok"
    rig.pass_time(2 * limits.TRANSFER_RETRY)
    assert "q" not in rig.ask(PEER, "queues")["queues"]
    assert rig.ask(PEER, "stats")["stats"]["unroutable"] == 2
    assert [copy.queue for copy in rig.machine("a.b").bindings.copies.values()] == ["other"]
    rig.ask(PEER, "declare", queue="q")
    publish(rig, "a.b", b"4")
    assert drain(rig, "q") == []
    assert drain(rig, "other") == [b"1", b"2", b"3", b"4"]
    require_nothing_left(rig, "a.b")


def test_a_transient_queue_is_bound_like_any(rig: NodeRig, kind: str) -> None:
    bound(rig, "q", "a.b", durable=False)
    publish(rig, "a.b", b"1")
    assert drain(rig, "q") == [b"1"]
    rig.restart()
    rig.hello()
    publish(rig, "a.b", b"2")
    assert drain(rig, "q") == [b"2"]
    assert rig.ask(PEER, "unbind", queue="q", pattern="a.b").re == "ok"


def test_a_partitioned_queue_gets_what_it_spreads(rig: NodeRig, kind: str) -> None:
    bound(rig, "q", "a.b", partitions=3)
    for number in range(9):
        publish(rig, "a.b", b"%d" % number, key=f"k{number}")
    rig.pass_time(limits.TRANSFER_RETRY)
    arrived = [body for index in range(3) for body in drain(rig, f"q#{index}")]
    assert sorted(arrived) == [b"%d" % number for number in range(9)]
    assert rig.stats("q#0")["settings"]["bindings"] == {}


def test_a_transaction_and_a_publish_of_one_turn_share_the_outbox(rig: NodeRig) -> None:
    bound(rig, "q", "a.b")
    slot = slot_of("a.b", rig.settings.slots)
    names = (f"s{number}" for number in range(99))
    source = next(name for name in names if slot_of(name, rig.settings.slots) == slot)
    rig.put(source, b"x")
    got = rig.get(source)
    settle = {"queue": source, "tag": got["tag"], "ranges": got.ranges()}
    batch = msgpack.packb([b"1"])
    rig.command(PEER, "publish", batch, channel="a.b", count=1)
    puts = msgpack.packb([[b"", msgpack.packb([b"t"])]])
    fields = {"settles": [settle], "puts": [{"queue": "q", "count": 1}], "producer": b"p", "seq": 0}
    rig.command(PEER, "transact", puts, **fields)
    rig.command(PEER, "publish", msgpack.packb([b"2"]), channel="a.b", count=1)
    rig.run()
    assert drain(rig, "q") == [b"1", b"t", b"2"]
    require_nothing_left(rig, "a.b")


def test_an_alarm_refuses_what_is_to_be_stored(rig: NodeRig, kind: str) -> None:
    bound(rig, "q", "a.b")
    rig.node.set_alarm("full")
    mine = {"producer": b"p", "seq": 0}
    assert publish(rig, "a.b", b"1", **mine)["error"] == "resource_alarm"
    rig.node.set_alarm(None)
    assert publish(rig, "a.b", b"1", **mine).re == "ok"
    assert drain(rig, "q") == [b"1"]


def test_an_unmatched_publish_writes_nothing(rig: NodeRig) -> None:
    bound(rig, "q", "a.>")
    publish(rig, "b.c", b"1")
    machine = rig.machine("b.c")
    last_lsn = machine.log.last_lsn
    assert publish(rig, "b.c", b"1")["copies"] == 0
    assert machine.log.last_lsn == last_lsn


def test_subscribers_hear_what_is_committed_in_one_order(rig: NodeRig, kind: str) -> None:
    """What waits for a commit is not overtaken, though nobody is bound any more."""
    assert rig.ask(PEER, "subscribe", pattern="a.>", sub=1).re == "ok"
    rig.node.note_subscription(b"a.", True)
    bound(rig, "q", "a.b")
    said = []
    for number in range(4):
        if number == 2:
            rig.command(PEER, "unbind", queue="q", pattern="a.b")
            rig.turn()
        batch = msgpack.packb([b"%d" % number])
        req = rig.command(PEER, "publish", batch, channel="a.b", count=1)
        assert heard(rig) == []
        said.append(req)
        if number % 2:
            rig.turn()
    answers = {sent.req: sent for sent in rig.run()}
    told = heard(rig)
    bodies = [body for _, run in told for body in run]
    assert bodies == [b"0", b"1", b"2", b"3"]
    first = told[0][0]
    assert [answers[req]["first"] for req in said] == [first + number for number in range(4)]


def test_a_light_publish_behind_one_that_waits_for_its_commit_waits_too(rig: NodeRig) -> None:
    rig.ask(PEER, "subscribe", pattern="a.>", sub=1)
    rig.node.note_subscription(b"a.", True)
    bound(rig, "q", "a.b")
    machine = rig.machine("a.b")
    [copy] = machine.bindings.copies.values()
    machine.propose(Unbound(copy.pattern, copy.uuid, copy.version))
    rig.command(PEER, "publish", msgpack.packb([b"0"]), channel="a.b", count=1)
    # The end of the binding is committed, the publish behind it not yet.
    machine.log.become_durable(machine.log.last_lsn)
    machine.log.commit(machine.log.last_lsn - 1)
    apply_committed(machine)
    assert not machine.bindings.copies
    rig.command(PEER, "publish", msgpack.packb([b"1"]), channel="a.b", count=1)
    rig.turn()
    assert heard(rig) == []
    rig.run()
    assert [body for _, bodies in heard(rig) for body in bodies] == [b"0", b"1"]
    assert drain(rig, "q") == [b"0"]
    assert not machine.publishes.held
    assert not machine.publishes.pending


def test_a_publish_is_known_when_nobody_is_bound_any_more(rig: NodeRig, kind: str) -> None:
    bound(rig, "q", "a.b")
    assert publish(rig, "a.b", b"1", producer=b"p", seq=0).re == "ok"
    rig.ask(PEER, "unbind", queue="q", pattern="a.b")
    assert publish(rig, "a.b", b"1", producer=b"p", seq=0)["duplicate"]
    assert "duplicate" not in publish(rig, "a.b", b"2", producer=b"p", seq=1).header
