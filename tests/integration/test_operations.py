"""What operators do to queues, as both clients offer it, over a real broker."""

from __future__ import annotations

import time
from typing import Any

import pytest

from patterns import BadField, DedupFull, IdsNotIndexed, QueueNotFound, exists
from tests.integration.conftest import Connect, ready
from tests.support.waiting import wait_until


def bodies(messages: Any) -> list[Any]:
    return [message.body for message in messages]


def test_settings_change_while_the_queue_runs(connect: Connect) -> None:
    orders = connect().queue("orders", lease=30.0)
    settings = orders.update(lease=7.5, max_messages=2)
    assert (settings["lease_ms"], settings["max_messages"]) == (7_500, 2)
    assert orders.stats()["settings"]["lease_ms"] == 7_500


def test_a_paused_queue_delivers_nothing_until_it_is_resumed(connect: Connect) -> None:
    orders = connect().queue("orders", lease=30.0)
    orders.pause()
    orders.put(b"a").wait(20)
    assert orders.get(0.05) is None
    orders.resume()
    assert orders.get(20).body == b"a"


def test_browsing_shows_what_waits_and_takes_none(connect: Connect) -> None:
    orders = connect().queue("orders")
    orders.put({"n": 1}, {"kind": "a"}, type="event", id="one")
    orders.put(b"later", delay=3_600).wait(20)
    orders.put(b"mine").wait(20)
    held = orders.get(20)
    assert held.body == {"n": 1}
    seen = list(orders.browse())
    assert bodies(seen) == [{"n": 1}, b"later", b"mine"]
    assert [message.state for message in seen] == ["in_flight", "delayed", "ready"]
    assert (seen[0].id, seen[0].headers, seen[0].type) == ("one", {"kind": "a"}, "event")
    assert seen[1].due_at > time.time() + 3_000
    assert bodies(orders.browse(after=0, max=1)) == [b"later"]
    assert bodies(orders.browse(selector={"kind": "a"})) == [{"n": 1}]
    assert bodies(orders.browse(ids=[1, seen[2]])) == [b"later", b"mine"]
    assert ready(orders) == 1


def test_a_browse_goes_on_over_many_pages(connect: Connect) -> None:
    orders = connect().queue("orders")
    orders.put_many([b"%d" % n for n in range(2_500)]).wait(20)
    assert bodies(orders.browse()) == [b"%d" % n for n in range(2_500)]
    assert bodies(orders.browse(max=1_200))[-1] == b"1199"


def test_waiting_messages_are_removed_by_position_id_or_message(connect: Connect) -> None:
    orders = connect().queue("orders", index_ids=True)
    orders.put_many([b"%d" % n for n in range(6)], ids=[f"id-{n}" for n in range(6)]).wait(20)
    held = orders.get(20)
    assert orders.remove([0, 1, "orders:2", "id-3", "id-9"]) == (3, [0, "id-9"])
    assert bodies(orders.browse()) == [b"0", b"4", b"5"]
    last = list(orders.browse())[-1]
    assert orders.remove(last).messages == 1
    held.ack(wait=True)
    assert orders.cancel("id-4") is True
    assert orders.cancel("id-4") is False


def test_a_message_is_moved_to_another_instant(connect: Connect) -> None:
    orders = connect().queue("orders")
    result = orders.put(b"a", delay=3_600).wait(20)
    orders.put(b"b", at=time.time() + 3_600).wait(20)
    assert orders.get(0.05) is None
    assert orders.reschedule(result.id, delay=0).messages == 1
    assert orders.get(20).body == b"a"
    assert orders.reschedule(1, at=time.time() + 7_200).messages == 1
    assert next(iter(orders.browse(ids=1))).due_at > time.time() + 7_000
    with pytest.raises(BadField):
        orders.reschedule(1)


def test_many_messages_have_an_instant_each(connect: Connect) -> None:
    orders = connect().queue("orders")
    now = time.time()
    orders.put_many([b"late", b"now", b"past"], at=[now + 3_600, None, now - 60]).wait(20)
    assert bodies(orders.get_many(5, 20)) == [b"now", b"past"]
    assert orders.stats()["delayed"] == 1


def test_dead_letters_tell_why_and_go_back(connect: Connect) -> None:
    mq = connect()
    failed = mq.queue("failed")
    orders = mq.queue("orders", dead_letter="failed")
    orders.put(b"bad", {"trace": "t"}).wait(20)
    orders.get(20).reject(wait=True)
    letter = failed.get(20)
    assert (letter.death.reason, letter.death.queue) == ("rejected", "orders")
    assert letter.headers["x-death-reason"] == "rejected"
    assert letter.headers["x-death-queue"] == "orders"
    assert letter.headers["trace"] == "t"
    assert abs(letter.headers["x-death-time"] - time.time()) < 60
    letter.nack(delay=0, charge=False, wait=True)
    redrive = failed.redrive(per_second=1_000, selector={"$reason": "rejected"})
    assert redrive.wait(20) == 1
    again = orders.get(20)
    assert (again.body, again.death) == (b"bad", None)


def test_a_message_is_found_once_by_its_own_id(connect: Connect) -> None:
    orders = connect().queue("orders", dedup="window", dedup_window=60.0)
    orders.put(b"a", id="one").wait(20)
    again = orders.put(b"a", id="one").wait(20)
    assert (again.duplicate, again.position) == (True, None)
    (result,) = orders.put_many([b"a", b"b"], ids=["one", "two"]).wait(20)
    assert (result.first, result.duplicates) == (1, (0,))
    assert bodies(orders.browse()) == [b"a", b"b"]


def test_ids_that_are_not_indexed_say_so(connect: Connect) -> None:
    orders = connect().queue("orders")
    orders.put(b"a", id="one").wait(20)
    with pytest.raises(IdsNotIndexed):
        orders.cancel("one")
    assert not DedupFull("so many").details


def test_consumers_choose_and_the_higher_priority_is_served_first(connect: Connect) -> None:
    mq = connect()
    orders = mq.queue("orders")
    orders.put(b"de", {"country": "de", "size": 20}).wait(20)
    orders.put(b"fr", {"country": "fr", "size": 5, "trace": "t"}).wait(20)
    orders.put(b"us", {"country": "us", "size": 11}, type="event").wait(20)
    assert orders.get(20, selector={"trace": exists}).body == b"fr"
    assert bodies(orders.get_many(5, 20, selector={"size": (">", 10), "$type": "event"})) == [b"us"]
    chosen = orders.consume(selector={"country": ["de", "at"]}, priority=5, max=1, timeout=20)
    assert bodies(chosen) == [b"de"]


def test_definitions_are_exported_and_imported(connect: Connect) -> None:
    mq = connect()
    mq.queue("failed").put(b"x").wait(20)
    mq.queue("orders", lease=7.0, dead_letter="failed", partitions=2).put(b"x").wait(20)
    exported = mq.export()
    assert exported["version"] == 1
    assert list(exported["queues"]) == ["failed", "orders"]
    assert exported["queues"]["orders"]["lease_ms"] == 7_000
    mq.queue("orders").delete(if_empty=False)
    mq.queue("failed").update(lease=9.0)
    assert mq.import_(exported)[:4] == (["orders"], [], [], ["failed"])
    assert mq.import_(exported, update=True)[:4] == ([], ["orders"], ["failed"], [])
    assert mq.export() == exported


def test_a_partitioned_queue_is_operated_as_one(connect: Connect) -> None:
    mq = connect()
    orders = mq.queue("orders", partitions=3, index_ids=True)
    ids = [f"id-{n}" for n in range(9)]
    results = orders.put_many([b"%d" % n for n in range(9)], ids=ids, batch=3).wait(20)
    assert (orders.stats()["messages"], len(results)) == (9, 3)
    assert sorted(bodies(orders.browse())) == [b"%d" % n for n in range(9)]
    place = f"{results[0].queue}:{results[0].first}"
    changed = orders.remove([place, "id-5", "id-77"])
    assert changed == (2, ["id-77"])
    with pytest.raises(BadField):
        orders.remove(3)
    orders.update(lease=9.0)
    assert mq.queue("orders#2").stats()["settings"]["lease_ms"] == 9_000
    assert orders.purge() == 7
    orders.delete()
    with pytest.raises(QueueNotFound):
        orders.stats()
    assert mq.queues() == []


def test_a_dead_letter_queue_may_have_partitions(connect: Connect) -> None:
    mq = connect()
    failed = mq.queue("failed", partitions=2)
    orders = mq.queue("orders", dead_letter="failed")
    orders.put_many([b"%d" % n for n in range(20)]).wait(20)
    for message in orders.get_many(20, 20):
        message.reject()
    mq.flush(20)
    wait_until(lambda: failed.stats()["ready"] == 20 and not orders.stats()["messages"], "20 died")
    assert failed.redrive().wait(20) == 20
    wait_until(lambda: ready(orders) == 20, "all are back")
