"""Browse: what a queue holds, in order, in which state, page by page; and nothing changes."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker import limits
from tests.support.node_rig import PEER, NodeRig, Sent

SECOND = 1_000
HOUR = 3_600 * SECOND


def browse(rig: NodeRig, **fields: Any) -> Sent:
    page = rig.ask(PEER, "browse", queue="q", **fields)
    assert page.re == "browsed", page
    return page


def states(page: Sent) -> list[tuple[int, str]]:
    return [(message.position, message.run["state"]) for message in page.messages()]


def pages(rig: NodeRig, **fields: Any) -> list[Sent]:
    found = [browse(rig, **fields)]
    while (after := found[-1]["next"]) is not None:
        found.append(browse(rig, **{**fields, "after": after}))
    return found


def positions(found: list[Sent]) -> list[int]:
    return [position for page in found for position in page.positions()]


def test_messages_come_in_the_order_of_positions_over_all_priorities(rig: NodeRig) -> None:
    rig.put("q", b"0", b"1", priority=2)
    rig.put("q", b"2", priority=9)
    rig.put("q", b"3", b"4")
    rig.put("q", b"5", priority=2, delay_ms=HOUR)
    page = browse(rig)
    assert page.bodies() == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert [message.priority for message in page.messages()] == [2, 2, 9, 4, 4, 2]
    assert page["next"] is None


def test_every_state_is_told_and_stays_as_it_was(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="q", settings={"dead_letter": "dead"})
    rig.ask(PEER, "declare", queue="dead", settings={"max_messages": 1})
    rig.put("dead", b"full")
    rig.put("q", *[b"%d" % n for n in range(5)])
    rig.put("q", b"5", delay_ms=HOUR)
    held = rig.get("q", 1)
    rig.settle("nack", rig.get("q", 1), delay_ms=2 * HOUR)
    rig.settle("reject", rig.get("q", 1))
    rig.settle("nack", rig.get("q", 1), delay_ms=0)
    before = rig.stats("q")
    page = browse(rig)
    assert states(page) == [
        (0, "in_flight"),
        (1, "resting"),
        (2, "departing"),
        (3, "ready"),
        (4, "ready"),
        (5, "delayed"),
    ]
    assert [m.attempts for m in page.messages()] == [0, 1, 0, 1, 0, 0]
    due = [message.run.get("due_at") for message in page.messages()]
    assert due == [None, rig.now + 2 * HOUR, None, None, None, rig.now + HOUR]
    assert rig.stats("q") == before
    assert rig.settle("ack", held)["count"] == 1


def test_what_is_settled_is_not_shown(rig: NodeRig) -> None:
    rig.put("q", *[b"%d" % n for n in range(6)])
    first = rig.get("q", 2)
    rig.get("q", 2)
    rig.settle("ack", first)
    assert states(browse(rig)) == [(2, "in_flight"), (3, "in_flight"), (4, "ready"), (5, "ready")]


def test_what_is_on_its_way_out_is_not_shown(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b")
    held = rig.get("q", 1)
    fields = {"queue": "q", "tag": held["tag"], "ranges": held.ranges()}
    rig.command(PEER, "ack", **fields)
    req = rig.command(PEER, "browse", queue="q")
    page = next(sent for sent in rig.turn() if sent.req == req)
    assert states(page) == [(1, "ready")]


def test_a_put_that_is_not_committed_is_not_shown(rig: NodeRig) -> None:
    rig.put("q", b"a")
    rig.command(PEER, "put", msgpack.packb([b"b"]), queue="q", count=1)
    rig.turn()
    req = rig.command(PEER, "browse", queue="q")
    page = next(sent for sent in rig.turn() if sent.req == req)
    assert page.bodies() == [b"a"]


def test_pages_go_on_where_the_last_one_ended(rig: NodeRig) -> None:
    for number in range(10):
        rig.put("q", *[b"%d" % number] * 7, priority=number)
    for most in (1, 3, 7, 69, 70, 71):
        found = pages(rig, max=most)
        assert positions(found) == list(range(70))
        assert all(len(page.positions()) <= most for page in found)


def test_a_page_holds_no_more_bytes_than_asked_for_but_one_message(rig: NodeRig) -> None:
    rig.put("q", *[b"x" * 1_000] * 20)
    rig.put("q", b"y" * 50_000)
    found = pages(rig, bytes_max=3_500)
    assert positions(found) == list(range(21))
    assert all(len(page.frames[-1]) < 3_600 or len(page.positions()) == 1 for page in found)


def test_one_call_looks_at_a_bounded_part_of_the_disk(
    rig: NodeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BROWSE_READS", 2)
    monkeypatch.setattr(limits, "BROWSE_RECORDS", 3)
    for number in range(20):
        headers = {"n": number}
        rig.ask(
            PEER,
            "put",
            msgpack.packb([[b"x", headers]]),
            queue="q",
            count=1,
            priority=number % 3,
        )
    found = pages(rig, selector=[["n", ">=", 18]])
    assert positions(found) == [18, 19]
    assert len(found) > 3
    assert positions(pages(rig)) == list(range(20))


def test_a_selector_looks_at_headers_and_properties(rig: NodeRig) -> None:
    batch = msgpack.packb([[b"a", {"n": 1}], b"b", [b"c", {"n": 3}], [b"d", {"n": 4}]])
    rig.ask(PEER, "put", batch, queue="q", count=4, type="order")
    rig.put("q", b"e", type="note", priority=9)
    page = browse(rig, selector=[["n", ">", 2]])
    assert page.positions() == [2, 3]
    assert msgpack.unpackb(page.frames[-1]) == [[b"c", {"n": 3}], [b"d", {"n": 4}]]
    assert browse(rig, selector=[["$type", "=", "note"]]).positions() == [4]
    assert browse(rig, selector=[["$priority", "<", 9], ["n", "exists", False]]).positions() == [1]
    assert browse(rig, selector=[["$type", "=", "none"]]).positions() == []


def test_a_dead_letter_is_found_by_its_reason(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="source", settings={"dead_letter": "q"})
    rig.put("source", b"a")
    rig.put("q", b"b")
    rig.settle("reject", rig.get("source"))
    rig.run()
    page = browse(rig, selector=[["$reason", "=", "rejected"]])
    assert page.bodies() == [b"a"]
    assert page["runs"][0]["death"]["queue"] == "source"


def test_positions_may_be_named(rig: NodeRig) -> None:
    rig.put("q", *[b"%d" % n for n in range(10)])
    page = browse(rig, ranges=[[8, 5], [1, 2], [2, 2]])
    assert page.positions() == [1, 2, 3, 8, 9]
    assert browse(rig, ranges=[[1, 2], [5, 1]], after=1).positions() == [2, 5]
    assert browse(rig, ranges=[[50, 1]]).positions() == []
    refused = rig.ask(PEER, "browse", queue="q", ranges=[[0, limits.BATCH_COUNT_MAX + 1]])
    assert refused["error"] == "too_large"


def test_ids_may_be_named_and_columns_come_along(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="q", settings={"index_ids": True})
    for number in range(3):
        columns = msgpack.packb({"ids": [f"{number}", "same"]})
        rig.ask(PEER, "put", columns, msgpack.packb([b"x", b"y"]), queue="q", count=2)
    rig.put("q", b"z")
    page = browse(rig, ids=["same", b"1", "nobody"])
    assert page.positions() == [1, 2, 3, 5]
    assert msgpack.unpackb(page.frames[0]) == {"ids": ["same", "1", "same", "same"]}
    assert browse(rig, ids=["same"], after=1, max=1).positions() == [3]
    everything = browse(rig)
    assert msgpack.unpackb(everything.frames[0])["ids"][-2:] == ["same", None]
    rig.settle("ack", rig.get("q", 2))
    assert browse(rig, ids=["same"]).positions() == [3, 5]


def test_a_queue_with_nothing_in_memory_is_browsed_too(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="q", settings={"index_ids": True})
    rig.put("q", *[b"%d" % n for n in range(5)])
    rig.put("q", b"5", delay_ms=HOUR)
    rig.settle("nack", rig.get("q", 1), delay_ms=HOUR)
    rig.crash()
    rig.hello()
    page = browse(rig)
    assert [state for _, state in states(page)] == ["resting", *["ready"] * 4, "delayed"]
    assert rig.get("q").bodies() == [b"1", b"2", b"3", b"4"]


def test_messages_with_instants_of_their_own_tell_each_its_own(rig: NodeRig) -> None:
    instants = [rig.now + SECOND, None, rig.now + 2 * SECOND]
    columns = msgpack.packb({"at_ms": instants})
    rig.ask(PEER, "put", columns, msgpack.packb([b"a", b"b", b"c"]), queue="q", count=3)
    assert states(browse(rig)) == [(0, "delayed"), (1, "ready"), (2, "delayed")]
    rig.pass_time(SECOND)
    assert states(browse(rig)) == [(0, "ready"), (1, "ready"), (2, "delayed")]


def test_a_queue_that_is_not_there_is_not_made(rig: NodeRig) -> None:
    assert rig.ask(PEER, "browse", queue="none")["error"] == "queue_not_found"
    assert rig.ask(PEER, "remove", queue="none", ranges=[[0, 1]])["error"] == "queue_not_found"


def test_an_empty_queue_has_an_empty_page(rig: NodeRig) -> None:
    rig.ask(PEER, "declare", queue="q")
    page = browse(rig)
    assert (page["runs"], page["next"], page.frames) == ([], None, [b"\x90"])
