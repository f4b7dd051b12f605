"""A message's own id keeps a second one out, for a time or until it is settled; and the rows that
remember ids go when nobody may ask for them any more."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker import limits
from broker.storage import keys
from broker.storage.store import Family
from tests.support.node_rig import PEER, CrashPoint, NodeRig, Sent

SECOND = 1_000
WINDOW_MS = 60 * SECOND


def declare(rig: NodeRig, queue: str = "q", **settings: Any) -> None:
    rig.ask(PEER, "declare", queue=queue, settings=settings)


def put(rig: NodeRig, *ids: str | bytes | None, queue: str = "q", **fields: Any) -> Sent:
    """One message for each id, whose body is the id, or "-"."""
    columns = msgpack.packb({"ids": list(ids), "n": list(range(len(ids)))})
    bodies = [each.encode() if isinstance(each, str) else each or b"-" for each in ids]
    batch = msgpack.packb(bodies)
    return rig.ask(PEER, "put", columns, batch, queue=queue, count=len(ids), **fields)


def id_rows(rig: NodeRig) -> list[bytes]:
    return [key for key, _ in rig.rows(Family.IDS)]


@pytest.fixture(params=["window", "unsettled"])
def dedup(request: pytest.FixtureRequest, rig: NodeRig) -> str:
    declare(rig, dedup=request.param, dedup_window_ms=WINDOW_MS)
    return str(request.param)


def test_a_second_message_with_an_id_is_not_taken(rig: NodeRig, dedup: str) -> None:
    assert "duplicates" not in put(rig, "a", "b").header
    again = put(rig, "a", "c")
    assert (again["first"], again["count"], again["duplicates"]) == (2, 1, [0])
    assert rig.get("q", 2).bodies() == [b"a", b"b"]
    got = rig.get("q")
    assert got.bodies() == [b"c"]
    assert msgpack.unpackb(got.frames[0]) == {"ids": ["c"], "n": [1]}
    assert rig.stats("q")["counters"]["duplicates"] == 1


def test_an_id_counts_once_within_a_batch(rig: NodeRig, dedup: str) -> None:
    sent = put(rig, "a", None, "a", "b", None, "a")
    assert (sent["count"], sent["duplicates"]) == (4, [2, 5])
    assert rig.get("q").bodies() == [b"a", b"-", b"b", b"-"]


def test_text_and_its_bytes_are_one_id(rig: NodeRig, dedup: str) -> None:
    put(rig, "ü")
    assert put(rig, "ü".encode())["duplicates"] == [0]


def test_a_put_of_duplicates_alone_is_taken_and_adds_nothing(rig: NodeRig, dedup: str) -> None:
    put(rig, "a", "b")
    again = put(rig, "b", "a")
    assert (again.re, again["count"], again["duplicates"]) == ("ok", 0, [0, 1])
    assert "first" not in again.header
    assert rig.stats("q")["messages"] == 2


def test_messages_without_ids_are_all_taken(rig: NodeRig, dedup: str) -> None:
    put(rig, None, None)
    rig.put("q", b"x")
    rig.put("q", b"x")
    assert rig.stats("q")["messages"] == 4
    assert id_rows(rig) == []


def test_two_puts_of_one_turn_are_judged_in_their_order(rig: NodeRig, dedup: str) -> None:
    columns = msgpack.packb({"ids": ["a"]})
    one = rig.command(PEER, "put", columns, msgpack.packb([b"1"]), queue="q", count=1)
    two = rig.command(PEER, "put", columns, msgpack.packb([b"2"]), queue="q", count=1)
    assert [sent.req for sent in rig.turn()] == []
    answers = {sent.req: sent for sent in rig.run()}
    assert answers[one]["count"] == 1
    assert answers[two]["duplicates"] == [0]
    assert rig.get("q").bodies() == [b"1"]


def test_a_duplicate_is_answered_only_when_the_first_one_is_durable(
    rig: NodeRig, dedup: str
) -> None:
    columns, batch = msgpack.packb({"ids": ["a"]}), msgpack.packb([b"1"])
    rig.command(PEER, "put", columns, batch, queue="q", count=1)
    rig.turn()
    again = rig.command(PEER, "put", columns, batch, queue="q", count=1)
    assert again not in [sent.req for sent in rig.turn()]
    rig.crash()
    rig.hello()
    assert "duplicates" not in put(rig, "a").header


def test_sequences_go_on_over_puts_of_duplicates_alone(rig: NodeRig, dedup: str) -> None:
    put(rig, "a")
    assert put(rig, "a", producer=b"p", seq=0)["duplicates"] == [0]
    assert put(rig, "a", producer=b"p", seq=0)["duplicate"] is True
    rig.restart()
    rig.hello()
    assert put(rig, "a", producer=b"p", seq=0)["duplicate"] is True
    assert put(rig, "b", producer=b"p", seq=1)["count"] == 1


def test_a_duplicate_finds_room_in_a_full_queue(rig: NodeRig) -> None:
    declare(rig, dedup="window", max_messages=1)
    put(rig, "a")
    assert put(rig, "b")["error"] == "queue_full"
    assert put(rig, "a")["duplicates"] == [0]


def test_a_window_counts_from_the_put_whatever_became_of_the_message(rig: NodeRig) -> None:
    declare(rig, dedup="window", dedup_window_ms=WINDOW_MS)
    put(rig, "a")
    rig.settle("ack", rig.get("q"))
    put(rig, "b")
    rig.ask(PEER, "purge", queue="q")
    rig.pass_time(WINDOW_MS - 1)
    rig.restart()
    rig.hello()
    assert put(rig, "a", "b")["duplicates"] == [0, 1]
    rig.pass_time(1)
    assert put(rig, "a", "b")["count"] == 2


def test_a_window_that_is_over_lets_an_id_in_though_its_message_waits(rig: NodeRig) -> None:
    declare(rig, dedup="window", dedup_window_ms=WINDOW_MS)
    put(rig, "a")
    rig.pass_time(WINDOW_MS)
    assert put(rig, "a")["count"] == 1
    assert put(rig, "a")["duplicates"] == [0]
    found = rig.ask(PEER, "browse", queue="q", ids=["a"])
    assert found.positions() == [0, 1]


def test_an_unsettled_message_keeps_its_id_until_it_is_settled(rig: NodeRig) -> None:
    declare(rig, dedup="unsettled")
    put(rig, "a")
    held = rig.get("q")
    rig.pass_time(WINDOW_MS // 4)
    assert put(rig, "a")["duplicates"] == [0]
    rig.settle("ack", held)
    assert put(rig, "a")["count"] == 1
    rig.crash()
    rig.hello()
    assert put(rig, "a")["duplicates"] == [0]
    rig.ask(PEER, "purge", queue="q")
    assert put(rig, "a")["count"] == 1


def test_a_dead_letter_keeps_its_id_until_its_target_has_it(rig: NodeRig) -> None:
    declare(rig, dedup="unsettled", dead_letter="dead")
    declare(rig, "dead", max_messages=1)
    rig.put("dead", b"full")
    put(rig, "a")
    rig.settle("reject", rig.get("q"))
    assert rig.stats("q")["departing"] == 1
    assert put(rig, "a")["duplicates"] == [0]
    rig.settle("ack", rig.get("dead"))
    rig.pass_time(limits.TRANSFER_RETRY)
    assert rig.get("dead").bodies() == [b"a"]
    assert put(rig, "a")["count"] == 1


def test_what_is_moved_into_a_queue_is_never_a_duplicate(rig: NodeRig) -> None:
    declare(rig, dedup="unsettled", dead_letter="dead")
    declare(rig, "dead", dedup="window")
    for _ in range(2):
        put(rig, "a")
        rig.settle("reject", rig.get("q"))
        rig.pass_time(SECOND)
    assert rig.stats("dead")["messages"] == 2


def test_a_full_memory_of_ids_refuses_by_name(
    rig: NodeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "IDS_MAX", 3)
    declare(rig, dedup="window", dedup_window_ms=WINDOW_MS)
    put(rig, "a", "b")
    assert put(rig, "c", "d", producer=b"p", seq=0)["error"] == "dedup_full"
    assert put(rig, "a", "c", producer=b"p", seq=0)["count"] == 1
    rig.crash()
    rig.hello()
    assert put(rig, "d")["error"] == "dedup_full"
    assert put(rig, "a", "b")["duplicates"] == [0, 1]
    rig.settle("ack", rig.get("q", 2))
    rig.pass_time(2 * WINDOW_MS)
    assert put(rig, "d")["count"] == 1


@pytest.mark.parametrize("bad", [[7], [""], ["x" * 256], [b"x" * 256], [[]]])
def test_an_id_is_text_or_bin_of_bounded_length(rig: NodeRig, dedup: str, bad: Any) -> None:
    columns, batch = msgpack.packb({"ids": bad}), msgpack.packb([b"x"])
    refused = rig.ask(PEER, "put", columns, batch, queue="q", count=1)
    assert refused["error"] in ("bad_field", "too_large")


def test_a_queue_that_asks_for_no_ids_keeps_none(rig: NodeRig) -> None:
    put(rig, "a", "a")
    assert rig.stats("q")["messages"] == 2
    assert id_rows(rig) == []
    assert rig.ask(PEER, "browse", queue="q", ids=["a"])["error"] == "ids_not_indexed"


def test_rows_go_when_their_batch_is_settled_and_its_time_is_over(rig: NodeRig, dedup: str) -> None:
    put(rig, "a", "b", None)
    put(rig, "c")
    rig.settle("ack", rig.get("q", 2))
    rig.pass_time(2 * WINDOW_MS)
    assert len(id_rows(rig)) == 5, "one of the first batch still waits"
    rig.settle("ack", rig.get("q", 1))
    rig.pass_time(2 * limits.ID_SWEEP_EVERY)
    assert [keys.place_of_id(key)[1] for key in id_rows(rig)] == [3, 3]
    rig.settle("ack", rig.get("q", 1))
    rig.pass_time(2 * limits.ID_SWEEP_EVERY)
    assert id_rows(rig) == []
    assert rig.queue("q").ledger.ids == 0
    rig.pass_time(2 * limits.ID_SWEEP_EVERY)
    assert rig.machine("q").id_sweep.at is None, "a queue without ids costs no look"


def test_a_window_keeps_the_rows_of_what_is_settled(rig: NodeRig) -> None:
    declare(rig, dedup="window", dedup_window_ms=WINDOW_MS)
    put(rig, "a")
    rig.settle("ack", rig.get("q"))
    rig.pass_time(WINDOW_MS - 1)
    assert len(id_rows(rig)) == 2
    rig.pass_time(2 * limits.ID_SWEEP_EVERY)
    assert id_rows(rig) == []


def test_a_sweep_goes_on_in_bounded_steps_over_many_queues(
    rig: NodeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ID_SWEEP_ROWS", 2)
    monkeypatch.setattr(limits, "ID_SWEEP_QUEUES", 2)
    names = [f"q{number}" for number in range(7)]
    for name in names:
        declare(rig, name, dedup="unsettled")
        for number in range(5):
            put(rig, f"{number}", queue=name)
        rig.settle("ack", rig.get(name, 1))
        for _ in range(3):
            rig.settle("ack", rig.get(name, 1))
    for _ in range(100):
        rig.pass_time(limits.ID_SWEEP_STEP)
    rig.pass_time(2 * limits.ID_SWEEP_EVERY)
    for _ in range(100):
        rig.pass_time(limits.ID_SWEEP_STEP)
    assert len(id_rows(rig)) == 2 * len(names)
    for name in names:
        assert rig.queue(name).ledger.ids == 1
        assert put(rig, "4", queue=name)["duplicates"] == [0]


def test_a_deleted_queue_leaves_no_rows(rig: NodeRig, dedup: str) -> None:
    put(rig, "a", "b")
    rig.ask(PEER, "delete", queue="q", if_empty=False)
    rig.restart()
    assert id_rows(rig) == []
    rig.hello()
    declare(rig, dedup="window")
    assert put(rig, "a")["count"] == 1


def test_ids_are_right_after_a_crash_with_any_write() -> None:
    """What was confirmed is remembered, and what was swept stays so; the count agrees."""
    for write in range(1, 60):
        for kept in (0, 100):
            rig = NodeRig()
            rig.hello()
            rig.store.crash_in = write
            confirmed: list[str] = []
            try:
                _churn(rig, confirmed)
            except CrashPoint:
                rig.crash(kept)
            rig.store.crash_in = None
            rig.restart()
            rig.hello()
            if confirmed:
                assert put(rig, *confirmed[-3:])["count"] == 0, (write, kept)
            declare(rig, dedup="unsettled")
            rows = id_rows(rig)
            batches = [key for key in rows if len(key) < keys.ID_PREFIX_BYTES]
            assert rig.queue("q").ledger.ids == len(batches), (write, kept)
            assert len(rows) == 2 * len(batches), (write, kept)


def _churn(rig: NodeRig, confirmed: list[str]) -> None:
    """Single puts, all but the last three of which are settled and swept."""
    declare(rig, dedup="unsettled")
    for number in range(12):
        sent = put(rig, f"{number}")
        assert sent["count"] == 1
        confirmed.append(f"{number}")
        if number >= 3:
            rig.settle("ack", rig.get("q", 1, lease_ms=HOUR))
        if number % 4 == 0:
            rig.pass_time(2 * limits.ID_SWEEP_EVERY)


HOUR = 3_600 * SECOND
