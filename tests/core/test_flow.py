"""What bounds deliveries: pauses, messages in flight, a rate, one consumer, priorities."""

from __future__ import annotations

import msgpack
import pytest

from broker.core.choosing.flow import Flow
from broker.core.queue import Queue
from broker.errors import ExclusiveQueue, ResourceAlarm
from broker.model.settings import QueueSettings
from tests.support.node_rig import PEER, NodeRig, Sent

OTHER = b"\0othr"
THIRD = b"\0thrd"


def declare(rig: NodeRig, **settings: object) -> None:
    assert rig.ask(PEER, "declare", queue="q", settings=settings).code == 0


def update(rig: NodeRig, **settings: object) -> list[Sent]:
    """Gives all that was sent with it."""
    rig.command(PEER, "update", queue="q", settings=settings)
    return rig.run()


def consume(rig: NodeRig, number: int = 1, peer: bytes = PEER, **fields: object) -> list[Sent]:
    rig.command(peer, "consume", queue="q", consumer=number, **fields)
    return rig.run()


def put(rig: NodeRig, *bodies: bytes) -> list[Sent]:
    rig.command(PEER, "put", msgpack.packb(list(bodies)), queue="q", count=len(bodies))
    return rig.run()


def bodies(sent: list[Sent], peer: bytes = PEER) -> list[bytes]:
    return [body for s in sent if s.re == "messages" and s.peer == peer for body in s.bodies()]


def settle_all(rig: NodeRig, sent: list[Sent], cmd: str = "ack") -> list[Sent]:
    """Gives what was sent with the settles of all deliveries among ``sent``."""
    for s in sent:
        if s.re == "messages":
            fields = {"queue": "q", "tag": s["tag"], "ranges": s.ranges()}
            rig.command(s.peer, cmd, **fields)
    return rig.run()


# Pauses


def test_a_paused_queue_takes_puts_and_settles_and_delivers_nothing(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b")
    held = rig.get("q", 1)
    consume(rig)
    update(rig, paused=True)
    consume(rig, peer=PEER, number=2)
    assert rig.put("q", b"c").re == "ok"
    assert rig.settle("nack", held, delay_ms=0)["count"] == 1
    assert rig.get("q").messages() == []
    assert rig.stats("q")["in_flight"] == 1
    assert rig.stats("q")["paused"] is True


def test_a_get_on_a_paused_queue_waits_for_the_end_of_the_pause(rig: NodeRig) -> None:
    declare(rig, paused=True)
    rig.put("q", b"a")
    late = rig.command(PEER, "get", queue="q", max=1, timeout_ms=1_000)
    patient = rig.command(PEER, "get", queue="q", max=1, timeout_ms=9_000)
    rig.run()
    assert [(s.req, s.messages()) for s in rig.pass_time(1_000)] == [(late, [])]
    sent = update(rig, paused=False)
    assert [s.bodies() for s in sent if s.req == patient] == [[b"a"]]


def test_consumers_go_on_at_once_when_a_pause_ends(rig: NodeRig) -> None:
    declare(rig, paused=True)
    rig.put("q", b"a", b"b")
    assert bodies(consume(rig)) == []
    assert bodies(update(rig, paused=False)) == [b"a", b"b"]


# Messages in flight


def test_no_more_than_so_many_are_in_flight_over_all_consumers(rig: NodeRig) -> None:
    rig.hello(OTHER)
    declare(rig, max_in_flight=3)
    rig.put("q", *[b"%d" % n for n in range(8)])
    sent = consume(rig, credit=100) + consume(rig, peer=OTHER, credit=100)
    assert rig.get("q").messages() == []
    assert rig.stats("q")["in_flight"] == 3
    rounds = 0
    while rig.stats("q")["messages"]:
        sent = settle_all(rig, sent)
        assert rig.stats("q")["in_flight"] <= 3
        rounds += 1
    assert rounds == 3


@pytest.mark.parametrize("end", ["ack", "nack", "reject"])
def test_what_ends_a_lease_makes_room_at_once(rig: NodeRig, end: str) -> None:
    declare(rig, max_in_flight=1, backoff_ms=0)
    rig.put("q", b"a", b"b")
    sent = consume(rig)
    assert bodies(sent) == [b"a"]
    assert bodies(settle_all(rig, sent, end)) == [b"b"]


def test_a_lease_or_a_session_that_ends_makes_room(rig: NodeRig) -> None:
    rig.hello(OTHER)
    declare(rig, max_in_flight=1, lease_ms=1_000)
    rig.put("q", b"a")
    consume(rig, peer=OTHER)
    consume(rig)
    assert bodies(rig.pass_time(1_100), OTHER) == [b"a"]
    rig.command(OTHER, "bye")
    assert bodies(rig.run()) == [b"a"]


# A rate


def delivered_in(rig: NodeRig, ms: int) -> int:
    """Deliveries of so many milliseconds, in which the node is woken when it asked for it."""
    end, count = rig.now + ms, 0
    while rig.wake_at is not None and rig.wake_at <= end:
        count += len(bodies(rig.pass_time(max(rig.wake_at - rig.now, 0))))
    rig.now = end
    return count


def test_a_rate_is_kept_over_every_second_and_is_spread_over_it(rig: NodeRig) -> None:
    declare(rig, max_per_second=100)
    rig.put("q", *[b"x"] * 1_000)
    first = len(bodies(consume(rig, credit=1_000)))
    assert first == 5
    tenths = [delivered_in(rig, 100) for _ in range(30)]
    assert set(tenths) == {10}


def test_a_rate_below_one_a_millisecond_wakes_for_each_message(rig: NodeRig) -> None:
    declare(rig, max_per_second=1)
    rig.put("q", b"a", b"b", b"c")
    assert bodies(consume(rig)) == [b"a"]
    assert bodies(rig.pass_time(999)) == []
    assert rig.wake_at == rig.now + 1
    assert bodies(rig.pass_time(1)) == [b"b"]


def test_gets_are_bounded_by_the_rate_too(rig: NodeRig) -> None:
    declare(rig, max_per_second=40)
    rig.put("q", *[b"x"] * 10)
    assert len(rig.get("q").messages()) == 2
    assert rig.get("q").messages() == []


@pytest.mark.parametrize("per_second", [1, 3, 7, 999, 1_000, 12_345, 10**9])
def test_over_ten_seconds_a_rate_gives_what_it_says_and_one_burst(per_second: int) -> None:
    flow = Flow(QueueSettings(max_per_second=per_second))
    now, given, end = 5_000, 0, 15_000
    while now <= end:
        room = flow.room(0, now)
        flow.spend(room)
        given += room
        if room < 10_000:
            now = max(flow.next_at(now) or now + 1, now + 1)
    burst = max(per_second // 20, 1)
    assert 10 * per_second <= given <= 10 * per_second + burst


def test_a_new_rate_holds_at_once(rig: NodeRig) -> None:
    declare(rig, max_per_second=1)
    rig.put("q", *[b"x"] * 100)
    consume(rig, credit=1_000)
    assert len(bodies(update(rig, max_per_second=None))) == 99


# One consumer


def test_of_an_exclusive_queue_the_first_consumer_takes_and_the_next_takes_over(
    rig: NodeRig,
) -> None:
    rig.hello(OTHER)
    declare(rig, exclusive=True)
    consume(rig, credit=1)
    consume(rig, peer=OTHER)
    assert bodies(put(rig, b"a", b"b")) == [b"a"]
    assert [c["active"] for c in rig.stats("q")["consumer_list"]] == [True, False]
    rig.command(PEER, "cancel", consumer=1)
    assert bodies(rig.run(), OTHER) == [b"b"]


@pytest.mark.parametrize("end", ["bye", "silence"])
def test_the_next_consumer_takes_over_when_a_session_ends(rig: NodeRig, end: str) -> None:
    rig.hello(OTHER, timeout_ms=1_000)
    declare(rig, exclusive=True)
    consume(rig, peer=OTHER)
    consume(rig)
    sent = put(rig, b"a")
    assert bodies(sent, OTHER) == [b"a"]
    if end == "bye":
        rig.command(OTHER, "bye")
        assert bodies(rig.run()) == [b"a"]
    else:
        assert bodies(rig.pass_time(1_000)) == [b"a"]
    assert bodies(put(rig, b"b")) == [b"b"]


def test_an_active_consumer_that_held_nothing_is_followed_too(rig: NodeRig) -> None:
    rig.hello(OTHER)
    declare(rig, exclusive=True)
    consume(rig, peer=OTHER, credit=0)
    consume(rig)
    assert bodies(put(rig, b"a")) == []
    rig.command(OTHER, "bye")
    assert bodies(rig.run()) == [b"a"]


def test_a_takeover_leaves_to_the_former_what_it_holds(rig: NodeRig) -> None:
    rig.hello(OTHER)
    declare(rig, exclusive=True)
    consume(rig, credit=1)
    consume(rig, peer=OTHER)
    sent = put(rig, b"a", b"b")
    rig.command(PEER, "cancel", consumer=1)
    assert bodies(rig.run(), OTHER) == [b"b"]
    assert [s["count"] for s in settle_all(rig, sent)] == [1]


def test_a_get_on_an_exclusive_queue_is_refused(rig: NodeRig) -> None:
    declare(rig, exclusive=True)
    rig.put("q", b"a")
    assert rig.get("q").code == ExclusiveQueue.code


def test_a_queue_becomes_exclusive_and_open_again(rig: NodeRig) -> None:
    rig.hello(OTHER)
    waiting = rig.command(PEER, "get", queue="q", max=1, timeout_ms=9_000)
    consume(rig)
    consume(rig, peer=OTHER)
    refused = [s for s in update(rig, exclusive=True) if s.req == waiting]
    assert [s.code for s in refused] == [ExclusiveQueue.code]
    for _ in range(2):
        assert len(bodies(put(rig, b"a"))) == 1
    update(rig, exclusive=False)
    served = [len(bodies(put(rig, b"a"), OTHER)) for _ in range(2)]
    assert sorted(served) == [0, 1]


# Priorities of consumers


def test_consumers_of_the_highest_priority_come_first_while_they_have_credit(
    rig: NodeRig,
) -> None:
    for peer in (OTHER, THIRD):
        rig.hello(peer)
    consume(rig, credit=100)
    consume(rig, peer=OTHER, credit=2, priority=5)
    consume(rig, peer=THIRD, credit=2, priority=100)
    sent = [reply for n in range(5) for reply in put(rig, b"%d" % n)]
    assert bodies(sent, THIRD) == [b"0", b"1"]
    assert bodies(sent, OTHER) == [b"2", b"3"]
    assert bodies(sent) == [b"4"]
    rig.command(THIRD, "credit", consumer=1, messages=1)
    rig.run()
    assert bodies(put(rig, b"5"), THIRD) == [b"5"]


def test_consumers_of_one_priority_are_served_in_turn(rig: NodeRig) -> None:
    for peer in (OTHER, THIRD):
        rig.hello(peer)
    consume(rig, credit=100, priority=-100)
    consume(rig, peer=OTHER, credit=100, priority=7)
    consume(rig, peer=THIRD, credit=100, priority=7)
    peers = []
    for _ in range(4):
        peers += [s.peer for s in put(rig, b"a") if s.re == "messages"]
    assert peers == [OTHER, THIRD] * 2
    shared = put(rig, *[b"x"] * 10)
    assert [len(bodies(shared, peer)) for peer in (OTHER, THIRD, PEER)] == [5, 5, 0]


def test_a_priority_has_bounds(rig: NodeRig) -> None:
    for priority in (-101, 101, 1.5, "1"):
        refused = rig.ask(PEER, "consume", queue="q", consumer=1, priority=priority)
        assert refused["error"] == "bad_field"


def test_queues_without_such_settings_have_no_flow(rig: NodeRig) -> None:
    rig.put("q", b"a")
    assert isinstance(rig.queue("q"), Queue)
    assert rig.queue("q").flow is None


# Alarms


@pytest.mark.parametrize("reason", ["memory: 3 MiB in use", "disk: 1 MiB free"])
def test_in_an_alarm_puts_are_refused_and_consumers_go_on(rig: NodeRig, reason: str) -> None:
    rig.put("q", b"a", b"b")
    rig.node.set_alarm(reason)
    refused = rig.put("q", b"c")
    assert (refused.code, refused["text"]) == (ResourceAlarm.code, reason)
    sent = consume(rig)
    assert bodies(sent) == [b"a", b"b"]
    settle_all(rig, sent)
    assert rig.stats("q")["messages"] == 0
    rig.node.set_alarm(None)
    assert bodies(put(rig, b"c")) == [b"c"]


# Over restarts


def test_what_is_taken_again_after_a_restart_may_exceed_the_bound(rig: NodeRig) -> None:
    declare(rig, max_in_flight=1)
    rig.put("q", b"low")
    held = rig.get("q")
    rig.put("q", b"high", priority=9)
    rig.crash()
    rig.hello()
    rig.hello(OTHER)
    assert rig.get("q", peer=OTHER).bodies() == [b"high"]
    fields = {"queue": "q", "tag": held["tag"], "ranges": held.ranges()}
    assert rig.ask(PEER, "extend", **fields)["held"] == held.ranges()
    assert rig.stats("q")["in_flight"] == 2
    rig.put("q", b"third")
    assert rig.settle("ack", held)["count"] == 1
    assert rig.get("q").messages() == []


@pytest.mark.parametrize("end", ["crash", "restart"])
def test_bounds_hold_again_after_a_restart(rig: NodeRig, end: str) -> None:
    declare(rig, max_in_flight=2, exclusive=True)
    rig.put("q", *[b"x"] * 9)
    assert len(bodies(consume(rig))) == 2
    getattr(rig, end)()
    rig.hello()
    rig.hello(OTHER)
    assert len(bodies(consume(rig))) == 2
    assert consume(rig, peer=OTHER)[0].re == "ok"
    assert [c["active"] for c in rig.stats("q")["consumer_list"]] == [True, False]
