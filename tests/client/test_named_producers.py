"""A client under a producer's name: it begins before it puts, goes on behind the highest, and is
fenced by a newer one."""

from __future__ import annotations

import pytest

from broker.client.named_puts import NamedProducer, instance_of
from patterns import ConnectionLost, NameNotAllowed, ProducerFenced
from tests.client.conftest import Connect
from tests.client.rig import Rig, Sent
from tests.client.scripted_broker import ScriptedBroker


def named() -> Rig:
    return Rig(producer="billing", started_at_ms=1_000)


def begun(rig: Rig, highest: int = -1) -> Sent:
    """Answers the producer command that must be all that was sent."""
    sent = rig.only("producer")
    rig.reply(sent, highest=highest, instance=sent["instance"])
    return sent


def test_the_first_put_waits_for_the_instance_to_begin() -> None:
    rig = named()
    rig.put(b"a")
    sent = begun(rig)
    assert (sent["producer"], sent["queue"]) == (b"billing", "q")
    put = rig.only("put")
    assert (put["producer"], put["seq"]) == (b"billing", 0)
    assert put["instance"] == sent["instance"]


def test_it_goes_on_behind_the_highest() -> None:
    rig = named()
    rig.put(b"a")
    begun(rig, highest=41)
    first = rig.only("put")
    rig.reply(first, first=0, count=1, copies=1)
    rig.put(b"b")
    assert (first["seq"], rig.only("put")["seq"]) == (42, 43)


def test_each_queue_is_told_once() -> None:
    rig = named()
    rig.put(b"a")
    begun(rig)
    rig.sent("put")
    rig.put(b"a", queue="other")
    assert rig.only("producer")["queue"] == "other"


def test_after_a_reconnect_it_puts_on_under_the_same_sequences() -> None:
    rig = named()
    rig.put(b"a")
    begun(rig, highest=6)
    rig.sent("put")
    (again,) = rig.reconnect()
    assert (again.cmd, again["seq"]) == ("put", 7)


def test_a_beginning_whose_answer_is_lost_is_asked_again_with_the_same_number() -> None:
    rig = named()
    (batch,) = rig.put(b"a")
    first = rig.only("producer")
    (again,) = rig.reconnect()
    assert again.header | {"req": 0} == first.header | {"req": 0}
    rig.reply(again, highest=0, instance=again["instance"])
    rig.reply(rig.only("put"), first=1, count=1, copies=1)
    assert batch.done
    assert batch.error is None


def test_a_refusal_for_now_is_asked_again() -> None:
    rig = named()
    rig.put(b"a")
    rig.refuse(rig.only("producer"), "not_primary")
    rig.after(1_000)
    begun(rig)
    rig.only("put")


def test_a_clock_that_is_behind_does_not_fence_the_newer() -> None:
    rig = named()
    rig.put(b"a")
    sent = rig.only("producer")
    rig.refuse(sent, "producer_fenced", instance=instance_of(9_000, b"\xff\xff\xff"))
    assert begun(rig)["instance"] > instance_of(9_000, b"\xff\xff\xff")
    rig.only("put")


def test_an_instance_that_has_begun_is_fenced_for_good() -> None:
    rig = named()
    rig.put(b"a")
    begun(rig)
    rig.reply(rig.only("put"), first=0, count=1, copies=1)
    (other,) = rig.put(b"a", queue="other")
    rig.refuse(rig.only("producer"), "producer_fenced", instance=2**61)
    assert isinstance(other.error, ProducerFenced)
    (fenced,) = rig.put(b"b")
    rig.refuse(rig.only("put"), "producer_fenced")
    assert isinstance(fenced.error, ProducerFenced)


def test_a_queue_that_forgot_the_instance_is_told_again() -> None:
    rig = named()
    rig.put(b"a")
    begun(rig, highest=9)
    rig.reply(rig.only("put"), first=0, count=1, copies=1)
    (batch,) = rig.put(b"b")
    rig.refuse(rig.only("put"), "producer_expired")
    begun(rig)
    put = rig.only("put")
    assert put["seq"] == 0
    rig.reply(put, first=0, count=1, copies=1)
    assert batch.error is None


def test_a_put_that_waits_too_long_for_the_beginning_fails() -> None:
    rig = Rig(producer="billing", put_timeout_ms=5_000)
    (batch,) = rig.put(b"a")
    rig.after(6_000)
    assert isinstance(batch.error, ConnectionLost)


def test_of_two_that_start_at_once_one_is_the_newer() -> None:
    assert instance_of(5, b"\0\0\x20") != instance_of(5, b"\0\0\x40")
    assert instance_of(6, b"\0\0\0") > instance_of(5, b"\xff\xff\xff")
    assert instance_of(2**41 - 1, b"\xff\xff\xff") < 2**62


def test_to_outdo_keeps_the_chance() -> None:
    one, other = NamedProducer("p", instance_of(5, b"\0\0\x20")), NamedProducer("p", 7)
    for producer in (one, other):
        producer.outdo(instance_of(9, b"\xff\xff\xff"))
    assert one.instance != other.instance
    assert min(one.instance, other.instance) > instance_of(9, b"\xff\xff\xff")


def test_the_newest_client_of_a_name_fences_the_others(
    connect: Connect, broker: ScriptedBroker
) -> None:
    old = connect(producer="billing")
    old.queue("orders").put(b"a").wait(10)
    new = connect(producer="billing")
    new.queue("orders").put(b"b").wait(10)
    with pytest.raises(ProducerFenced):
        old.queue("orders").put(b"c").wait(10)
    assert broker.queue("orders").bodies == [b"a", b"b"]
    assert [put["seq"] for put in broker.commands("put")][:2] == [0, 1]


def test_a_producers_name_follows_the_grammar_of_names(connect: Connect) -> None:
    with pytest.raises(NameNotAllowed):
        connect(producer="$billing")
