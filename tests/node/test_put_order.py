"""A producer's batches stay in order when one of them is refused for a while."""

from __future__ import annotations

from typing import Any

import pytest

from broker.errors import NotEnoughReplicas, NotPrimary
from broker.limits import PUT_HELD_BACK, SECOND
from broker.model.commands import Put
from broker.node.put_order import PutOrder
from tests.support.cluster_rig import BrokerRig, ClusterRig
from tests.support.node_rig import PEER


def put(seq: int | None, queue: str = "q", producer: bytes | None = b"p") -> Put:
    return Put(req=1, queue=queue, count=1, producer=producer, seq=seq, priority=4)


def take(order: PutOrder, command: Put, now: int, *taken: int) -> None:
    """``taken`` are sequences that came to another owner of the slot."""
    order.require_turn(command, now, lambda _producer, _queue, sequence: sequence in taken)


def refused(sequence: int = 5, now: int = 0) -> PutOrder:
    order = PutOrder()
    order.note_refused(b"p", "q", sequence, now)
    return order


def test_what_is_behind_a_refused_batch_waits_for_it() -> None:
    order = refused()
    with pytest.raises(NotPrimary):
        take(order, put(6), 1)
    with pytest.raises(NotPrimary):
        take(order, put(7), 2)
    take(order, put(5), 3)
    take(order, put(6), 3)


def test_the_earliest_of_the_refused_comes_first() -> None:
    order = refused(5)
    order.note_refused(b"p", "q", 3, 0)
    order.note_refused(b"p", "q", 8, 0)
    with pytest.raises(NotPrimary):
        take(order, put(4), 1)
    take(order, put(3), 1)


def test_each_of_the_refused_comes_before_what_is_behind_it() -> None:
    order = refused(5)
    order.note_refused(b"p", "q", 6, 0)
    take(order, put(5), 1)
    with pytest.raises(NotPrimary):
        take(order, put(7), 2)
    take(order, put(6), 3)
    take(order, put(7), 3)


def test_a_refused_batch_that_came_to_another_owner_is_not_waited_for() -> None:
    take(refused(5), put(6), 1, 5)


def test_others_do_not_wait() -> None:
    order = refused()
    take(order, put(9, queue="other"), 1)
    take(order, put(9, producer=b"else"), 1)
    take(order, put(None, producer=None), 1)


def test_a_batch_that_was_given_up_is_waited_for_once_and_not_for_ever() -> None:
    order = refused(now=0)
    with pytest.raises(NotPrimary):
        take(order, put(6), PUT_HELD_BACK - 1)
    take(order, put(6), PUT_HELD_BACK)
    take(order, put(7), PUT_HELD_BACK)


def test_a_batch_behind_a_refused_one_does_not_lengthen_the_wait() -> None:
    """It is refused itself, and noted as such by whoever refuses it."""
    order = refused(5, now=0)
    order.note_refused(b"p", "q", 6, PUT_HELD_BACK - 1)
    take(order, put(6), PUT_HELD_BACK)


def test_a_producer_that_gives_up_each_refused_batch_is_served_again() -> None:
    """Each is refused for the one before; the first alone had a cause of its own."""
    order = refused(5, now=0)
    for seq in range(6, 6 + 2 * PUT_HELD_BACK // SECOND - 1):
        with pytest.raises(NotPrimary):
            take(order, put(seq), (seq - 5) * SECOND)
    take(order, put(99), 2 * PUT_HELD_BACK)


def test_what_is_over_is_forgotten() -> None:
    order = refused()
    assert order
    order.forget_old(PUT_HELD_BACK)
    assert not order


# In a cluster


@pytest.fixture
def cluster() -> ClusterRig:
    rig = ClusterRig()
    for broker in rig.living:
        broker.hello(timeout_ms=300_000)
    return rig


def send(broker: BrokerRig, *sequences: int) -> list[int]:
    """Puts that go out one after the other, as a producer that waits for none."""
    return [
        broker.command(
            PEER, "put", b"\x91\xc4\x01%d" % seq, queue="q", count=1, producer=b"p", seq=seq
        )
        for seq in sequences
    ]


def outcomes(broker: BrokerRig, requests: list[int]) -> list[str]:
    told = {s.req: str(s.header.get("error", s.re)) for s in broker.sent}
    return [told.get(req, "none") for req in requests]


def in_queue(cluster: ClusterRig) -> list[bytes]:
    got: list[Any] = cluster.primary().get("q").bodies()
    return got


def again(broker: BrokerRig, sequences: range) -> None:
    """As a producer does: it sends all that is not confirmed once more, in order."""
    for _ in range(20):
        requests = send(broker, *sequences)
        broker.pass_time(500)
        if outcomes(broker, requests) == ["ok"] * len(requests):
            return
    raise AssertionError(outcomes(broker, requests))


def test_batches_refused_for_want_of_replicas_come_in_order(cluster: ClusterRig) -> None:
    primary = cluster["a"]
    assert outcomes(primary, send(primary, 0)) == ["none"]
    cluster.run()
    cluster.kill("b")
    cluster.kill("c")
    cluster.pass_time(1_000)
    requests = send(primary, 1, 2)
    primary.run()
    assert outcomes(primary, requests) == [NotEnoughReplicas.name, NotPrimary.name]
    cluster.start("b")
    cluster.pass_time(1_500)
    late = send(primary, 3)
    primary.run()
    assert outcomes(primary, late) == [NotPrimary.name], "1 comes first"
    again(primary, range(1, 4))
    assert in_queue(cluster) == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("at", ["a", "b", "c"])
def test_batches_stay_in_order_over_a_takeover(cluster: ClusterRig, at: str) -> None:
    """T15, T14: some are of unknown outcome, some refused; sent again they appear once each."""
    sender = cluster[at]
    requests = send(sender, 0, 1)
    cluster.run()
    assert outcomes(sender, requests) == ["ok", "ok"]
    cluster.hold("c", "a")
    send(sender, 2, 3)
    cluster.run()
    cluster.part("a")
    cluster.bury("a")
    send(sender, 4)
    cluster.pass_time(1_500)
    late = send(sender, 5)
    sender.run()
    assert outcomes(sender, late) == [NotPrimary.name]
    if at == "a":
        sender = cluster["b"]
    again(sender, range(2, 7))
    assert in_queue(cluster) == [b"%d" % n for n in range(7)]
