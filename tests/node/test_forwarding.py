"""Clients of a broker that does not serve their queue: R17, from the first command to the last.

The client is at b, the queue's primary is a; its successor is b itself or c.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.cluster.messages import Answer, Forward, decode_link
from broker.core.books.tags import decode_tag
from broker.errors import LeaseLost, NotPrimary, OutcomeUnknown
from broker.limits import LINK_SILENCE_MAX
from tests.support.cluster_rig import BrokerRig, ClusterRig
from tests.support.node_rig import PEER, Sent

OTHER = b"\0othr"
BATCH = b"\x91\xc4\x01a"


@pytest.fixture
def cluster() -> ClusterRig:
    rig = ClusterRig()
    rig["b"].hello(timeout_ms=300_000)
    return rig


@pytest.fixture
def at_b(cluster: ClusterRig) -> BrokerRig:
    return cluster["b"]


def consume(broker: BrokerRig, credit: int = 4, **fields: Any) -> int:
    return broker.command(PEER, "consume", queue="q", consumer=1, credit=credit, **fields)


def deliveries(sent: list[Sent]) -> list[bytes]:
    return [
        body for s in sent if s.re == "messages" and s.header.get("consumer") for body in s.bodies()
    ]


def names(broker: BrokerRig, req: int) -> list[str]:
    return [s.header.get("error", s.re) for s in broker.sent if s.req == req]


# Commands and answers


def test_every_command_works_through_a_broker_that_is_not_primary(at_b: BrokerRig) -> None:
    """R17: any broker takes any command and passes it on."""
    assert at_b.ask(PEER, "declare", queue="q")["re"] == "ok"
    assert at_b.put("q", b"a", b"b", b"c")["count"] == 3
    assert at_b.stats("q")["messages"] == 3
    got = at_b.get("q", 1)
    assert got.bodies() == [b"a"]
    given = {"queue": "q", "tag": got["tag"], "ranges": got.ranges()}
    assert at_b.ask(PEER, "extend", **given, lease_ms=60_000)["held"] == got.ranges()
    assert at_b.settle("ack", got)["count"] == 1
    assert at_b.settle("nack", at_b.get("q", 1), delay_ms=0)["count"] == 1
    assert at_b.settle("reject", at_b.get("q", 1))["count"] == 1
    assert at_b.ask(PEER, "purge", queue="q")["re"] == "ok"
    assert at_b.ask(PEER, "delete", queue="q")["re"] == "ok"


def test_an_error_comes_back_as_the_primary_said_it(at_b: BrokerRig) -> None:
    assert at_b.put("q", b"a", producer=b"p", seq=7)["error"] == "producer_expired"
    assert at_b.ask(PEER, "stats", queue="none")["error"] == "queue_not_found"


def test_sessions_of_two_clients_are_two(at_b: BrokerRig) -> None:
    at_b.hello(OTHER)
    at_b.put("q", b"a")
    got = at_b.get("q")
    assert at_b.settle("ack", got, peer=OTHER).code == LeaseLost.code
    assert at_b.settle("ack", got)["count"] == 1


def test_a_get_waits_at_the_primary(cluster: ClusterRig, at_b: BrokerRig) -> None:
    req = at_b.command(PEER, "get", queue="q", max=1, timeout_ms=60_000)
    at_b.pass_time(2_000)
    assert names(at_b, req) == []
    cluster["a"].hello()
    cluster["a"].put("q", b"a")
    assert names(at_b, req) == ["messages"]


def test_a_consumer_takes_under_its_credit(cluster: ClusterRig, at_b: BrokerRig) -> None:
    consume(at_b, 2)
    at_b.run()
    mark = len(at_b.sent)
    at_b.put("q", b"a", b"b", b"c", b"d")
    assert deliveries(at_b.sent[mark:]) == [b"a", b"b"]
    at_b.command(PEER, "credit", req=None, consumer=1, messages=1, bytes=1_000)
    (delivery,) = at_b.run()
    assert delivery.bodies() == [b"c"]
    at_b.settle("ack", delivery, consumer=1, credit=1, credit_bytes=10)
    assert deliveries(at_b.sent)[-1] == b"d"


def test_a_cancelled_consumer_takes_no_more(at_b: BrokerRig) -> None:
    consume(at_b)
    at_b.run()
    assert at_b.ask(PEER, "cancel", consumer=1)["re"] == "ok"
    mark = len(at_b.sent)
    at_b.put("q", b"a")
    assert deliveries(at_b.sent[mark:]) == []
    assert at_b.ask(PEER, "cancel", consumer=1)["error"] == "consumer_not_found"


def test_a_number_is_free_again_at_once_when_its_consumer_is_cancelled(
    cluster: ClusterRig, at_b: BrokerRig
) -> None:
    """The cancel's answer, which comes later, ends the old consumer and not the new one."""
    consume(at_b)
    cluster.run()
    at_b.command(PEER, "cancel", consumer=1)
    req = consume(at_b)
    cluster.run()
    assert names(at_b, req) == ["ok"]
    at_b.sent.clear()
    assert at_b.put("q", b"a")["count"] == 1
    cluster.run()
    assert deliveries(at_b.sent) == [b"a"]


def test_a_consumers_number_is_taken_wherever_it_is(at_b: BrokerRig) -> None:
    consume(at_b)
    at_b.run()
    req = consume(at_b)
    at_b.run()
    assert names(at_b, req) == ["consumer_exists"]


def test_a_command_is_passed_on_once(cluster: ClusterRig, at_b: BrokerRig) -> None:
    """R17: the map that b knows is old; a does not send it on, and b's client asks again."""
    cluster.hold("b", "a")
    req = at_b.command(PEER, "get", queue="q", max=1)
    cluster.run()
    cluster.away.add("b")
    cluster.kill("a")
    cluster.pass_time(1_500)
    assert cluster.owned().primary == "c"
    cluster.start("a")
    cluster.pass_time(500)
    for frames in cluster.release("b", "a"):
        cluster.carry(("b", "a"), frames)
    cluster.pass_time(LINK_SILENCE_MAX + 2_000)
    assert names(at_b, req) == [NotPrimary.name]


# The way is cut


def test_a_change_that_may_have_happened_is_of_unknown_outcome(
    cluster: ClusterRig, at_b: BrokerRig
) -> None:
    """Law: never a refusal for what may have been carried out."""
    at_b.put("q", b"a")
    got = at_b.get("q")
    cluster.cut.add(("a", "b"))
    put = at_b.command(PEER, "put", BATCH, queue="q", count=1)
    ack = at_b.command(PEER, "ack", queue="q", tag=got["tag"], ranges=got.ranges())
    declare = at_b.command(PEER, "declare", queue="other")
    at_b.pass_time(LINK_SILENCE_MAX + 2_000)
    for req in (put, ack, declare):
        assert names(at_b, req) == [OutcomeUnknown.name]
    cluster["a"].hello()
    assert cluster["a"].get("q").bodies() == [b"a"], "it had happened"


def test_what_changes_nothing_is_refused_by_name(cluster: ClusterRig, at_b: BrokerRig) -> None:
    cluster.part("a", "b")
    get = at_b.command(PEER, "get", queue="q", max=1)
    stats = at_b.command(PEER, "stats", queue="q")
    at_b.pass_time(LINK_SILENCE_MAX + 2_000)
    assert names(at_b, get) == names(at_b, stats) == [NotPrimary.name]
    assert at_b.put("q", b"a").code == NotPrimary.code, "nobody is there to take it"


def test_a_get_that_removes_what_it_gives_is_a_change(cluster: ClusterRig, at_b: BrokerRig) -> None:
    """Its answer is lost, and with it the only copy of what it took."""
    at_b.put("q", b"a")
    cluster.cut.add(("a", "b"))
    req = at_b.command(PEER, "get", queue="q", max=1, auto_ack=True)
    at_b.pass_time(LINK_SILENCE_MAX + 2_000)
    assert names(at_b, req) == [OutcomeUnknown.name]
    cluster["a"].hello()
    assert cluster["a"].get("q").messages() == []


def test_an_answer_that_comes_after_its_stream_ended_is_not_given(
    cluster: ClusterRig, at_b: BrokerRig
) -> None:
    """T15: one answer each, and never two."""
    cluster.hold("a", "b")
    put = at_b.command(PEER, "put", BATCH, queue="q", count=1)
    at_b.pass_time(LINK_SILENCE_MAX + 2_000)
    assert names(at_b, put) == [OutcomeUnknown.name]
    late = cluster.release("a", "b")
    assert any(isinstance(m, Answer) for frames in late for m in decode_link(frames)[1])
    for frames in late:
        cluster.carry(("a", "b"), frames)
    at_b.pass_time(2_000)
    assert names(at_b, put) == [OutcomeUnknown.name]


def test_what_a_session_held_comes_back_when_its_broker_is_silent(
    cluster: ClusterRig, at_b: BrokerRig
) -> None:
    """R17: a link that is silent for 5 s has lost its sessions."""
    at_b.put("q", b"a")
    at_b.get("q")
    cluster["c"].hello()
    assert cluster["c"].get("q").messages() == []
    cluster.part("a", "b")
    cluster.pass_time(LINK_SILENCE_MAX - 1_000)
    assert cluster["c"].get("q").messages() == []
    cluster.pass_time(3_000)
    assert cluster["c"].get("q").bodies() == [b"a"]


def test_what_a_dead_brokers_session_held_comes_back(cluster: ClusterRig, at_b: BrokerRig) -> None:
    at_b.put("q", b"a")
    at_b.get("q")
    cluster.kill("b")
    cluster.pass_time(LINK_SILENCE_MAX + 2_000)
    cluster["c"].hello()
    assert cluster["c"].get("q").bodies() == [b"a"]


def test_what_a_session_held_comes_back_when_it_ends(cluster: ClusterRig, at_b: BrokerRig) -> None:
    """R17: its broker says so."""
    at_b.put("q", b"a")
    at_b.get("q")
    at_b.ask(PEER, "bye")
    cluster["c"].hello()
    (message,) = cluster["c"].get("q").messages()
    assert (message.body, message.attempts) == (b"a", 0), "it left in peace"


def test_a_session_that_is_silent_is_charged(cluster: ClusterRig, at_b: BrokerRig) -> None:
    at_b.put("q", b"a")
    at_b.hello(OTHER, timeout_ms=2_000)
    at_b.get("q", peer=OTHER)
    at_b.pass_time(3_000)
    (message,) = at_b.get("q").messages()
    assert message.attempts == 1


def test_who_resumes_its_session_settles_what_it_held(at_b: BrokerRig) -> None:
    former = next(s for s in at_b.sent if s.re == "welcome")["session"]
    at_b.put("q", b"a")
    got = at_b.get("q")
    at_b.hello(OTHER, resume=former)
    assert at_b.settle("ack", got, peer=OTHER)["count"] == 1


# The primary changes


def change_primary(cluster: ClusterRig, how: str) -> str:
    """a is gone; b, where the client is, or c reigns."""
    if how == "c":
        cluster.away.add("b")
    cluster.kill("a")
    cluster.pass_time(1_500)
    if how == "c":
        cluster.come_back("b")
        cluster.pass_time(500)
    assert cluster.owned().primary == how
    return how


@pytest.mark.parametrize("successor", ["b", "c"])
def test_consumers_are_placed_with_the_successor(cluster: ClusterRig, successor: str) -> None:
    """R17: the accepting broker keeps its consumers and repeats them, with the credit left."""
    at_b = cluster["b"]
    consume(at_b, 5)
    at_b.run()
    at_b.put("q", b"1", b"2")
    assert deliveries(at_b.sent) == [b"1", b"2"]
    (first,) = [s for s in at_b.sent if s.header.get("consumer") and s.re == "messages"]
    change_primary(cluster, successor)
    cluster.pass_time(LINK_SILENCE_MAX + 2_000)
    mark = len(at_b.sent)
    at_b.put("q", *[b"%d" % n for n in range(3, 9)])
    # Five was the credit: two were taken, and three more may be.
    given = [s for s in at_b.sent if s.header.get("consumer") == 1 and s.re == "messages"]
    assert sum(len(s.bodies()) for s in given) == 5
    assert {decode_tag(s["tag"]).epoch for s in given} == {1, cluster.owned().epoch}
    assert [s for s in at_b.sent[mark:] if s.re == "failed"] == []
    assert first.bodies() == [b"1", b"2"]


@pytest.mark.parametrize("successor", ["b", "c"])
def test_a_placed_consumer_ends_with_its_session(cluster: ClusterRig, successor: str) -> None:
    at_b = cluster["b"]
    consume(at_b, 5)
    at_b.run()
    at_b.ask(PEER, "bye")
    change_primary(cluster, successor)
    cluster["c"].hello()
    cluster["c"].put("q", b"x")
    assert cluster["c"].get("q").bodies() == [b"x"]


def test_a_consumer_of_the_former_primary_goes_with_its_queue(cluster: ClusterRig) -> None:
    """Its client is at a, which stays alive and reigns no more."""
    at_a = cluster["a"]
    at_a.hello(timeout_ms=300_000)
    consume(at_a, 3)
    at_a.run()
    owned = cluster.owned()
    cluster.write(0, type(owned)(owned.replicas, owned.isr, owned.elr, "b", owned.epoch + 1))
    cluster.pass_time(50)
    assert cluster["b"].serves("q")
    cluster.pass_time(100)
    mark = len(at_a.sent)
    at_a.put("q", b"1", b"2", b"3", b"4")
    assert deliveries(at_a.sent[mark:]) == [b"1", b"2", b"3"]


def test_deliveries_of_an_old_epoch_are_dropped() -> None:
    """R11: what the former primary sent, and arrives after the new one's, reaches nobody."""
    cluster = ClusterRig("abcd")
    first, second, _ = cluster.order()
    (outside,) = [b for b in cluster.living if b.name not in cluster.owned().isr]
    outside.hello(timeout_ms=300_000)
    consume(outside, 9)
    outside.run()
    first.hello()
    cluster.hold(first.name, outside.name)
    first.put("q", b"a")
    owned = cluster.owned()
    cluster.write(0, replace(owned, primary=second.name, epoch=owned.epoch + 1))
    cluster.pass_time(300)
    late = cluster.release(first.name, outside.name)
    assert [m for frames in late for m in decode_link(frames)[1] if isinstance(m, Answer)]
    for frames in late:
        cluster.carry((first.name, outside.name), frames)
    cluster.run()
    (only,) = [s for s in outside.sent if s.re == "messages"]
    assert (only.bodies(), decode_tag(only["tag"]).epoch) == ([b"a"], owned.epoch + 1)


def test_a_put_through_another_broker_appears_once_over_a_change_of_primary(
    cluster: ClusterRig,
) -> None:
    """T14: the link is cut behind it; sent again with its sequence."""
    at_b = cluster["b"]
    source: dict[str, Any] = {"producer": b"p", "seq": 0}
    cluster.hold("a", "b")
    req = at_b.command(PEER, "put", BATCH, queue="q", count=1, **source)
    cluster.run()
    change_primary(cluster, "b")
    cluster.pass_time(LINK_SILENCE_MAX + 1_000)
    assert names(at_b, req) == [OutcomeUnknown.name]
    assert at_b.put("q", b"a", **source)["re"] == "ok"
    assert at_b.get("q").bodies() == [b"a"]


def test_a_forward_that_is_doubled_is_carried_out_once(
    cluster: ClusterRig, at_b: BrokerRig
) -> None:
    cluster.hold("b", "a")
    at_b.command(PEER, "put", BATCH, queue="q", count=1)
    cluster.run()
    frames = cluster.release("b", "a")
    assert any(isinstance(m, Forward) for each in frames for m in decode_link(each)[1])
    for each in [*frames, *frames]:
        cluster.carry(("b", "a"), each)
    cluster.run()
    assert at_b.stats("q")["messages"] == 1
