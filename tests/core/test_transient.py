"""Transient queues: all that a queue can do, in memory alone, and nothing of it afterwards."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import pytest

from broker.core.transient.transient_log import POSITIONS_PER_EPOCH
from broker.limits import HOUR, PRODUCER_IDLE
from broker.storage.store import Family
from tests.support.node_rig import PEER, NodeRig, Sent

SECOND = 1_000


@pytest.fixture
def rig(rig: NodeRig) -> NodeRig:
    """Its queue ``q`` is transient."""
    declare(rig)
    return rig


def declare(rig: NodeRig, **settings: Any) -> Sent:
    return rig.ask(PEER, "declare", queue="q", settings={"durable": False, **settings})


def come_back(rig: NodeRig) -> None:
    rig.crash()
    rig.hello()


def put_timed(rig: NodeRig, *timed: tuple[bytes, int]) -> Sent:
    columns = msgpack.packb({"at_ms": [at for _, at in timed]})
    batch = msgpack.packb([body for body, _ in timed])
    return rig.ask(PEER, "put", columns, batch, queue="q", count=len(timed))


def held(rig: NodeRig) -> int:
    """Stored batches in memory."""
    return rig.machine("q").transient.memory.batches


def test_a_put_is_confirmed_before_any_sync(rig: NodeRig) -> None:
    req = rig.command(PEER, "put", b"\x91\xc4\x01a", queue="q", count=1)
    (confirmed,) = [sent for sent in rig.turn() if sent.req == req]
    assert (confirmed.re, confirmed["count"], confirmed["copies"]) == ("ok", 1, 0)


def test_a_put_is_delivered_in_the_turn_that_takes_it(rig: NodeRig) -> None:
    req = rig.command(PEER, "get", queue="q", max=10, timeout_ms=SECOND)
    rig.turn()
    rig.command(PEER, "put", b"\x91\xc4\x01a", queue="q", count=1)
    assert [sent.bodies() for sent in rig.turn() if sent.req == req] == [[b"a"]]


def test_a_settle_is_answered_before_any_sync(rig: NodeRig) -> None:
    rig.put("q", b"a")
    delivery = rig.get("q")
    rig.put("durable", b"waits for the disk")
    rig.command(PEER, "put", b"\x91\xc4\x01b", queue="durable", count=1)
    fields = {"queue": "q", "tag": delivery["tag"], "ranges": delivery.ranges()}
    req = rig.command(PEER, "ack", **fields)
    assert [sent.re for sent in rig.turn() if sent.req == req] == ["ok"]


def test_a_put_waits_for_the_declaration_of_its_queue() -> None:
    rig = NodeRig()
    rig.hello()
    rig.command(PEER, "declare", queue="q", settings={"durable": False})
    req = rig.command(PEER, "put", b"\x91\xc4\x01a", queue="q", count=1)
    assert [sent for sent in rig.turn() if sent.req == req] == []
    rig.sync()
    assert [sent.re for sent in rig.turn() if sent.req == req] == ["ok"]
    assert rig.get("q").bodies() == [b"a"]


def test_messages_are_lost_with_the_broker_and_the_queue_is_not(rig: NodeRig) -> None:
    rig.put("q", b"a")
    rig.put("q", b"later", delay_ms=SECOND)
    uuid = rig.stats("q")["uuid"]
    come_back(rig)
    stats = rig.stats("q")
    assert (stats["uuid"], stats["messages"], stats["bytes"]) == (uuid, 0, 0)
    assert stats["settings"]["durable"] is False
    rig.pass_time(2 * SECOND)
    assert rig.get("q").bodies() == []
    rig.put("q", b"b")
    assert rig.get("q").bodies() == [b"b"]


def test_a_clean_end_loses_them_as_well(rig: NodeRig) -> None:
    rig.put("q", b"a")
    rig.restart()
    rig.hello()
    assert rig.stats("q")["messages"] == 0


def test_nothing_of_the_messages_is_written(rig: NodeRig) -> None:
    rig.run()
    rows = {family: rig.rows(family) for family in Family}
    for number in range(50):
        rig.put("q", b"a", b"b", producer=b"p", seq=number, ttl_ms=HOUR)
        rig.put("q", b"later", delay_ms=HOUR)
        rig.settle("nack", rig.get("q", 1), delay_ms=0)
        rig.settle("ack", rig.get("q", 1))
    assert {family: rig.rows(family) for family in Family} == rows
    assert not rig.awaits_sync


def test_a_checkpoint_writes_what_was_declared_and_no_more(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", producer=b"p", seq=0)
    rig.settle("ack", rig.get("q", 1))
    rig.settle("nack", rig.get("q", 1), delay_ms=HOUR)
    rig.node.close(rig.now)
    rows = [msgpack.unpackb(v, strict_map_key=False) for _, v in rig.rows(Family.STATE)]
    (row,) = [row for row in rows if isinstance(row, dict) and row.get("name") == "q"]
    assert (row["next_position"], row["floor"], row["lanes"]) == (0, 0, {})
    assert not any(key.endswith(b"p") for key, _ in rig.rows(Family.STATE))


def test_memory_falls_as_messages_are_settled(rig: NodeRig) -> None:
    for number in range(500):
        rig.put("q", b"%d" % number, ttl_ms=HOUR)
    rig.put("q", b"later", delay_ms=HOUR)
    put_timed(rig, *[(b"x", rig.now + HOUR + 300_000 * n) for n in range(200)])
    assert held(rig) > 500
    while (delivery := rig.get("q", 7)).bodies():
        rig.settle("ack", delivery)
    memory = rig.machine("q").transient.memory
    assert held(rig) < 20
    assert len(memory.expiry) < 100
    rig.ask(PEER, "purge", queue="q")
    assert held(rig) == 0
    rig.ask(PEER, "delete", queue="q")
    assert memory.queues == {}


def test_a_batch_stays_until_its_last_message_is_settled(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", b"c")
    first, rest = rig.get("q", 1), rig.get("q")
    rig.settle("ack", rest)
    assert held(rig) == 1
    rig.settle("nack", first, delay_ms=0)
    again = rig.get("q")
    assert [(m.body, m.attempts) for m in again.messages()] == [(b"a", 1)]
    rig.settle("ack", again)
    assert held(rig) == 0


def test_a_message_that_was_lost_is_never_taken_for_a_newer_one(rig: NodeRig) -> None:
    rig.put("q", b"old")
    delivery = rig.get("q")
    come_back(rig)
    rig.put("q", b"new")
    lost = rig.settle("ack", delivery)
    assert lost["error"] == "lease_lost"
    assert rig.settle("extend", delivery)["lost"] == delivery.ranges()
    assert rig.get("q").bodies() == [b"new"]


def test_each_reign_has_positions_of_its_own(rig: NodeRig) -> None:
    before = rig.put("q", b"a")["first"]
    come_back(rig)
    after = rig.put("q", b"a")["first"]
    assert after - before == POSITIONS_PER_EPOCH


def test_a_repeated_put_is_a_duplicate_while_the_broker_lives(rig: NodeRig) -> None:
    rig.put("q", b"a", producer=b"p", seq=0)
    again = rig.put("q", b"a", producer=b"p", seq=0)
    assert (again["duplicate"], again["copies"]) == (True, 0)
    assert rig.get("q").bodies() == [b"a"]


def test_a_producer_goes_on_after_a_restart(rig: NodeRig) -> None:
    for sequence in range(3):
        rig.put("q", b"a", producer=b"p", seq=sequence)
    come_back(rig)
    assert rig.put("q", b"d", producer=b"p", seq=3).re == "ok"
    assert rig.put("q", b"d", producer=b"p", seq=3)["duplicate"] is True
    assert rig.get("q").bodies() == [b"d"]


def test_an_idle_producer_is_forgotten_without_a_row(rig: NodeRig) -> None:
    rig.put("q", b"a", producer=b"p", seq=0)
    rig.pass_time(PRODUCER_IDLE)
    last_lsn = rig.machine("q").log.last_lsn
    rig.hello()
    rig.pass_time(2 * 60 * SECOND)
    rig.put("q", b"b", producer=b"p", seq=7)
    assert rig.machine("q").log.last_lsn == last_lsn
    assert rig.machine("q").producers.windows.keys() == {(b"p", 1)}


def test_a_named_producer_fences_and_goes_on_after_a_restart(rig: NodeRig) -> None:
    named = {"queue": "q", "producer": b"billing"}
    for instance in (1, 2):
        assert rig.ask(PEER, "producer", **named, instance=instance)["highest"] == -1
    fenced = rig.put("q", b"a", producer=b"billing", seq=0, instance=1)
    assert fenced["error"] == "producer_fenced"
    come_back(rig)
    assert rig.put("q", b"a", producer=b"billing", seq=5, instance=2).re == "ok"
    fenced = rig.put("q", b"a", producer=b"billing", seq=6, instance=1)
    assert fenced["error"] == "producer_fenced"


def test_a_deleted_queue_takes_its_messages_along(rig: NodeRig) -> None:
    rig.put("q", b"a", ttl_ms=HOUR)
    rig.put("q", b"b", delay_ms=HOUR)
    memory = rig.machine("q").transient.memory
    assert rig.ask(PEER, "delete", queue="q", if_empty=False)["count"] == 2
    declare(rig)
    assert rig.get("q").bodies() == []
    assert memory.batches == 0


def test_a_put_and_the_deletion_of_its_undeclared_queue_are_both_answered() -> None:
    rig = NodeRig()
    rig.hello()
    reqs = [rig.command(PEER, "declare", queue="q", settings={"durable": False})]
    reqs.append(rig.command(PEER, "put", b"\x91\xc4\x01a", queue="q", count=1))
    reqs.append(rig.command(PEER, "delete", queue="q", if_empty=False))
    assert {sent.req: sent.re for sent in rig.run()} == dict.fromkeys(reqs, "ok")


@pytest.mark.parametrize("seed", range(4))
def test_random_work_leaves_nothing_behind(seed: int) -> None:
    """What is put is delivered once and settled, over restarts that lose what waits."""
    rig = NodeRig()
    rig.hello()
    declare(rig)
    chance = random.Random(seed)
    waiting: set[bytes] = set()
    deliveries: list[Sent] = []
    for number in range(300):
        match chance.randrange(7):
            case 0 | 1 | 2:
                bodies = [b"%d.%d" % (number, n) for n in range(chance.randint(1, 5))]
                fields: dict[str, Any] = {"priority": chance.randint(3, 5)}
                if chance.random() < 0.3:
                    fields["delay_ms"] = chance.randint(1, 3 * SECOND)
                rig.put("q", *bodies, **fields)
                waiting.update(bodies)
            case 3:
                delivery = rig.get("q", chance.randint(1, 6))
                assert waiting.issuperset(delivery.bodies())
                deliveries.append(delivery)
            case 4 if deliveries:
                delivery = deliveries.pop(chance.randrange(len(deliveries)))
                if delivery.bodies() and rig.settle("ack", delivery).re == "ok":
                    waiting.difference_update(delivery.bodies())
            case 5 if deliveries:
                delivery = deliveries.pop()
                if delivery.bodies():
                    rig.settle("nack", delivery, delay_ms=chance.choice([0, SECOND]))
            case 6 if chance.random() < 0.1:
                come_back(rig)
                waiting.clear()
            case _:
                rig.pass_time(chance.randint(1, SECOND))
        assert rig.stats("q")["messages"] == len(waiting)
    rig.pass_time(200 * SECOND)
    while (delivery := rig.get("q", 10)).bodies():
        waiting.difference_update(delivery.bodies())
        rig.settle("ack", delivery)
    assert waiting == set()
    assert held(rig) == 0
    assert rig.rows(Family.BODY) == []
