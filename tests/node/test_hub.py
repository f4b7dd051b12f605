"""What a broker does between a channel and its subscribers, with nobody else in the cluster."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker import limits
from broker.limits import ECHO_WAIT, FANOUT_BYTES, HEADS_EVERY, HEADS_IDLE, HEADS_PAUSE
from tests.support.channels import Event, declare, heard, listen, publish, send_publish
from tests.support.node_rig import PEER, NodeRig, Sent

OTHER = b"\0othr"


def subscribe(rig: NodeRig, *patterns: str, peer: bytes = PEER) -> None:
    """Numbered from 1 in their order."""
    for number, pattern in enumerate(patterns, start=1):
        assert rig.ask(peer, "subscribe", pattern=pattern, sub=number).re == "ok"


def count(rig: NodeRig, channel: str) -> int:
    number: int = publish(rig, channel, b"x")["subscriptions"]
    return number


def heads(sent: list[Sent], peer: bytes = PEER) -> list[list[Any]]:
    return [
        head for each in sent if each.re == "heads" and each.peer == peer for head in each["heads"]
    ]


def rest(rig: NodeRig) -> list[Sent]:
    """Until what changed is told."""
    return rig.pass_time(HEADS_PAUSE)


# Who listens


def test_what_nobody_listens_to_goes_nowhere(rig: NodeRig) -> None:
    assert count(rig, "orders") == 0
    assert rig.published == []


def test_a_publish_tells_how_many_subscriptions_match(rig: NodeRig) -> None:
    rig.hello(OTHER)
    subscribe(rig, "orders.eu", "orders.*", ">", "bills.>")
    subscribe(rig, "orders.*", peer=OTHER)
    assert count(rig, "orders.eu") == 4
    assert count(rig, "orders.us") == 3
    assert count(rig, "orders") == 1
    rig.ask(PEER, "unsubscribe", sub=2)
    assert count(rig, "orders.eu") == 3


def test_raw_subscribers_count_beyond_those_that_are_registered(rig: NodeRig) -> None:
    for _ in range(3):
        rig.node.note_subscription(b"orders\0", True)
    assert count(rig, "orders") == 3
    # One of the three connections is this session's.
    subscribe(rig, "orders")
    assert count(rig, "orders") == 3
    rig.node.note_subscription(b"", True)
    assert count(rig, "orders") == 4
    for _ in range(3):
        rig.node.note_subscription(b"orders\0", False)
    assert count(rig, "orders") == 2


def test_one_connection_answers_for_all_patterns_of_a_session_with_its_prefix(
    rig: NodeRig,
) -> None:
    rig.node.note_subscription(b"a.", True)
    rig.node.note_subscription(b"a.", True)
    subscribe(rig, "a.*.c", "a.*.d")
    assert count(rig, "a.b.c") == 2
    assert count(rig, "a.b.x") == 1


def test_subscriptions_end_with_their_session(rig: NodeRig) -> None:
    rig.hello(OTHER)
    subscribe(rig, "a", "b", peer=OTHER)
    rig.ask(OTHER, "bye")
    assert (count(rig, "a"), count(rig, "b")) == (0, 0)
    rig.hello(OTHER)
    subscribe(rig, "a", peer=OTHER)


def test_subscriptions_of_a_silent_session_end_too(rig: NodeRig) -> None:
    rig.hello(OTHER, timeout_ms=1_000)
    subscribe(rig, "a", peer=OTHER)
    rig.pass_time(1_001)
    assert count(rig, "a") == 0


@pytest.mark.parametrize(
    ("command", "fields", "error"),
    [
        ("subscribe", {"pattern": "a", "sub": 1}, "subscription_exists"),
        ("subscribe", {"pattern": "a..b", "sub": 2}, "bad_pattern"),
        ("subscribe", {"pattern": ">.b", "sub": 2}, "bad_pattern"),
        ("unsubscribe", {"sub": 2}, "subscription_not_found"),
        ("dropped", {"sub": 2, "count": 1}, "subscription_not_found"),
        ("echo", {"topic": b"orders\0"}, "bad_field"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    rig: NodeRig, command: str, fields: dict[str, Any], error: str
) -> None:
    subscribe(rig, "a")
    assert rig.ask(PEER, command, **fields)["error"] == error


def test_a_session_has_so_many_subscriptions_and_no_more(
    rig: NodeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SUBSCRIPTIONS_PER_SESSION_MAX", 2)
    subscribe(rig, "a", "b")
    assert rig.ask(PEER, "subscribe", pattern="c", sub=3)["error"] == "limit_reached"
    rig.ask(PEER, "unsubscribe", sub=1)
    assert rig.ask(PEER, "subscribe", pattern="c", sub=3).re == "ok"


def test_a_broker_has_so_many_subscriptions_and_no_more(
    rig: NodeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SUBSCRIPTIONS_MAX", 2)
    rig.hello(OTHER)
    subscribe(rig, "a", "b")
    assert rig.ask(OTHER, "subscribe", pattern="c", sub=1)["error"] == "limit_reached"


def test_the_brokers_own_channels_are_heard_by_who_names_them(rig: NodeRig) -> None:
    subscribe(rig, ">", "$sys.>")
    rig.hello(OTHER, timeout_ms=1_000)
    rig.pass_time(1_001)
    told = rest(rig)
    assert [name for name, *_ in heads(told)] == ["$sys.session.lost"]


# What leaves


def test_a_multipart_has_the_topic_a_header_and_the_batch(rig: NodeRig) -> None:
    listen(rig)
    publish(rig, "orders", b"x", [b"y", {"h": 1}], content_type="text/plain", type="t", key="k")
    [[topic, header, batch]] = rig.published
    assert topic == b"orders\0"
    assert msgpack.unpackb(header) == {
        "v": 1,
        "first": 1 << 40,
        "count": 2,
        "epoch": 1,
        "at": rig.now,
        "content_type": "text/plain",
        "type": "t",
        "key": "k",
    }
    assert msgpack.unpackb(batch) == [b"x", [b"y", {"h": 1}]]


def test_publishes_of_one_turn_that_agree_leave_together(rig: NodeRig) -> None:
    listen(rig)
    for body in (b"1", b"2"):
        send_publish(rig, "a", body)
    send_publish(rig, "b", b"x")
    send_publish(rig, "a", b"3")
    send_publish(rig, "a", b"4", type="t")
    rig.run()
    counts = [msgpack.unpackb(header)["count"] for _, header, _ in rig.published]
    assert counts == [3, 1, 1]
    base = 1 << 40
    assert heard(rig, "a") == [Event(base + n, b"%d" % (n + 1)) for n in range(4)]


def test_a_large_batch_leaves_in_parts(rig: NodeRig) -> None:
    listen(rig)
    bodies = [bytes([n]) * (FANOUT_BYTES // 3) for n in range(7)]
    ids = list(range(7))
    frames = [msgpack.packb({"ids": [str(n) for n in ids]}), msgpack.packb(bodies)]
    rig.ask(PEER, "publish", *frames, channel="a", count=7)
    assert all(len(multipart[-1]) <= FANOUT_BYTES for multipart in rig.published)
    assert [event.body for event in heard(rig, "a")] == bodies
    base = 1 << 40
    assert [event.sequence for event in heard(rig, "a")] == [base + n for n in ids]
    columns = [msgpack.unpackb(columns)["ids"] for _, _, columns, _ in rig.published]
    assert [each for part in columns for each in part] == [str(n) for n in ids]
    assert len(rig.published) == 4


def test_a_message_that_is_larger_than_a_part_leaves_whole(rig: NodeRig) -> None:
    listen(rig)
    bodies = [b"s", b"L" * (2 * FANOUT_BYTES), b"s"]
    publish(rig, "a", *bodies)
    assert [event.body for event in heard(rig, "a")] == bodies
    assert len(rig.published) == 3


def test_what_is_kept_leaves_only_once_it_is_committed(rig: NodeRig) -> None:
    declare(rig, "a", history_messages=10, durable=True)
    listen(rig)
    send_publish(rig, "a", b"x")
    rig.turn()
    assert rig.published == []
    rig.sync()
    rig.turn()
    assert heard(rig, "a") == [Event(0, b"x")]


def test_only_what_somebody_subscribed_leaves(rig: NodeRig) -> None:
    rig.node.note_subscription(b"orders\0", True)
    publish(rig, "orders2", b"x")
    assert rig.published == []
    publish(rig, "orders", b"x")
    assert len(rig.published) == 1
    rig.node.note_subscription(b"orders\0", False)
    publish(rig, "orders", b"x")
    assert len(rig.published) == 1


# Heads


def test_heads_of_matching_channels_are_told_once_they_rest(rig: NodeRig) -> None:
    subscribe(rig, "a.>")
    publish(rig, "a.b", b"x", b"y")
    publish(rig, "c", b"x")
    assert heads(rig.pass_time(HEADS_IDLE - 1)) == []
    assert heads(rig.pass_time(1)) == [["a.b", 1, (1 << 40) + 2]]
    # What does not change is not told again.
    assert heads(rig.pass_time(10 * HEADS_EVERY)) == []


def test_heads_are_told_each_second_while_a_channel_never_rests(rig: NodeRig) -> None:
    subscribe(rig, "a")
    told: list[int] = []
    step = HEADS_IDLE // 2
    for _ in range(3 * HEADS_EVERY // step):
        publish(rig, "a", b"x")
        told += [head[2] for head in heads(rig.pass_time(step))]
    assert len(told) == 2 or len(told) == 3
    assert told == sorted(told)


def test_heads_go_to_sessions_with_a_pattern_that_matches_and_to_no_other(rig: NodeRig) -> None:
    rig.hello(OTHER)
    subscribe(rig, "a", "*")
    subscribe(rig, "b", peer=OTHER)
    publish(rig, "a", b"x")
    told = rest(rig)
    assert len(heads(told)) == 1
    assert heads(told, OTHER) == []


def test_many_heads_are_told_in_parts(rig: NodeRig) -> None:
    subscribe(rig, ">")
    names = [f"{'long' * 30}.{number}" for number in range(300)]
    for name in names:
        send_publish(rig, name, b"x", req=None)
    told = rig.run() + rest(rig)
    assert sorted(name for name, *_ in heads(told)) == sorted(names)
    parts = [each for each in told if each.re == "heads"]
    assert len(parts) > 1
    assert max(len(each.raw[0]) for each in parts) < limits.HEADER_BYTES_MAX


def test_the_head_of_a_channel_that_began_again_says_where(rig: NodeRig) -> None:
    declare(rig, "a", history_messages=10)
    subscribe(rig, "a")
    publish(rig, "a", b"x")
    rig.ask(PEER, "delete_channel", channel="a")
    publish(rig, "a", b"y")
    [[name, epoch, following, start]] = heads(rest(rig))
    assert (name, epoch, following) == ("a", 1, start + 1)


# Echoes


def test_an_echo_comes_back_when_its_topic_is_subscribed(rig: NodeRig) -> None:
    rig.node.note_subscription(b"$sync.1", True)
    assert rig.ask(PEER, "echo", topic=b"$sync.1").re == "ok"
    assert rig.published == [[b"$sync.1"]]


def test_an_echo_waits_for_the_subscription_of_its_topic(rig: NodeRig) -> None:
    req = rig.command(PEER, "echo", topic=b"$sync.1")
    assert rig.run() == []
    rig.node.note_subscription(b"$sync.2", True)
    assert rig.run() == []
    rig.node.note_subscription(b"$sync.1", True)
    assert [each.req for each in rig.run()] == [req]
    assert rig.published == [[b"$sync.1"]]


def test_an_echo_without_its_subscription_is_answered_all_the_same(rig: NodeRig) -> None:
    req = rig.command(PEER, "echo", topic=b"$sync.1")
    assert rig.pass_time(ECHO_WAIT - 1) == []
    assert [each.req for each in rig.pass_time(1)] == [req]


def test_echo_topics_are_nobodys_subscriptions(rig: NodeRig) -> None:
    rig.node.note_subscription(b"$sync.1", True)
    assert count(rig, "a") == 0


# Raw publishers


def test_a_raw_publish_is_a_publish_that_nobody_confirms(rig: NodeRig) -> None:
    listen(rig)
    rig.node.receive_raw(rig.now, [b"a", b"body"])
    rig.node.receive_raw(rig.now, [b"a", b"body", msgpack.packb({"h": 1})])
    assert rig.run() == []
    assert [event.body for event in heard(rig, "a")] == [b"body", [b"body", {"h": 1}]]
    assert rig.node.counters["raw_published"] == 2


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], "not_an_envelope"),
        ([b"a"], "not_an_envelope"),
        ([b"a", b"b", b"\x80", b"d"], "not_an_envelope"),
        ([b"", b"x"], "name_not_allowed"),
        ([b"a b", b"x"], "name_not_allowed"),
        ([b"\xff", b"x"], "name_not_allowed"),
        ([b"$sys.alarm", b"x"], "name_not_allowed"),
        ([b"a\0", b"x"], "name_not_allowed"),
        ([b"a.*", b"x"], "name_not_allowed"),
        ([b"a", b"x", b"\xc1"], "bad_field"),
        ([b"a", b"x", b"\x90"], "bad_field"),
        ([b"a", b"x", b"\x81\x01\x02"], "bad_field"),
        ([b"a", b"x", b"\x80\x80"], "bad_field"),
        ([b"a", b"x", b"\x80" * (limits.HEADER_BYTES_MAX + 1)], "too_large"),
        ([b"a", b"x" * (limits.MESSAGE_BYTES_MAX + 1)], "too_large"),
    ],
)
def test_rubbish_from_a_raw_publisher_is_counted_by_its_reason(
    rig: NodeRig, frames: list[bytes], reason: str
) -> None:
    listen(rig)
    rig.node.receive_raw(rig.now, frames)
    assert rig.run() == []
    assert rig.published == []
    assert rig.node.counters[f"raw_{reason}"] == 1


def test_what_a_subscriber_could_not_repair_is_counted(rig: NodeRig) -> None:
    subscribe(rig, "a")
    assert rig.ask(PEER, "dropped", sub=1, count=7).re == "ok"
    assert rig.node.counters["messages_missed_by_subscribers"] == 7
