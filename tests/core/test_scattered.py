"""Messages that come due one by one, many at a time: in their order, once, and weighed exactly."""

from __future__ import annotations

import random

import msgpack
import pytest

from broker.protocol.batches import cut_elements, element_offsets
from tests.support.node_rig import PEER, Delivered, NodeRig, Sent

SECOND = 1_000
#: So long that a stored part holds a few.
BODY_BYTES = 400


def body_of(number: int) -> bytes:
    return number.to_bytes(4, "big") * (BODY_BYTES // 4)


def put_scattered(rig: NodeRig, batches: int, count: int, **fields: object) -> dict[bytes, int]:
    """Puts batches whose instants lie within a second; body -> its instant."""
    draw = random.Random(batches)
    instants: dict[bytes, int] = {}
    for batch in range(batches):
        bodies = [body_of(batch * count + index) for index in range(count)]
        at = [rig.now + draw.randrange(1, SECOND) for _ in bodies]
        instants.update(zip(bodies, at, strict=True))
        frames = (msgpack.packb({"at_ms": at}), msgpack.packb(bodies))
        rig.ask(PEER, "put", *frames, queue="q", count=count, **fields)
    return instants


def take_all(rig: NodeRig, step: int, most: int = 1_000) -> list[list[Delivered]]:
    """What each delivery brought over a second; each is acked as a whole."""
    deliveries: list[list[Delivered]] = []
    for _ in range(0, SECOND, step):
        rig.pass_time(step)
        while (delivery := rig.get("q", most)).messages():
            deliveries.append(delivery.messages())
            assert rig.settle("ack", delivery).re == "ok"
    return deliveries


@pytest.mark.parametrize("step", [50, 400])
@pytest.mark.parametrize("most", [7, 1_000])
def test_each_comes_once_and_no_sooner_and_leaves_nothing(
    rig: NodeRig, step: int, most: int
) -> None:
    instants = put_scattered(rig, 8, 30)
    seen: list[bytes] = []
    for _ in range(0, SECOND, step):
        rig.pass_time(step)
        waiting = sorted(body for body, at in instants.items() if at <= rig.now)
        expected = [body for body in waiting if body not in set(seen)]
        found: list[bytes] = []
        while (delivery := rig.get("q", most)).messages():
            assert len(delivery.messages()) <= most
            found += delivery.bodies()
            assert rig.settle("ack", delivery).re == "ok"
        # In the order of their positions, which is that of the bodies.
        assert found == expected
        seen += found
    assert sorted(seen) == sorted(instants)
    stats = rig.stats("q")
    assert (stats["messages"], stats["bytes"], stats["in_flight"]) == (0, 0, 0)


def test_parts_of_a_delivery_are_settled_in_different_ways(rig: NodeRig) -> None:
    put_scattered(rig, 6, 30, priority=7)
    rig.pass_time(200)
    delivery = rig.get("q")
    ranges = delivery.ranges()
    assert len(ranges) > 8
    assert {message.priority for message in delivery.messages()} == {7}
    assert rig.settle("nack", delivery, ranges=ranges[::3], delay_ms=0).re == "ok"
    assert rig.settle("ack", delivery, ranges=ranges[1::3]).re == "ok"
    assert rig.settle("ack", delivery, ranges=ranges[2::3]).re == "ok"
    lost = rig.settle("ack", delivery, ranges=ranges[1::3])
    assert (lost.re, lost["lost"]) == ("failed", ranges[1::3])
    again = [message for each in take_all(rig, 100) for message in each if message.attempts]
    assert [message.position for message in again] == [
        first + index for first, count, _ in ranges[::3] for index in range(count)
    ]
    stats = rig.stats("q")
    assert (stats["messages"], stats["bytes"]) == (0, 0)


def test_a_range_named_twice_in_one_settle_is_held_once(rig: NodeRig) -> None:
    put_scattered(rig, 6, 30)
    rig.pass_time(200)
    delivery = rig.get("q")
    ranges = delivery.ranges()
    answer = rig.settle("ack", delivery, ranges=[*ranges, ranges[3]])
    assert (answer.re, answer["lost"]) == ("failed", [ranges[3]])


def test_what_was_in_flight_at_a_crash_comes_again(rig: NodeRig) -> None:
    instants = put_scattered(rig, 6, 30)
    rig.pass_time(300)
    delivery = rig.get("q")
    ranges = delivery.ranges()
    assert rig.settle("ack", delivery, ranges=ranges[::2]).re == "ok"
    gone = {first + index for first, count, _ in ranges[::2] for index in range(count)}
    rig.crash()
    rig.hello()
    rest = [message.position for each in take_all(rig, 100) for message in each]
    assert sorted(rest) == sorted(set(range(len(instants))) - gone)
    assert rig.stats("q")["bytes"] == 0


def test_they_are_taken_by_a_consumer_without_settling(rig: NodeRig) -> None:
    instants = put_scattered(rig, 6, 30)
    grant = {"credit": 1_000, "credit_bytes": 1 << 20}
    rig.ask(PEER, "consume", queue="q", consumer=1, auto_ack=True, **grant)
    sent: list[Sent] = []
    for _ in range(10):
        sent += [each for each in rig.pass_time(100) if each.re == "messages"]
    assert sorted(body for each in sent for body in each.bodies()) == sorted(instants)
    assert rig.stats("q")["messages"] == 0


def test_those_with_columns_and_plain_ones_come_in_one_order(rig: NodeRig) -> None:
    at = [rig.now + SECOND + index % 2 for index in range(30)]
    bodies = [body_of(index) for index in range(30)]
    for columns in ({}, {"ids": [f"id-{index}" for index in range(30)]}, {}):
        frames = (msgpack.packb({"at_ms": at, **columns}), msgpack.packb(bodies))
        rig.ask(PEER, "put", *frames, queue="q", count=30)
    rig.pass_time(SECOND)
    found: list[int] = []
    while (delivery := rig.get("q")).messages():
        found += delivery.positions()
        assert rig.settle("ack", delivery).re == "ok"
    assert found == list(range(0, 90, 2))


@pytest.mark.parametrize("header", [b"x", b"x" * 255, b"x" * 256, [b"x", {"a": 1}], "text"])
def test_an_element_is_cut_as_its_offsets_say(header: object) -> None:
    elements = [b"", header, b"y" * 300, header]
    frame = msgpack.packb(elements)
    offsets = element_offsets(frame, 4)
    for low in range(4):
        for high in range(low + 1, 5):
            cut = cut_elements(frame, low, high - low, 4)
            assert cut == frame[offsets[low] : offsets[high]]
