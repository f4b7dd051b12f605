"""``redrive``: dead letters go back to where they came from, or wherever somebody wants them."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker.errors import BadField, LimitReached
from broker.limits import MINUTE, REDRIVE_STEP, SECOND
from tests.support.node_rig import PEER, NodeRig, Sent

BODIES = [b"%d" % n for n in range(10)]


@pytest.fixture
def dead(rig: NodeRig) -> NodeRig:
    """Ten messages of q in its dead-letter queue, each of which failed once."""
    declare(rig, "q", dead_letter="dead", max_attempts=1)
    for body in BODIES:
        rig.put("q", body)
    rig.settle("nack", rig.get("q"), delay_ms=0)
    return rig


def declare(rig: NodeRig, queue: str, **settings: Any) -> None:
    assert rig.ask(PEER, "declare", queue=queue, settings=settings).re == "ok"


def redrive(rig: NodeRig, **fields: Any) -> Sent:
    return rig.ask(PEER, "redrive", queue="dead", **fields)


def live(rig: NodeRig, ms: int) -> None:
    """Time passes in small steps, as it does."""
    for _ in range(ms // REDRIVE_STEP):
        rig.pass_time(REDRIVE_STEP)


def test_dead_letters_go_back_to_where_they_came_from(dead: NodeRig) -> None:
    answer = redrive(dead)
    assert (answer["moved"], answer["left"], answer["running"]) == (0, 10, True)
    back = dead.get("q")
    assert back.bodies() == BODIES
    assert {message.attempts for message in back.messages()} == {0}
    assert all("death" not in run for run in back["runs"])
    stats = dead.stats("dead")
    assert (stats["messages"], stats["redrive"]) == (0, None)
    assert stats["counters"]["redriven"] == 10


def test_each_goes_to_its_own_queue(rig: NodeRig) -> None:
    for name in ("q1", "q2"):
        declare(rig, name, dead_letter="dead")
        rig.put(name, name.encode())
        rig.settle("reject", rig.get(name))
    redrive(rig)
    assert rig.get("q1").bodies() == [b"q1"]
    assert rig.get("q2").bodies() == [b"q2"]


def test_a_named_queue_may_take_them(dead: NodeRig) -> None:
    dead.put("dead", b"never died")
    redrive(dead, to="elsewhere")
    assert dead.get("elsewhere").bodies() == [*BODIES, b"never died"]


def test_what_never_died_has_nowhere_to_go_back_to(dead: NodeRig) -> None:
    dead.put("dead", b"never died")
    redrive(dead)
    assert dead.get("dead").bodies() == [b"never died"]


def test_no_more_than_asked_for_are_moved_the_first_first(dead: NodeRig) -> None:
    assert redrive(dead, max=3)["left"] == 3
    assert dead.get("q").bodies() == BODIES[:3]
    assert dead.get("dead").bodies() == BODIES[3:]


def test_a_rate_is_kept(dead: NodeRig) -> None:
    redrive(dead, per_second=2)
    assert dead.stats("dead")["redrive"]["running"]
    moved = []
    for _ in range(6):
        live(dead, SECOND)
        moved.append(dead.stats("q")["messages"])
    assert moved == [2, 4, 6, 8, 10, 10]
    assert dead.stats("dead")["redrive"] is None


def test_a_selector_says_which(rig: NodeRig) -> None:
    declare(rig, "q", dead_letter="dead")
    bodies = [[b"%d" % n, {"n": n}] for n in range(6)]
    rig.ask(PEER, "put", msgpack.packb(bodies), queue="q", count=6, type="order")
    rig.put("q", b"of another type")
    rig.settle("reject", rig.get("q"))
    redrive(rig, selector=[["$type", "=", "order"], ["n", ">=", 2], ["n", "<", 4]])
    assert msgpack.unpackb(rig.get("q").frames[-1]) == [[b"2", {"n": 2}], [b"3", {"n": 3}]]
    assert rig.stats("dead")["messages"] == 5
    redrive(rig, selector=[["$reason", "=", "rejected"], ["$type", "exists", False]])
    assert rig.get("q").bodies() == [b"of another type"]


def test_what_is_in_flight_stays_with_its_holder(dead: NodeRig) -> None:
    held = dead.get("dead", 4)
    redrive(dead)
    assert dead.settle("ack", held)["count"] == 4
    assert dead.get("q").bodies() == BODIES[4:]


def test_what_comes_back_meanwhile_is_not_moved_in_a_circle(dead: NodeRig) -> None:
    redrive(dead, per_second=5)
    for _ in range(8):
        live(dead, SECOND)
        got = dead.get("q")
        if got.messages():
            dead.settle("reject", got)
    assert dead.stats("dead")["counters"]["redriven"] == 10
    assert dead.stats("dead")["ready"] == 10


def test_more_than_one_step_are_moved(rig: NodeRig) -> None:
    declare(rig, "q", dead_letter="dead")
    for n in range(700):
        rig.put("q", b"%d" % n)
        if n % 100 == 99:
            rig.settle("reject", rig.get("q"))
    redrive(rig)
    live(rig, SECOND)
    assert rig.stats("q")["ready"] == 700
    assert rig.get("q").bodies() == [b"%d" % n for n in range(700)]


def test_a_redrive_waits_for_a_target_that_is_full(rig: NodeRig) -> None:
    declare(rig, "q", dead_letter="dead", max_messages=400)
    for _ in range(2):
        for n in range(400):
            rig.put("q", b"%d" % n, type=f"t{n % 2}")
        rig.settle("reject", rig.get("q", 400, bytes_max=1 << 20))
        while rig.stats("q")["messages"]:
            rig.settle("reject", rig.get("q", 400))
    redrive(rig)
    live(rig, 5 * SECOND)
    stats = rig.stats("dead")
    assert stats["departing"] > 0
    assert stats["ready"] > 0
    assert stats["redrive"]["running"]
    assert stats["departing"] + stats["ready"] + 400 == 800
    while (got := rig.get("q")).messages():
        rig.settle("ack", got)
        live(rig, 5 * SECOND)
    assert rig.stats("dead")["messages"] == 0


def test_stop_ends_it(dead: NodeRig) -> None:
    redrive(dead, per_second=1)
    assert redrive(dead).code == LimitReached.code
    live(dead, 2 * SECOND)
    answer = redrive(dead, stop=True)
    assert (answer["moved"], answer["running"]) == (2, False)
    dead.pass_time(MINUTE)
    dead.hello()
    assert dead.stats("q")["messages"] == 2
    assert redrive(dead, stop=True)["moved"] == 0


def test_another_reign_knows_nothing_of_it_and_keeps_what_it_moved(dead: NodeRig) -> None:
    redrive(dead, per_second=1)
    live(dead, 2 * SECOND)
    dead.crash()
    dead.hello()
    live(dead, 10 * SECOND)
    assert dead.stats("dead")["redrive"] is None
    assert (dead.stats("q")["messages"], dead.stats("dead")["messages"]) == (2, 8)


def test_a_queue_is_not_redriven_to_itself(dead: NodeRig) -> None:
    assert redrive(dead, to="dead").code == BadField.code


def test_the_redrive_of_a_deleted_queue_ends(dead: NodeRig) -> None:
    redrive(dead, per_second=1)
    dead.ask(PEER, "delete", queue="dead", if_empty=False)
    live(dead, SECOND)
    assert dead.machine("dead").redrives == {}
