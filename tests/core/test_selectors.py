"""Takers with selectors: each gets what matches, in order, and the rest waits for others."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker import limits
from broker.errors import BadField
from tests.support.node_rig import PEER, NodeRig

OTHER = b"\0othr"
DE = [["country", "=", "de"]]
FR = [["country", "=", "fr"]]


def put(rig: NodeRig, *countries: str, **fields: Any) -> None:
    """A message for each country, whose body is its number in this put."""
    elements = [[b"%d" % n, {"country": c}] for n, c in enumerate(countries)]
    batch = msgpack.packb(elements)
    assert rig.ask(PEER, "put", batch, queue="q", count=len(elements), **fields).re == "ok"


def numbers(messages: list[Any]) -> list[int]:
    return [int(body[0]) for body in messages]


def test_a_get_takes_what_matches_in_order_and_leaves_the_rest(rig: NodeRig) -> None:
    put(rig, "de", "fr", "de", "de")
    assert numbers(rig.get("q", selector=DE).bodies()) == [0, 2, 3]
    assert rig.get("q", selector=DE).bodies() == []
    assert rig.stats("q")["ready"] == 1
    assert numbers(rig.get("q").bodies()) == [1]


def test_a_lower_bound_takes_the_first_that_match(rig: NodeRig) -> None:
    put(rig, "fr", "de", "fr", "de", "de")
    assert numbers(rig.get("q", 2, selector=DE).bodies()) == [1, 3]
    assert numbers(rig.get("q", 2, selector=DE).bodies()) == [4]


def test_what_comes_back_goes_to_who_wants_it(rig: NodeRig) -> None:
    put(rig, "de", "fr", "de")
    got = rig.get("q", selector=DE)
    rig.settle("nack", got, charge=False)
    assert rig.get("q", selector=FR).positions() == [1]
    assert rig.get("q", selector=DE).positions() == [0, 2]


def test_what_was_passed_over_outlives_a_restart(rig: NodeRig) -> None:
    put(rig, "de", "fr", "de")
    rig.settle("ack", rig.get("q", selector=DE))
    rig.restart()
    rig.hello()
    assert rig.get("q", selector=FR).positions() == [1]


def test_what_was_passed_over_is_purged_and_expires(rig: NodeRig) -> None:
    put(rig, "fr", ttl_ms=3_000)
    put(rig, "fr")
    assert rig.get("q", selector=DE).bodies() == []
    rig.pass_time(3_000)
    assert rig.stats("q")["messages"] == 1
    assert rig.ask(PEER, "purge", queue="q")["count"] == 1
    assert rig.get("q").bodies() == []


def test_consumers_get_each_what_it_wants_and_one_without_a_selector_the_next(
    rig: NodeRig,
) -> None:
    rig.hello(OTHER)
    rig.ask(PEER, "consume", queue="q", consumer=1, credit=100, selector=DE)
    rig.ask(OTHER, "consume", queue="q", consumer=1, credit=100, selector=FR)
    put(rig, *["de", "fr", "it"] * 4)
    found = {s.peer: s.positions() for s in rig.sent if s.re == "messages"}
    assert found == {PEER: [0, 3, 6, 9], OTHER: [1, 4, 7, 10]}
    # As many as if the others could take of them, too.
    assert rig.get("q").positions() == [2, 5]
    assert rig.get("q").positions() == [8]


def test_a_taker_of_nothing_keeps_no_other_from_its_messages(rig: NodeRig) -> None:
    rig.ask(PEER, "consume", queue="q", consumer=1, credit=100, selector=FR)
    rig.ask(PEER, "consume", queue="q", consumer=2, credit=100)
    put(rig, "de")
    assert [s["consumer"] for s in rig.sent if s.re == "messages"] == [2]


def test_properties_are_asked_for_by_their_signs(rig: NodeRig) -> None:
    rig.put("q", b"a", type="order.new", priority=7)
    rig.put("q", b"b", type="bill.new", content_type="json")
    wanted = [["$type", "prefix", "order."], ["$priority", ">", 6]]
    assert rig.get("q", selector=wanted).bodies() == [b"a"]
    assert rig.get("q", selector=[["$content_type", "=", "json"]]).bodies() == [b"b"]


def test_elements_that_nobody_can_read_have_no_headers(rig: NodeRig) -> None:
    broken = b"\x92\xc4\x01x\x81\xa7country\xa1\xff"
    batch = b"\x92" + broken + msgpack.packb([b"y", {"country": "de"}])
    assert rig.ask(PEER, "put", batch, queue="q", count=2).re == "ok"
    assert rig.get("q", selector=DE).positions() == [1]
    assert rig.get("q", selector=[["country", "exists", False]])["runs"][0]["first"] == 0


def test_the_work_of_a_turn_is_bounded_and_the_answer_waits_for_all_of_it(
    rig: NodeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CHOICE_LOOKS_PER_TURN", 10)
    for _ in range(20):
        put(rig, *["fr"] * 5)
    put(rig, "de")
    req = rig.command(PEER, "get", queue="q", max=1, selector=DE)
    turns = 0
    while not [sent for sent in rig.turn() if sent.req == req]:
        turns += 1
    assert turns >= 10
    assert [sent.positions() for sent in rig.sent if sent.req == req] == [[100]]


def test_a_full_window_waits_for_somebody_to_take_of_it(
    rig: NodeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CHOICE_WINDOW_MAX", 4)
    put(rig, *["fr"] * 4)
    put(rig, "de")
    rig.ask(PEER, "consume", queue="q", consumer=1, credit=10, selector=DE)
    assert not [s for s in rig.sent if s.re == "messages"]
    assert rig.get("q", 1, selector=FR).positions() == [0]
    rig.run()
    assert [s.positions() for s in rig.sent if s.re == "messages" and "consumer" in s.header] == [
        [4]
    ]


def test_batches_of_the_window_leave_memory_and_are_read_again(
    rig: NodeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CHOICE_WINDOW_BYTES", 1)
    for _ in range(5):
        put(rig, "fr", "de")
    assert rig.get("q", selector=FR).positions() == [0, 2, 4, 6, 8]
    assert rig.get("q", selector=DE).positions() == [1, 3, 5, 7, 9]


def test_columns_are_cut_like_their_messages(rig: NodeRig) -> None:
    for ids in (["a", "b", "c"], ["d", "e", "f"]):
        elements = [[b"", {"country": c}] for c in ("de", "fr", "de")]
        frames = msgpack.packb({"ids": ids}), msgpack.packb(elements)
        rig.ask(PEER, "put", *frames, queue="q", count=3)
    got = rig.get("q", selector=DE)
    assert (got.positions(), msgpack.unpackb(got.frames[0])) == (
        [0, 2, 3, 5],
        {"ids": ["a", "c", "d", "f"]},
    )


@pytest.mark.parametrize("selector", [[], [["a", "~", 1]], "x", [["$size", "=", 1]]])
def test_what_is_no_selector_is_refused_by_name(rig: NodeRig, selector: Any) -> None:
    assert rig.get("q", selector=selector).code == BadField.code
    answer = rig.ask(PEER, "consume", queue="q", consumer=1, selector=selector)
    assert answer.code == BadField.code
