"""Messages that leave a queue unacknowledged: to its dead-letter queue, or dropped and counted."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker.errors import BadField, LeaseLost, QueueFull, QueueNotEmpty
from broker.limits import LEASE_DEFAULT, MAX_ATTEMPTS_DEFAULT, TRANSFER_RETRY
from broker.storage.keys import StateKind
from broker.storage.store import Family
from tests.support.node_rig import PEER, NodeRig, Sent


@pytest.fixture
def dying(rig: NodeRig) -> NodeRig:
    """q has a dead-letter queue."""
    declare(rig, "q", dead_letter="dead")
    return rig


@pytest.fixture
def stuck(dying: NodeRig) -> NodeRig:
    """And that is full."""
    declare(dying, "dead", max_messages=1)
    dying.put("dead", b"fills it")
    return dying


def declare(rig: NodeRig, queue: str, **settings: Any) -> Sent:
    return rig.ask(PEER, "declare", queue=queue, settings=settings)


def counters(rig: NodeRig, queue: str = "q") -> dict[str, int]:
    return {name: count for name, count in rig.stats(queue)["counters"].items() if count}


def deaths(delivery: Sent) -> list[dict[str, Any]]:
    return [run["death"] for run in delivery["runs"]]


def free(rig: NodeRig) -> None:
    """The target has room again, and is asked again."""
    rig.ask(PEER, "purge", queue="dead")
    rig.pass_time(TRANSFER_RETRY)


# Reasons


def test_a_rejected_message_goes_to_the_dead_letter_queue_with_what_happened(
    dying: NodeRig,
) -> None:
    dying.put("q", b"a", b"b", b"c")
    dying.settle("reject", dying.get("q"), ranges=[[1, 1]])
    dead = dying.get("dead")
    assert dead.bodies() == [b"b"]
    assert deaths(dead) == [
        {"reason": "rejected", "queue": "q", "attempts": 0, "at": dying.now, "position": 1}
    ]
    assert dying.stats("q")["messages"] == 2


def test_a_message_that_failed_four_times_is_dead(dying: NodeRig) -> None:
    dying.put("q", b"a")
    for _ in range(MAX_ATTEMPTS_DEFAULT):
        assert dying.get("dead").messages() == []
        dying.settle("nack", dying.get("q"), delay_ms=0)
    dead = dying.get("dead")
    assert [death["reason"] for death in deaths(dead)] == ["attempts"]
    assert deaths(dead)[0]["attempts"] == MAX_ATTEMPTS_DEFAULT
    assert dead.messages()[0].attempts == 0
    assert counters(dying)["exhausted"] == counters(dying)["dead_lettered"] == 1


def test_the_end_of_a_lease_can_be_the_last_failure(rig: NodeRig) -> None:
    declare(rig, "q", dead_letter="dead", max_attempts=1)
    rig.put("q", b"a")
    rig.get("q")
    rig.pass_time(LEASE_DEFAULT + 60)
    assert deaths(rig.get("dead"))[0]["reason"] == "attempts"


def test_the_loss_of_a_consumer_can_be_the_last_failure_of_what_it_had_in_hand(
    rig: NodeRig,
) -> None:
    declare(rig, "q", dead_letter="dead", max_attempts=1)
    rig.put("q", b"a", b"b", b"c")
    rig.command(PEER, "consume", queue="q", consumer=1, credit=3, concurrency=2)
    rig.run()
    rig.node.unreachable(rig.now, PEER, "gone")
    rig.hello()
    assert rig.get("dead").bodies() == [b"a", b"b"]
    assert rig.get("q").bodies() == [b"c"]


def test_an_attempt_that_was_not_charged_does_not_count(rig: NodeRig) -> None:
    declare(rig, "q", dead_letter="dead", max_attempts=1)
    rig.put("q", b"a")
    rig.settle("nack", rig.get("q"), charge=False)
    assert rig.get("q").bodies() == [b"a"]


def test_what_expires_while_it_waits_is_dead_and_lives_on_there(rig: NodeRig) -> None:
    declare(rig, "dead", ttl_ms=1_000, delay_ms=60_000)
    declare(rig, "q", dead_letter="dead", ttl_ms=5_000)
    rig.put("q", b"a", b"b")
    rig.pass_time(5_000)
    assert rig.stats("q")["messages"] == 0
    rig.pass_time(3_600_000)
    rig.hello()
    dead = rig.get("dead")
    assert dead.bodies() == [b"a", b"b"]
    assert deaths(dead)[0]["reason"] == "expired"


def test_what_expired_in_hand_is_dead_when_it_comes_back(rig: NodeRig) -> None:
    declare(rig, "q", dead_letter="dead", ttl_ms=5_000)
    rig.put("q", b"a")
    got = rig.get("q")
    rig.pass_time(6_000)
    assert rig.get("dead").messages() == []
    rig.settle("nack", got, charge=False)
    assert deaths(rig.get("dead"))[0]["reason"] == "expired"


def test_a_dead_letter_that_dies_again_tells_of_its_last_death(rig: NodeRig) -> None:
    declare(rig, "dead", dead_letter="buried")
    declare(rig, "q", dead_letter="dead")
    rig.put("q", b"a")
    rig.settle("reject", rig.get("q"))
    rig.settle("reject", rig.get("dead"))
    assert deaths(rig.get("buried"))[0]["queue"] == "dead"


@pytest.mark.parametrize("reason", ["rejected", "exhausted", "expired"])
def test_without_a_dead_letter_queue_it_is_dropped_and_counted(rig: NodeRig, reason: str) -> None:
    declare(rig, "q", max_attempts=1, ttl_ms=5_000)
    rig.put("q", b"a", b"b")
    got = rig.get("q", 1)
    if reason == "expired":
        rig.pass_time(5_000)
    else:
        rig.settle("reject" if reason == "rejected" else "nack", got)
    assert counters(rig)[reason] == counters(rig)["dropped"] == 1
    assert rig.stats("q")["messages"] == 1


def test_a_queue_without_a_dead_letter_queue_retries_without_end(rig: NodeRig) -> None:
    rig.put("q", b"a")
    for attempts in range(2 * MAX_ATTEMPTS_DEFAULT):
        got = rig.get("q")
        assert got.messages()[0].attempts == attempts
        rig.settle("nack", got, delay_ms=0)


# What goes with it


def test_a_dead_letter_keeps_all_that_it_was_put_with(dying: NodeRig) -> None:
    columns = msgpack.packb({"ids": ["one", "two", "three"]})
    bodies = msgpack.packb([[b"a", {"trace": 1}], b"b", b"c"])
    fields = {"priority": 9, "content_type": "text/plain", "type": "order"}
    dying.ask(PEER, "put", columns, bodies, queue="q", count=3, **fields)
    dying.settle("reject", dying.get("q"), ranges=[[0, 2]])
    dead = dying.get("dead")
    run = dead["runs"][0]
    assert {name: run[name] for name in fields} == fields
    assert msgpack.unpackb(dead.frames[0]) == {"ids": ["one", "two"]}
    assert msgpack.unpackb(dead.frames[1]) == [[b"a", {"trace": 1}], b"b"]


def test_what_dies_arrives_in_the_order_of_its_deaths(dying: NodeRig) -> None:
    bodies = [bytes((n,)) for n in range(200)]
    for body in bodies:
        dying.put("q", body)
    for _ in range(20):
        dying.settle("reject", dying.get("q", 10))
    assert dying.get("dead").bodies() == bodies


def test_a_portion_over_many_batches_is_carried_batch_by_batch(dying: NodeRig) -> None:
    for n in range(5):
        dying.put("q", bytes((n,)), type=f"t{n % 2}")
    got = dying.get("q")
    dying.settle("reject", got, ranges=[[1, 3]])
    assert [run["type"] for run in dying.get("dead")["runs"]] == ["t1", "t0", "t1"]


# On the way


def test_what_departs_is_seen_and_is_nobodys(stuck: NodeRig) -> None:
    stuck.put("q", b"a", b"b")
    got = stuck.get("q")
    stuck.settle("reject", got, ranges=[[0, 1]])
    stats = stuck.stats("q")
    assert (stats["departing"], stats["departed_to"]) == (1, {"dead": 1})
    assert stats["last_transfer_error"].startswith("dead: queue_full")
    assert (stats["ready"], stats["in_flight"], stats["messages"]) == (0, 1, 2)
    assert stuck.settle("ack", got, ranges=[[0, 1]]).code == LeaseLost.code
    assert stuck.settle("extend", got, ranges=[[0, 1]])["held"] == []


@pytest.mark.parametrize("end", ["crash", "restart"])
def test_a_new_reign_knows_what_departs(stuck: NodeRig, end: str) -> None:
    stuck.put("q", b"a", b"b")
    got = stuck.get("q")
    stuck.settle("nack", got, delay_ms=0)
    got = stuck.get("q")
    stuck.settle("reject", got, ranges=[[0, 1, 1]])
    getattr(stuck, end)()
    stuck.hello()
    stats = stuck.stats("q")
    assert (stats["departing"], stats["ready"], stats["messages"]) == (1, 1, 2)
    assert stuck.settle("ack", got, ranges=[[0, 1, 1]]).code == LeaseLost.code
    assert stuck.get("q").positions() == [1]
    free(stuck)
    assert stuck.get("dead").bodies() == [b"a"]
    assert stuck.stats("q")["departing"] == 0


def test_what_departs_counts_against_its_queues_limits_until_it_is_gone(rig: NodeRig) -> None:
    declare(rig, "dead", max_messages=1)
    declare(rig, "q", dead_letter="dead", max_messages=1)
    rig.put("dead", b"fills it")
    rig.put("q", b"a")
    rig.settle("reject", rig.get("q"))
    assert rig.put("q", b"b").code == QueueFull.code
    free(rig)
    assert rig.put("q", b"b").re == "ok"


def test_a_purge_leaves_what_departs(stuck: NodeRig) -> None:
    for _ in range(3):
        stuck.put("q", b"a", b"b", b"c")
    stuck.settle("reject", stuck.get("q", 5), ranges=[[1, 1], [4, 1]])
    stuck.settle("reject", stuck.get("q", 1))
    before = stuck.stats("q")
    assert stuck.ask(PEER, "purge", queue="q")["count"] == before["ready"]
    stats = stuck.stats("q")
    assert stats["messages"] == stats["departing"] + stats["in_flight"] == 6
    stuck.crash()
    stuck.hello()
    free(stuck)
    stats = stuck.stats("q")
    assert (stats["departing"], stats["ready"], stats["messages"]) == (2, 3, 5)


def test_a_queue_from_which_something_departs_is_not_empty(stuck: NodeRig) -> None:
    stuck.put("q", b"a")
    stuck.settle("reject", stuck.get("q"))
    assert stuck.ask(PEER, "delete", queue="q").code == QueueNotEmpty.code


def test_what_departs_goes_with_its_deleted_queue_and_the_line_goes_on(stuck: NodeRig) -> None:
    declare(stuck, "q1", dead_letter="dead")
    stuck.put("q", b"a")
    stuck.put("q1", b"b")
    stuck.settle("reject", stuck.get("q"))
    stuck.settle("reject", stuck.get("q1"))
    stuck.ask(PEER, "delete", queue="q", if_empty=False)
    stuck.restart()
    stuck.hello()
    free(stuck)
    assert stuck.stats("q1")["departing"] == 0
    assert stuck.get("dead").bodies() == [b"b"]


def test_what_departs_does_not_expire(rig: NodeRig) -> None:
    declare(rig, "dead", max_messages=1)
    declare(rig, "q", dead_letter="dead", ttl_ms=5_000)
    rig.put("dead", b"fills it")
    rig.put("q", b"a")
    rig.settle("reject", rig.get("q"))
    rig.pass_time(3 * LEASE_DEFAULT)
    rig.hello()
    assert rig.stats("q")["departing"] == 1
    assert "expired" not in counters(rig)
    free(rig)
    assert deaths(rig.get("dead"))[0]["reason"] == "rejected"


def test_the_batch_of_what_departs_outlives_the_log(stuck: NodeRig) -> None:
    stuck.put("q", b"a", b"b", b"c")
    stuck.settle("reject", stuck.get("q"), ranges=[[1, 1]])
    stuck.crash()
    stuck.hello()
    got = stuck.get("q")
    stuck.settle("ack", got)
    for n in range(60):
        stuck.put(f"churn{n % 4}", bytes(50))
    free(stuck)
    assert stuck.get("dead").bodies() == [b"b"]


def test_nothing_is_left_of_what_departed(dying: NodeRig) -> None:
    for _ in range(3):
        dying.put("q", b"a", b"b")
        dying.settle("reject", dying.get("q"))
    dying.settle("ack", dying.get("dead"))
    for n in range(60):
        dying.put(f"churn{n % 4}", bytes(50))
    dying.restart()
    assert dying.machine("q").outbox.lines == {}
    kinds = {key[4] for key, _ in dying.rows(Family.STATE)}
    assert StateKind.QUEUE in kinds
    assert StateKind.OUTBOX not in kinds


# What clients may not do


def test_no_client_puts_a_dead_letter(rig: NodeRig) -> None:
    death = {"reason": "rejected"}
    assert rig.put("q", b"a", death=death).code == BadField.code


@pytest.mark.parametrize("producer", [b"$transfer/", b"$transfer/0"])
def test_no_client_is_a_slot(rig: NodeRig, producer: bytes) -> None:
    assert rig.put("q", b"a", producer=producer, seq=0).code == BadField.code


def test_a_queue_is_not_its_own_dead_letter_queue(rig: NodeRig) -> None:
    assert declare(rig, "q", dead_letter="q").code == BadField.code


# What cannot be read


def test_what_cannot_be_read_is_told_and_stays_and_other_lines_go_on(stuck: NodeRig) -> None:
    declare(stuck, "q1", dead_letter="other")
    stuck.put("q", b"a")
    stuck.settle("reject", stuck.get("q"))
    for key, value in stuck.rows(Family.BODY):
        if value.endswith(b"\x91\xc4\x01a"):
            stuck.store.alter(Family.BODY, key, value[:-1] + b"?")
    stuck.put("q1", b"b")
    stuck.settle("reject", stuck.get("q1"))
    free(stuck)
    assert stuck.get("other").bodies() == [b"b"]
    stats = stuck.stats("q")
    assert (stats["departing"], stats["messages"]) == (1, 1)
    assert "checksum" in stats["last_transfer_error"]
