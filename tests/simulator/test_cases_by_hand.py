"""Failure cases that need a certain message at a certain moment: nodes driven by hand."""

from __future__ import annotations

import pytest

from broker.cluster.messages import Prepare, decode_link
from broker.errors import (
    BY_CODE,
    DataDamaged,
    NotEnoughReplicas,
    NotNow,
    NotPrimary,
    ProducerExpired,
)
from broker.limits import HOUR, LINK_SILENCE_MAX, MINUTE, PRODUCER_IDLE, REPLICA_SILENCE_MAX
from broker.storage import keys
from broker.storage.store import Family
from tests.node.soundness import require_same_copies, require_sound
from tests.support.cluster_rig import BrokerRig, ClusterRig
from tests.support.node_rig import PEER

STEADY = 20_000


@pytest.fixture
def cluster() -> ClusterRig:
    """a reigns over q, then b, then c; a client at each."""
    rig = ClusterRig()
    for broker in rig.living:
        broker.hello()
    rig["a"].put("q", b"first")
    return rig


def bodies(broker: BrokerRig, queue: str = "q") -> list[bytes]:
    return broker.get(queue).bodies()


def answers(broker: BrokerRig, req: int) -> int:
    return sum(sent.req == req for sent in broker.sent)


def greet(broker: BrokerRig) -> BrokerRig:
    """A client at a broker whose process is another than before."""
    broker.hello()
    return broker


# T7


def test_t07_the_disk_of_the_last_one_in_sync_is_lost_and_nothing_is_cut() -> None:
    """With one copy asked for, what only the lost disk had is missed; nobody goes on without it."""
    cluster = ClusterRig(min_isr=1)
    cluster["a"].hello()
    cluster["a"].put("q", b"on all")
    cluster.pass_time(1_000)
    cluster.kill("b")
    cluster.kill("c")
    cluster.pass_time(1_000)
    assert cluster["a"].put("q", b"on one")["re"] == "ok"
    former, held = cluster.owned(), cluster["b"].served("q").log.last_lsn
    assert (former.isr, former.elr) == (("a",), ())
    cluster.kill("a")
    cluster.start("a", empty=True)
    cluster.start("b")
    cluster.start("c")
    cluster.pass_time(STEADY)
    for broker in cluster.living:
        assert greet(broker).get("q").code == NotPrimary.code
    assert (cluster.owned().isr, cluster.owned().primary) == (former.isr, former.primary)
    assert cluster["b"].served("q").log.last_lsn == held, "what it has it keeps"


# T8


def test_t08_who_is_promoted_twice_before_it_hears_of_a_commit_cuts_nothing(
    cluster: ClusterRig,
) -> None:
    """b has an entry and does not know that it is committed: it never throws that away."""
    lsn = put_unheard(cluster)
    cluster.hold("c", "b")
    cluster.kill("a")
    cluster.pass_time(1_000)
    assert cluster["b"].reigns("q")
    assert not cluster["b"].serves("q"), "it cannot commit its first entry"
    # The same once more: its second reign begins as blind as its first.
    cluster.kill("b")
    cluster.hold("b", "c")
    cluster.start("b")
    assert cluster["b"].served("q").log.commit_lsn < lsn
    cluster.start("a")
    cluster.pass_time(2_000)
    require_both(cluster)


def test_t08_who_follows_a_blind_reign_and_is_promoted_after_it_cuts_nothing(
    cluster: ClusterRig,
) -> None:
    """c hears the first word of b's reign, which tells of no commit, and nothing more."""
    lsn = put_unheard(cluster)
    cluster.hold("b", "c")
    cluster.kill("a")
    cluster.pass_time(1_000)
    for frames in cluster.release("b", "c"):
        cluster.carry(("b", "c"), frames)
        if is_prepare(frames):
            break
    cluster.hold("b", "c")
    cluster.run()
    follower = cluster["c"].served("q")
    assert follower.store.promised_epoch == 2
    assert follower.log.last_lsn >= lsn > follower.log.commit_lsn
    cluster.kill("b")
    cluster.pass_time(2_000)
    assert cluster["c"].reigns("q")
    cluster.start("a")
    require_both(cluster)


def put_unheard(cluster: ClusterRig) -> int:
    """The second message is confirmed, and no follower was told; gives the lsn of its entry."""
    cluster.pass_time(1_000)
    assert cluster["a"].put("q", b"second")["re"] == "ok"
    lsn = cluster["a"].served("q").log.commit_lsn
    for name in "bc":
        assert cluster[name].served("q").log.commit_lsn < lsn
    return lsn


def is_prepare(frames: list[bytes]) -> bool:
    return any(isinstance(m, Prepare) and m.epoch == 2 for m in decode_link(frames)[1])


def require_both(cluster: ClusterRig) -> None:
    cluster.held.clear()
    cluster.held_back.clear()
    cluster.pass_time(STEADY)
    assert cluster.owned().epoch >= 3
    assert bodies(greet(cluster.primary())) == [b"first", b"second"]
    for broker in cluster.brokers.values():
        if not broker.is_up:
            cluster.start(broker.name)
    cluster.pass_time(STEADY)
    require_same_copies(cluster.living, "q")


# T12


def damage(broker: BrokerRig, family: Family, bit: int = 300) -> None:
    """Flips a bit of the newest row."""
    low, high = keys.instance_keys(broker.served("q").store.instance)
    found = broker.store.last_before(family, low, high)
    assert found is not None
    broker.store.flip_bit(family, found[0], bit % (8 * len(found[1])))


def test_t12_a_copy_that_cannot_be_read_is_told_and_not_cut(cluster: ClusterRig) -> None:
    """It does not say "not found": it does not start, and the operator gives it another disk."""
    cluster.pass_time(1_000)
    cluster.kill("b")
    damage(cluster["b"], Family.LOG)
    rows = cluster["b"].rows(Family.LOG)
    with pytest.raises(DataDamaged):
        cluster["b"].open()
    assert cluster["b"].rows(Family.LOG) == rows, "nothing was erased"
    assert cluster["a"].put("q", b"second")["re"] == "ok"
    cluster.start("b", empty=True)
    cluster.pass_time(STEADY)
    assert cluster.owned().isr == ("a", "b", "c")
    require_same_copies(cluster.living, "q")


def test_t12_a_primary_that_cannot_read_its_log_ends_and_one_that_can_goes_on(
    cluster: ClusterRig,
) -> None:
    cluster.kill("c")
    cluster["a"].put("q", b"second")
    # What it wrote before its restart it has to read for those who lack it.
    cluster.kill("a")
    cluster.run()
    cluster.start("a")
    cluster.pass_time(STEADY)
    assert cluster.primary().name == "a"
    damage(cluster["a"], Family.BODY)
    cluster.hold("a", "c")
    cluster.start("c")
    cluster.held.clear()
    with pytest.raises(DataDamaged):
        cluster.pass_time(1_000)
    cluster.kill("a")
    cluster.pass_time(STEADY)
    assert cluster.owned().isr == ("b", "c")
    assert bodies(cluster["b"]) == [b"first", b"second"]
    require_same_copies(cluster.living, "q")


# T13


@pytest.mark.parametrize("kept", [0, 100])
def test_t13_a_queue_made_again_under_its_name_is_another_one_for_who_was_away(
    cluster: ClusterRig, kept: int
) -> None:
    primary = cluster["a"]
    old = primary.get("q")
    uuid = primary.stats("q")["uuid"]
    cluster.kill("c", kept)
    primary.ask(PEER, "delete", queue="q", if_empty=False)
    primary.put("q", b"new")
    cluster.start("c")
    cluster.pass_time(STEADY)
    require_same_copies(cluster.living, "q")
    # The one that was away reigns: it knows of the new queue alone.
    cluster.kill("a")
    cluster.run()
    cluster.kill("b")
    cluster.start("a")
    cluster.pass_time(STEADY)
    last = greet(cluster["c"])
    assert last.stats("q")["uuid"] != uuid
    assert last.settle("ack", old)["re"] == "failed"
    assert bodies(last) == [b"new"]


# T14


def test_t14_a_put_sent_again_after_a_copy_and_a_takeover_appears_once(
    cluster: ClusterRig,
) -> None:
    primary = cluster["a"]
    cluster.kill("c")
    cluster.pass_time(1_000)
    for seq in range(12):
        primary.put("q", b"%d" % seq * 60, producer=b"p", seq=seq)
        cluster.pass_time(500)
    assert primary.served("q").store.trim_lsn > cluster["c"].served("q").log.last_lsn
    cluster.start("c")
    cluster.pass_time(STEADY)
    cluster.kill("a")
    cluster.run()
    cluster.kill("b")
    cluster.start("a")
    cluster.pass_time(3_000)
    last = greet(cluster["c"])
    for seq in range(12):
        assert last.put("q", b"%d" % seq * 60, producer=b"p", seq=seq)["duplicate"] is True
    assert bodies(last) == [b"first", *(b"%d" % seq * 60 for seq in range(12))]


def test_t14_a_sequence_of_a_forgotten_producer_is_refused_by_its_successor_too(
    cluster: ClusterRig,
) -> None:
    cluster["a"].put("q", b"0", producer=b"p", seq=0)
    cluster["a"].put("q", b"1", producer=b"p", seq=1)
    cluster.now += PRODUCER_IDLE + HOUR
    for broker in cluster.living:
        broker.node.excuse_silence(cluster.now)
    cluster.pass_time(2 * MINUTE)
    for dead in ("", "a"):
        if dead:
            cluster.kill(dead)
            cluster.pass_time(1_000)
        again = greet(cluster["b"]).put("q", b"1", producer=b"p", seq=1)
        assert again.code == ProducerExpired.code
    assert bodies(cluster["b"]) == [b"first", b"0", b"1"]


# T19


@pytest.mark.parametrize("lonely", ["a", "b", "c"])
def test_t19_whoever_is_parted_from_the_others_answers_every_command(
    cluster: ClusterRig, lonely: str
) -> None:
    broker = cluster[lonely]
    cluster.part(lonely)
    for _ in range(3):
        asked = [
            broker.command(PEER, "get", queue="q", max=1),
            broker.command(PEER, "stats", queue="q"),
            broker.command(PEER, "map"),
        ]
        cluster.pass_time(LINK_SILENCE_MAX + 1_000)
        assert [answers(broker, req) for req in asked] == [1] * len(asked)
    refused = broker.put("q", b"refused")
    assert issubclass(BY_CODE[refused.code], NotNow)


def test_t19_what_a_parted_primary_took_is_answered_when_it_is_known(cluster: ClusterRig) -> None:
    """It may have reached the others, so nothing definite is said before."""
    cluster.part("a")
    req = cluster["a"].command(PEER, "put", b"\x91\xc4\x01x", queue="q", count=1)
    cluster.pass_time(4 * REPLICA_SILENCE_MAX)
    assert answers(cluster["a"], req) == 0
    assert cluster["a"].put("q", b"later").code == NotEnoughReplicas.code
    cluster.cut.clear()
    cluster.pass_time(STEADY)
    assert answers(cluster["a"], req) == 1
    assert bodies(cluster["b"]) == [b"first", b"x"]


# T27


def test_t27_a_million_messages_pass_a_healthy_cluster_once_and_in_order() -> None:
    cluster = ClusterRig(checkpoint_bytes=1 << 20, log_kept_bytes=1 << 20)
    guest = greet(cluster["b"])
    assert cluster.primary().name == "a"
    size, expected = 10_000, 0
    for first in range(0, 1_000_000, size):
        guest.put("q", *(b"%d" % number for number in range(first, first + size)))
        if first // size % 2:
            got = guest.get("q", size)
            while found := got.bodies():
                assert found == [b"%d" % n for n in range(expected, expected + len(found))]
                expected += len(found)
                guest.settle("ack", got)
                got = guest.get("q", size)
        for broker in cluster.living:
            broker.sent.clear()
    assert expected == 1_000_000
    cluster.pass_time(1_000)
    require_same_copies(cluster.living, "q")
    require_sound(cluster["a"], cluster["a"].queue("q"))
