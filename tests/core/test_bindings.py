"""A queue bound to channels: what is published is in it once, as its binding asks."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker import limits
from tests.support.bound import bind, bound, drain, publish
from tests.support.node_rig import PEER, NodeRig


@pytest.fixture
def rig() -> NodeRig:
    rig = NodeRig(slots=4)
    rig.hello()
    return rig


def test_what_is_published_is_in_each_bound_queue_once(rig: NodeRig) -> None:
    bound(rig, "a", "orders.new")
    bound(rig, "b", "orders.*", "orders.>")
    bound(rig, "c", "users.>")
    answer = publish(rig, "orders.new", b"1", b"2")
    assert (answer.re, answer["first"] >= 0, answer["copies"]) == ("ok", True, 1)
    assert [drain(rig, name) for name in "abc"] == [[b"1", b"2"], [b"1", b"2"], []]
    assert [drain(rig, name) for name in "abc"] == [[], [], []]


def test_a_binding_needs_a_queue_and_a_pattern(rig: NodeRig) -> None:
    assert bind(rig, "nobody", "a.>")["error"] == "queue_not_found"
    bound(rig, "q", "a.>")
    assert bind(rig, "q", "a.>.b")["error"] == "bad_pattern"
    assert rig.ask(PEER, "unbind", queue="q", pattern="b.>")["error"] == "binding_not_found"
    assert rig.ask(PEER, "unbind", queue="nobody", pattern="a.>")["error"] == "queue_not_found"


def test_an_unbound_queue_gets_no_more(rig: NodeRig) -> None:
    bound(rig, "q", "a.>", "a.b")
    publish(rig, "a.b", b"1")
    assert rig.ask(PEER, "unbind", queue="q", pattern="a.>").re == "ok"
    publish(rig, "a.b", b"2")
    publish(rig, "a.c", b"-")
    assert rig.ask(PEER, "unbind", queue="q", pattern="a.b").re == "ok"
    publish(rig, "a.b", b"-")
    assert drain(rig, "q") == [b"1", b"2"]
    assert rig.stats("q")["settings"]["bindings"] == {}


def test_a_binding_that_is_there_is_no_news(rig: NodeRig) -> None:
    bound(rig, "q", "a.>")
    last_lsn = rig.machine("q").log.last_lsn
    assert bind(rig, "q", "a.>").re == "ok"
    assert rig.machine("q").log.last_lsn == last_lsn


def test_bindings_are_a_setting_that_declares_and_updates(rig: NodeRig) -> None:
    bindings = {"a.b": {}, "c.>": {"selector": [["size", ">", 3]]}}
    rig.ask(PEER, "declare", queue="q", settings={"bindings": bindings})
    assert rig.stats("q")["settings"]["bindings"] == bindings
    publish(rig, "a.b", b"1")
    publish(rig, "c.d", [b"-", {"size": 3}], [b"2", {"size": 4}])
    rig.ask(PEER, "update", queue="q", settings={"bindings": {"c.>": {}}})
    publish(rig, "a.b", b"-")
    publish(rig, "c.d", b"3")
    got = rig.get("q")
    assert got.bodies() == [b"1", [b"2", {"size": 4}], b"3"]
    assert rig.ask(PEER, "declare", queue="q", settings={"lease_ms": 30_000}).re == "ok"


@pytest.mark.parametrize(
    "bindings",
    [[], {"a..b": {}}, {"a": 1}, {"a": {"more": 1}}, {"a": {"selector": []}}],
)
def test_a_setting_that_is_no_bindings_is_refused(rig: NodeRig, bindings: Any) -> None:
    answer = rig.ask(PEER, "declare", queue="q", settings={"bindings": bindings})
    assert answer["error"] == "bad_field"


def test_a_selector_chooses_among_the_messages(rig: NodeRig) -> None:
    bound(rig, "all", "a.>")
    for name, size in (("small", ["size", "<", 10]), ("typed", ["$type", "=", "t"])):
        rig.ask(PEER, "declare", queue=name)
        assert bind(rig, name, "a.>", selector=[size]).re == "ok"
    # A queue with two bindings gets what meets one of them.
    assert bind(rig, "small", "a.b", selector=[["size", "=", 30]]).re == "ok"
    sizes = [5, 20, 7, 30, 40]
    elements = [[b"%d" % size, {"size": size}] for size in sizes]
    publish(rig, "a.b", *elements)
    publish(rig, "a.b", b"x", type="t")
    assert [element[0] for element in drain(rig, "small")] == [b"5", b"7", b"30"]
    assert drain(rig, "typed") == [b"x"]
    assert len(drain(rig, "all")) == 6


def test_all_that_a_message_has_goes_with_it(rig: NodeRig) -> None:
    bound(rig, "q", "a.b", index_ids=True)
    columns = msgpack.packb({"ids": ["i", "j"], "keys": ["k", "l"]})
    batch = msgpack.packb([[b"1", {"h": 1}], b"2"])
    fields = {"content_type": "text", "type": "t"}
    rig.ask(PEER, "publish", columns, batch, channel="a.b", count=2, **fields)
    [message, other] = rig.get("q").messages()
    assert (message.body, other.body) == ([b"1", {"h": 1}], b"2")
    assert (message.run["content_type"], message.run["type"]) == ("text", "t")
    assert message.run["channel"] == "a.b"
    rig.settle("nack", rig.sent[-1], delay_ms=0)
    browsed = rig.ask(PEER, "browse", queue="q", ids=["j"])
    assert browsed.bodies() == [b"2"]
    assert msgpack.unpackb(browsed.frames[0]) == {"ids": ["j"], "keys": ["l"]}


def test_a_chosen_message_has_its_own_columns(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="q")
    bind(rig, "q", "a.b", selector=[["n", ">", 0]])
    columns = msgpack.packb({"ids": ["i", "j", "k"]})
    batch = msgpack.packb([[b"0", {"n": 0}], [b"1", {"n": 1}], [b"2", {"n": 2}]])
    rig.ask(PEER, "publish", columns, batch, channel="a.b", count=3)
    got = rig.get("q")
    assert [element[0] for element in got.bodies()] == [b"1", b"2"]
    assert msgpack.unpackb(got.frames[0]) == {"ids": ["j", "k"]}


def test_a_copy_that_outlived_its_queue_goes_with_the_next_publish(rig: NodeRig) -> None:
    bound(rig, "q", "a.b")
    rig.command(PEER, "delete", queue="q")
    rig.turn()
    rig.sync()
    # It dies before it tells the slot of the channel.
    rig.crash()
    rig.hello()
    assert "q" not in rig.ask(PEER, "queues")["queues"]
    assert rig.machine("a.b").bindings.copies
    publish(rig, "a.b", b"1")
    assert rig.ask(PEER, "stats")["stats"]["unroutable"] == 1
    assert not rig.machine("a.b").bindings.copies


def test_a_queue_has_only_so_many_bindings(rig: NodeRig) -> None:
    bound(rig, "q", *[f"a.{n}" for n in range(limits.BINDINGS_PER_QUEUE_MAX)])
    assert bind(rig, "q", "a.b")["error"] == "limit_reached"
    assert bind(rig, "q", "a.0").re == "ok"


def test_a_slot_keeps_only_so_many_bindings(rig: NodeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BINDINGS_PER_SLOT_MAX", 2)
    bound(rig, "q", "a.b", "a.*")
    rig.ask(PEER, "declare", queue="r")
    answer = bind(rig, "r", "*.b")
    assert answer["error"] == "limit_reached"
    rig.pass_time(limits.TRANSFER_RETRY)
    stats = rig.stats("r")
    assert stats["settings"]["bindings"] == {}
    assert "limit_reached" in stats["last_binding_error"]
    publish(rig, "a.b", b"1")
    assert (drain(rig, "q"), drain(rig, "r")) == ([b"1"], [])
