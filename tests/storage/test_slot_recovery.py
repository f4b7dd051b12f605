"""What a node does when its rows are not as it wrote them: it tells, and passes over nothing."""

from __future__ import annotations

import msgpack
import pytest

from broker.errors import DataDamaged, FormatTooNew, LeaseLost, UnreadableMessage
from broker.storage import keys
from broker.storage.store import Family
from tests.support.node_rig import PEER, NodeRig

OTHER = b"\0othr"


@pytest.fixture
def rig() -> NodeRig:
    """One slot, three stored batches, all in the log."""
    rig = NodeRig(slots=1, checkpoint_bytes=1_000_000)
    rig.hello()
    for body in (b"a", b"b", b"c"):
        rig.put("q", body)
    return rig


def row(rig: NodeRig, family: Family, key: bytes) -> bytes:
    value = rig.store.get(family, key)
    assert value is not None
    return value


def flip(rig: NodeRig, family: Family, key: bytes) -> None:
    rig.store.flip_bit(family, key, 8 * len(row(rig, family, key)) - 1)


def log_keys(rig: NodeRig) -> list[bytes]:
    return [key for key, _ in rig.rows(Family.LOG)]


def body_of(rig: NodeRig, position: int) -> bytes:
    return next(k for k, _ in rig.rows(Family.BODY) if keys.first_of_body(k) == position)


def test_an_altered_log_row_is_refused_wherever_it_is(rig: NodeRig) -> None:
    for key in log_keys(rig):
        before = row(rig, Family.LOG, key)
        flip(rig, Family.LOG, key)
        with pytest.raises(DataDamaged):
            rig.crash()
        rig.store.alter(Family.LOG, key, before)
    rig.crash()


def test_a_missing_log_row_is_refused(rig: NodeRig) -> None:
    for key in log_keys(rig)[:-1]:
        before = row(rig, Family.LOG, key)
        rig.store.alter(Family.LOG, key, None)
        with pytest.raises(DataDamaged):
            rig.crash()
        rig.store.alter(Family.LOG, key, before)


def test_exchanged_log_rows_are_refused(rig: NodeRig) -> None:
    first, second = log_keys(rig)[2:4]
    before, after = row(rig, Family.LOG, first), row(rig, Family.LOG, second)
    rig.store.alter(Family.LOG, first, after)
    rig.store.alter(Family.LOG, second, before)
    with pytest.raises(DataDamaged):
        rig.crash()


def test_a_log_cut_below_what_was_committed_is_refused(rig: NodeRig) -> None:
    """The checkpoint was made while newer entries were on disk and not yet applied."""
    rig.command(PEER, "put", b"\x91\xc0", queue="q", count=1)
    rig.turn()
    machine = rig.machine("q")
    rig.store.sync()
    machine.log.become_durable(machine.log.last_lsn)
    machine.log.commit(machine.log.last_lsn)
    rig.node.close(rig.now)
    rig.store.sync()
    rig.store.alter(Family.LOG, log_keys(rig)[-1], None)
    with pytest.raises(DataDamaged):
        rig.crash()


def test_state_rows_that_do_not_decode_are_refused(rig: NodeRig) -> None:
    rig.restart()
    instance = rig.served("q").store.instance
    number = rig.queue("q").ledger.number
    for key in (keys.meta_key(instance), keys.queue_key(instance, number)):
        before = row(rig, Family.STATE, key)
        rig.store.alter(Family.STATE, key, before[: len(before) // 2])
        with pytest.raises(DataDamaged):
            rig.crash()
        rig.store.alter(Family.STATE, key, before)


def test_a_newer_state_is_not_touched(rig: NodeRig) -> None:
    rig.restart()
    key = keys.meta_key(rig.served("q").store.instance)
    meta = msgpack.unpackb(row(rig, Family.STATE, key))
    rig.store.alter(Family.STATE, key, msgpack.packb({**meta, "version": 99}))
    with pytest.raises(FormatTooNew):
        rig.crash()


@pytest.mark.parametrize("position", [0, 1, 2])
def test_an_unreadable_message_is_told_and_nothing_is_skipped(rig: NodeRig, position: int) -> None:
    rig.crash()
    flip(rig, Family.BODY, body_of(rig, position))
    rig.hello()
    rig.put("other", b"x")
    seen: list[bytes] = []
    while (got := rig.get("q", 1)).re == "messages":
        seen += got.bodies()
        assert got.messages(), "it must not be passed over"
    assert got.code == UnreadableMessage.code
    assert seen == [b"a", b"b", b"c"][:position]
    assert rig.get("other").bodies() == [b"x"]
    assert rig.stats("q")["messages"] == 3


def test_a_consumer_is_told_of_an_unreadable_message(rig: NodeRig) -> None:
    rig.crash()
    flip(rig, Family.BODY, body_of(rig, 0))
    rig.hello()
    rig.command(PEER, "consume", queue="q", consumer=4)
    told = [s for s in rig.run() if s.code == UnreadableMessage.code]
    assert [(s.req, s["queue"]) for s in told] == [(None, "q")]


@pytest.mark.parametrize("is_missing", [False, True])
def test_a_returned_message_that_cannot_be_read_is_told(rig: NodeRig, is_missing: bool) -> None:
    got = rig.get("q", 1)
    key = body_of(rig, 0)
    if is_missing:
        rig.store.alter(Family.BODY, key, None)
    else:
        flip(rig, Family.BODY, key)
    rig.settle("nack", got, delay_ms=0)
    assert rig.get("q").code == UnreadableMessage.code
    assert rig.stats("q")["messages"] == 3


def test_what_cannot_be_read_cannot_be_claimed_and_the_rest_can(rig: NodeRig) -> None:
    old = rig.get("q")
    rig.crash()
    flip(rig, Family.BODY, body_of(rig, 2))
    rig.hello()
    reply = rig.settle("ack", old, ranges=[[0, 1], [2, 1], [1, 1]])
    assert reply.code == LeaseLost.code
    assert reply["lost"] == [[2, 1, 0]]
    assert rig.stats("q")["messages"] == 1


def test_an_unreadable_message_whose_time_is_over_stops_nothing_else(rig: NodeRig) -> None:
    rig.put("q", b"dying", ttl_ms=2_000)
    rig.put("other", b"dying", ttl_ms=2_000)
    rig.crash()
    flip(rig, Family.BODY, body_of(rig, 3))
    rig.hello()
    rig.pass_time(2_000)
    assert rig.stats("other")["messages"] == 0
    assert rig.stats("q")["messages"] == 4
