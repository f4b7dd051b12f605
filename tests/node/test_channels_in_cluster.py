"""Channels over failovers, handovers and snapshots: what is kept, and where sequences go on."""

from __future__ import annotations

import msgpack
import pytest

from broker.errors import BadPattern, NotEnoughReplicas, OutcomeUnknown, UnknownEpoch
from broker.storage.store import Family
from tests.node.soundness import require_same_copies, require_sound
from tests.support.channels import (
    Event,
    declare,
    events_of,
    facts,
    heard,
    history,
    kept,
    listen,
    publish,
    send_publish,
)
from tests.support.cluster_rig import ClusterRig
from tests.support.node_rig import PEER

SECOND = 1_000
EPOCH = 1 << 40


@pytest.fixture
def cluster() -> ClusterRig:
    """a reigns, then b, then c; a client at each."""
    rig = ClusterRig(log_kept_bytes=4_000, checkpoint_bytes=3_000)
    for broker in rig.living:
        broker.hello()
    return rig


@pytest.mark.parametrize("publisher", ["a", "b", "c"])
def test_a_publish_is_confirmed_when_the_isr_has_it(cluster: ClusterRig, publisher: str) -> None:
    broker = cluster[publisher]
    declare(broker, "news", durable=True)
    assert publish(broker, "news", b"x")["copies"] == 3
    assert kept(cluster["b"], "news") == [b"x"]
    cluster.pass_time(SECOND)
    assert all(each.rows(Family.BODY) for each in cluster.living)


def test_nothing_leaves_for_subscribers_before_the_others_have_it(cluster: ClusterRig) -> None:
    a = cluster["a"]
    declare(a, "news", durable=True)
    listen(a)
    cluster.hold("a", "b")
    cluster.hold("a", "c")
    send_publish(a, "news", b"x")
    cluster.run()
    assert heard(a, "news") == []
    for receiver in "bc":
        for frames in cluster.release("a", receiver):
            cluster.carry(("a", receiver), frames)
    cluster.pass_time(SECOND)
    assert heard(a, "news") == [Event(0, b"x")]


def test_a_history_survives_a_failover_and_its_sequences_go_on(cluster: ClusterRig) -> None:
    declare(cluster["a"], "news", durable=True, history_messages=50)
    for body in range(120):
        publish(cluster["c"], "news", body, producer=b"p", seq=body)
    cluster.kill("a")
    cluster.pass_time(2 * SECOND)
    c = cluster["c"]
    told = history(c, "news", epoch=2)
    assert [event.body for event in events_of(told)] == list(range(70, 120))
    assert (told["epoch"], told["next"], told["oldest"]) == (2, 120, 70)
    assert publish(c, "news", 119, producer=b"p", seq=119)["duplicate"] is True
    assert publish(c, "news", 120, producer=b"p", seq=120)["first"] == 120
    for body in range(121, 300):
        publish(c, "news", body, producer=b"p", seq=body)
    assert [event.body for event in events_of(history(c, "news"))] == list(range(250, 300))
    assert history(c, "news", epoch=3).code == UnknownEpoch.code
    assert cluster["b"].machine("news").names["$channel/news"].ledger.messages < 50 + 64 + 8


def test_a_new_reign_trims_what_the_former_one_left(cluster: ClusterRig) -> None:
    declare(cluster["a"], "news", durable=True, history_messages=10)
    for body in range(70):
        publish(cluster["a"], "news", body)
    cluster.leave("a")
    cluster.pass_time(3 * SECOND)
    assert cluster.owned("news").primary == "b"
    for body in range(70, 200):
        publish(cluster["b"], "news", body)
    cluster.pass_time(SECOND)
    assert kept(cluster["c"], "news") == list(range(190, 200))
    require_sound(cluster["b"], cluster["b"].machine("news").names["$channel/news"])
    require_same_copies([cluster["b"], cluster["c"]], "$channel/news")


def test_a_history_comes_with_a_copy_of_its_slot(cluster: ClusterRig) -> None:
    declare(cluster["a"], "news", durable=True, history_messages=20)
    publish(cluster["a"], "news", b"old")
    cluster.kill("c")
    cluster.pass_time(10 * SECOND)
    for body in range(400):
        publish(cluster["a"], "news", body)
    cluster.start("c", empty=True)
    cluster.pass_time(30 * SECOND)
    cluster["c"].hello()
    cluster.kill("a")
    cluster.pass_time(5 * SECOND)
    cluster.kill("b")
    cluster.pass_time(10 * SECOND)
    cluster.set_min_isr(1)
    cluster.pass_time(10 * SECOND)
    assert cluster.owned("news").primary == "c"
    assert kept(cluster["c"], "news") == list(range(380, 400))


def test_a_history_in_memory_ends_with_the_reign(cluster: ClusterRig) -> None:
    declare(cluster["a"], "news", history_messages=5)
    last = [publish(cluster["b"], "news", body) for body in range(3)][-1]["first"]
    assert last == EPOCH + 2
    cluster.kill("a")
    cluster.pass_time(2 * SECOND)
    b = cluster["b"]
    assert kept(b, "news") == []
    assert publish(b, "news", b"x")["first"] == 2 * EPOCH
    told = facts(b, "news")
    assert (told["epoch"], told["settings"]["history_messages"]) == (2, 5)
    assert "start" not in told


def test_light_channels_begin_anew_with_another_reign(cluster: ClusterRig) -> None:
    assert publish(cluster["c"], "news", b"x")["first"] == EPOCH
    cluster.kill("a")
    cluster.pass_time(2 * SECOND)
    assert publish(cluster["c"], "news", b"x")["first"] == 2 * EPOCH


def test_a_light_publish_asks_no_disk_and_no_other_broker(cluster: ClusterRig) -> None:
    a = cluster["a"]
    publish(a, "news", b"x")
    req = send_publish(a, "news", b"x")
    assert [sent["copies"] for sent in a.turn() if sent.req == req] == [0]


def test_a_publish_under_way_at_a_failover_is_unknown_and_appears_once(
    cluster: ClusterRig,
) -> None:
    c = cluster["c"]
    declare(c, "news", durable=True)
    publish(c, "news", 0, producer=b"p", seq=0)
    cluster.hold("a", "b")
    cluster.hold("a", "c")
    reqs = [send_publish(c, "news", seq, producer=b"p", seq=seq) for seq in (1, 2)]
    cluster.run()
    cluster.kill("a")
    cluster.release("a", "b")
    cluster.release("a", "c")
    cluster.pass_time(2 * SECOND)
    answers = {sent.req: sent.code for sent in c.sent}
    assert [answers[req] for req in reqs] == [OutcomeUnknown.code] * 2
    # What was behind the lost one does not overtake it.
    assert publish(c, "news", 2, producer=b"p", seq=2).re == "failed"
    for seq in (1, 2):
        publish(c, "news", seq, producer=b"p", seq=seq)
    assert kept(cluster["b"], "news") == [0, 1, 2]


def test_too_few_copies_take_nothing(cluster: ClusterRig) -> None:
    declare(cluster["a"], "news", durable=True)
    cluster.kill("b")
    cluster.kill("c")
    cluster.pass_time(8 * SECOND)
    assert publish(cluster["a"], "news", b"x", producer=b"p", seq=0).code == NotEnoughReplicas.code
    cluster.start("b")
    cluster.pass_time(8 * SECOND)
    cluster["a"].hello()
    assert publish(cluster["a"], "news", b"x", producer=b"p", seq=0)["first"] == 0


def test_the_channels_of_all_brokers_are_listed_by_any() -> None:
    cluster = ClusterRig(slots=8)
    names = [f"c{number:02}" for number in range(24)]
    for broker in cluster.living:
        broker.hello()
    for name in names:
        publish(cluster["a"], name, b"x")
    for broker in cluster.living:
        assert broker.ask(PEER, "channels", pattern="c*").code == BadPattern.code
        told = broker.ask(PEER, "channels", pattern="*")
        assert [name for name, _ in told["channels"]] == names
        assert (told["more"], told["slots_missing"]) == (False, [])
        told = broker.ask(PEER, "channels", max=10, after="c03")
        assert [name for name, _ in told["channels"]] == names[4:14]
        assert told["more"] is True
        [[name, told_of]] = broker.ask(PEER, "channels", pattern="c07")["channels"]
        assert (name, told_of["next"]) == ("c07", EPOCH + 1)


def test_a_subscriber_at_any_broker_hears_the_owner(cluster: ClusterRig) -> None:
    listen(cluster["c"])
    cluster.pass_time(SECOND)
    publish(cluster["b"], "news", b"x", b"y")
    cluster.pass_time(SECOND)
    assert heard(cluster["c"], "news") == [Event(EPOCH, b"x"), Event(EPOCH + 1, b"y")]


def test_a_history_is_read_through_any_broker(cluster: ClusterRig) -> None:
    declare(cluster["b"], "news", durable=True, history_messages=1_000)
    publish(cluster["a"], "news", *range(500), type="t")
    for broker in cluster.living:
        told = history(broker, "news", after=99, max=300)
        assert [event.sequence for event in events_of(told)] == list(range(100, 400))
        assert told["runs"][0]["type"] == "t"
        assert told["more"] is True
        assert msgpack.unpackb(told.frames[-1]) == list(range(100, 400))
