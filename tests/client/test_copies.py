"""A message in hand that the next reign delivers once more: handed out again only if it must be."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from broker.client.credit import CreditWindow
from broker.client.delivery import Part
from broker.client.ledger import ACK, REJECT, SettleKind
from tests.client.cluster_rig import ClusterRig, Q, connected, told
from tests.client.conftest import Connect
from tests.client.rig import Sent
from tests.client.scripted_cluster import ScriptedCluster
from tests.support.waiting import wait_until

NACK = SettleKind("nack")
FREE_NACK = SettleKind("nack", charge=False)


def consume(rig: ClusterRig, credit: int = 10, *, auto_ack: bool = False) -> Any:
    consumer = rig.session.consumers.add(Q, CreditWindow(credit), None, auto_ack, 1)
    (sent,) = rig.at("a", "consume")
    rig.reply(sent, epoch=1)
    return consumer


def take(rig: ClusterRig, consumer: Any, limit: int = 100) -> list[Part]:
    return rig.session.consumers.take(consumer, limit, rig.now)


def positions(parts: list[Part]) -> list[int]:
    return [run.first + index for run, start, stop in parts for index in range(start, stop)]


def settle(rig: ClusterRig, part: Part, index: int = 0, kind: SettleKind = ACK) -> Sent:
    run, start, _ = part
    run.ledger.settle(kind, run, start + index)
    rig.session.settles.flush()
    (sent,) = rig.at("a", kind.command)
    return sent


def copied(count: int = 1, held: int | None = None) -> tuple[ClusterRig, Any, list[Part]]:
    """Some messages are in hand; then the new owner delivers them all once more through ``a``."""
    rig = connected()
    consumer = consume(rig)
    rig.deliver([b"x"] * count, tag=rig.tag())
    parts = take(rig, consumer, count if held is None else held)
    rig.move(Q, "b")
    rig.deliver([b"x"] * count, tag=rig.tag())
    return rig, consumer, parts


@pytest.mark.parametrize("kind", [ACK, REJECT, NACK, FREE_NACK])
def test_a_copy_of_what_is_in_hand_waits_and_is_dropped_when_that_is_settled(
    kind: SettleKind,
) -> None:
    rig, consumer, (part,) = copied()
    assert take(rig, consumer) == []
    assert not consumer.has_news
    sent = settle(rig, part, kind=kind)
    assert take(rig, consumer) == []
    rig.reply(sent, count=1)
    assert take(rig, consumer) == []
    assert rig.session.counters.messages_stale == 1
    assert rig.session.counters.leases_lost == 0


def test_a_copy_is_handed_out_when_the_settle_of_the_older_one_is_refused() -> None:
    rig, consumer, (part,) = copied(2)
    assert take(rig, consumer) == []
    rig.refuse(settle(rig, part, 1), "lease_lost", lost=[[1, 1, 0]])
    assert consumer.has_news
    (copy,) = take(rig, consumer)
    assert positions([copy]) == [1]
    sent = settle(rig, copy)
    assert sent["tag"] == rig.tag()
    assert rig.session.counters.messages_stale == 0


def test_of_a_settle_that_counted_in_part_the_other_part_is_handed_out() -> None:
    rig, consumer, (part,) = copied(4)
    run, start, stop = part
    run.ledger.settle_parts(ACK, [(run, start, stop)])
    rig.session.settles.flush()
    (ack,) = rig.at("a", "ack")
    rig.refuse(ack, "lease_lost", lost=[[1, 2]])
    assert positions(take(rig, consumer)) == [1, 2]
    assert rig.session.counters.messages_stale == 2


def test_what_came_beside_the_copies_is_handed_out_at_once() -> None:
    rig = connected()
    consumer = consume(rig)
    rig.deliver([b"x"] * 2, first=3, tag=rig.tag())
    kept = take(rig, consumer)
    rig.move(Q, "b")
    rig.deliver([b"x"] * 6, tag=rig.tag())
    assert positions(take(rig, consumer)) == [0, 1, 2, 5]
    assert kept


def test_a_settle_that_passes_later_keeps_its_copy_waiting_until_then() -> None:
    rig, consumer, (part,) = copied()
    rig.refuse(settle(rig, part), "not_primary")
    assert take(rig, consumer) == []
    rig.after(500)
    again, *_ = rig.at("a")
    rig.reply(again, count=1)
    assert take(rig, consumer) == []
    assert rig.session.counters.messages_stale == 1


def test_what_was_settled_before_its_copy_came_is_not_handed_out_again() -> None:
    rig = connected()
    consumer = consume(rig)
    rig.deliver([b"x"] * 2, tag=rig.tag())
    (part,) = take(rig, consumer)
    acked = settle(rig, part, 0)
    part[0].ledger.ack(part[0], 1)
    rig.move(Q, "b")
    rig.deliver([b"x"] * 3, tag=rig.tag())
    assert positions(take(rig, consumer)) == [2]
    rig.reply(acked, count=1)
    rig.session.settles.flush()
    for sent in rig.at("a"):
        rig.reply(sent, count=1)
    assert take(rig, consumer) == []
    assert rig.session.counters.messages_stale == 2


def test_a_message_that_comes_again_after_a_nack_is_no_copy() -> None:
    rig, consumer, (part,) = copied()
    assert take(rig, consumer) == []
    sent = settle(rig, part, kind=NACK)
    run = {"first": 0, "count": 1, "attempts": 1}
    header = {"v": 1, "re": "messages", "queue": Q, "tag": rig.tag(), "runs": [run]}
    rig.receive({**header, "consumer": 1}, [b"x"])
    rig.reply(sent, count=1)
    ((again, _, _),) = take(rig, consumer)
    assert again.attempts == 1


def test_a_free_nack_is_followed_by_its_message_though_the_confirm_comes_after() -> None:
    rig = connected()
    consumer = consume(rig)
    rig.deliver([b"x"], tag=rig.tag())
    (part,) = take(rig, consumer)
    rig.move(Q, "b")
    sent = settle(rig, part, kind=FREE_NACK)
    rig.deliver([b"x"], tag=rig.tag())
    rig.reply(sent, count=1)
    assert positions(take(rig, consumer)) == [0]


def test_copies_of_what_another_consumer_settles_meanwhile_are_dropped() -> None:
    rig = connected()
    one, two = consume(rig), consume(rig)
    rig.deliver([b"x"] * 2, tag=rig.tag())
    (part,) = take(rig, one)
    rig.move(Q, "b")
    rig.deliver([b"x"] * 2, tag=rig.tag(), consumer=two.number)
    rig.reply(settle(rig, part, 0), count=1)
    assert positions(take(rig, two)) == [1]
    assert rig.session.counters.messages_stale == 1


def test_what_auto_ack_delivers_is_handed_out_whoever_holds_it() -> None:
    rig = connected()
    one, two = consume(rig), consume(rig, auto_ack=True)
    rig.deliver([b"x"], tag=rig.tag())
    (part,) = take(rig, one)
    rig.move(Q, "b")
    rig.deliver([b"x"], tag=rig.tag(), consumer=two.number)
    rig.refuse(settle(rig, part), "lease_lost", lost=[[0, 1, 0]])
    assert positions(take(rig, two)) == [0]


def test_an_older_delivery_that_nobody_can_settle_any_more_sets_its_copy_free() -> None:
    rig, consumer, parts = copied()
    assert take(rig, consumer) == []
    rig.after(0)
    parts.clear()
    gc.collect()
    rig.after(500)
    assert consumer.has_news
    assert positions(take(rig, consumer)) == [0]


def test_dropped_copies_give_their_credit_back() -> None:
    rig, consumer, (part,) = copied(5)
    assert take(rig, consumer) == []
    run, start, stop = part
    run.ledger.settle_parts(ACK, [(run, start, stop)])
    assert take(rig, consumer) == []
    (ack,) = rig.at("a")
    rig.reply(ack, count=5)
    (credit,) = rig.at("a", "credit")
    assert ack["credit"] + credit["messages"] == 10
    window = consumer.window
    assert (window.at_broker, window.prefetched, window.in_hand) == (10, 0, 0)
    assert window.prefetched_bytes == 0
    assert not consumer.has_copies


def test_a_copy_of_what_is_held_is_not_given_back_by_a_consumer_that_leaves() -> None:
    rig, consumer, (part,) = copied(2)
    rig.deliver([b"y"], first=2, tag=rig.tag())
    rig.session.consumers.leave(consumer)
    nack, cancel = rig.at("a")
    assert (nack["ranges"], cancel.cmd) == ([[2, 1, 0]], "cancel")
    rig.reply(nack, count=1)
    rig.reply(cancel)
    rig.reply(settle(rig, part, 0), count=1)
    assert rig.at("a") == []
    rig.refuse(settle(rig, part, 1), "lease_lost", lost=[[1, 1, 0]])
    assert told(rig.at("a"), "ranges", "charge") == [("nack", [[1, 1, 0]], False)]
    assert rig.session.counters.messages_stale == 1


def test_a_message_that_is_held_over_a_new_reign_is_handed_out_once(connect: Connect) -> None:
    with ScriptedCluster() as cluster:
        mq = connect(cluster.address)
        orders = mq.queue("orders")
        orders.put_many([b"a", b"b"]).wait(10)
        loop = orders.consume(credit=6, timeout=10)
        first = next(loop)
        cluster.deliver_again("orders")
        wait_until(lambda: mq.counters["messages_delivered"] == 4, "the copies are here")
        first.ack(wait=True)
        second = next(loop)
        assert second.body == b"b"
        second.ack()
        orders.put(b"c").wait(10)
        third = next(loop)
        assert third.body == b"c"
        third.ack(wait=True)
        wait_until(lambda: mq.counters["settles_confirmed"] == 3, "all are settled")
        loop.close()
        assert mq.counters["messages_stale"] == 2
        assert mq.counters["leases_lost"] == 0
        assert cluster.bodies("orders") == []
