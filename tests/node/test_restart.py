"""What a crash leaves: all that was confirmed, nothing that was not, and no rubbish for ever."""

from __future__ import annotations

import pytest

from broker.errors import ConfigError, DiskFailed
from broker.storage.store import Family
from tests.node.soundness import require_sound
from tests.support.node_rig import PEER, NodeRig

ONE = b"\x91\xc4\x01a"


def test_nothing_uncommitted_is_delivered(rig: NodeRig) -> None:
    rig.command(PEER, "consume", queue="q", consumer=1, credit=5)
    rig.run()
    rig.command(PEER, "put", ONE, queue="q", count=1)
    rig.command(PEER, "get", queue="q", max=1)
    for _ in range(3):
        assert [s for s in rig.turn() if s.re == "messages" and s.messages()] == []
    rig.sync()
    assert [s.bodies() for s in rig.turn() if s.re == "messages"] == [[b"a"]]


def test_auto_ack_removes_durably_before_the_delivery_leaves(rig: NodeRig) -> None:
    rig.put("q", b"a")
    req = rig.command(PEER, "get", queue="q", max=1, auto_ack=True)
    assert rig.turn() == []
    rig.sync()
    assert [s.req for s in rig.turn()] == [req]
    rig.crash()
    rig.hello()
    assert rig.get("q").messages() == []


def test_puts_after_a_restart_go_on_where_the_log_ended(rig: NodeRig) -> None:
    assert rig.put("q", b"a", b"b")["first"] == 0
    rig.crash()
    rig.hello()
    assert rig.put("q", b"c")["first"] == 2
    assert rig.get("q").bodies() == [b"a", b"b", b"c"]


def test_a_producers_window_outlives_restarts_by_log_and_by_checkpoint(rig: NodeRig) -> None:
    for seq in range(3):
        rig.put("q", b"%d" % seq, producer=b"p", seq=seq)
    for end in (rig.crash, rig.restart, rig.crash):
        end()
        rig.hello()
        for seq in range(3):
            assert rig.put("q", b"x", producer=b"p", seq=seq)["duplicate"] is True
    assert rig.put("q", b"3", producer=b"p", seq=3)["first"] == 3


def test_a_put_and_a_purge_on_their_way_together_keep_the_put(rig: NodeRig) -> None:
    """A consumer waits, so the put is handed on from memory."""
    rig.command(PEER, "consume", queue="q", consumer=1, credit=5)
    rig.run()
    rig.put("q", b"old")
    rig.command(PEER, "put", ONE, queue="q", count=1)
    rig.command(PEER, "purge", queue="q")
    assert [s.bodies() for s in rig.run() if s.re == "messages"] == [[b"a"]]


@pytest.mark.parametrize("kept", range(12))
def test_a_deleted_queue_never_comes_back(rig: NodeRig, kept: int) -> None:
    rig.put("q", b"old", producer=b"p", seq=0)
    rig.restart()
    rig.hello()
    assert rig.ask(PEER, "delete", queue="q", if_empty=False)["count"] == 1
    rig.pass_time(31_000)
    rig.put("q", b"new")
    rig.pass_time(31_000)
    rig.crash(kept)
    rig.hello()
    assert rig.get("q").bodies() == [b"new"]
    assert rig.put("q", b"x", producer=b"p", seq=1)["error"] == "producer_expired"


def test_a_checkpoint_just_after_a_deletion_does_not_bring_the_queue_back(rig: NodeRig) -> None:
    """The deletion is applied in the very turn that makes the checkpoint."""
    rig.put("q", b"old")
    rig.restart()
    rig.hello()
    rig.command(PEER, "delete", queue="q", if_empty=False)
    rig.turn()
    rig.now += 31_000
    rig.sync()
    rig.turn()
    rig.crash(kept=100)
    assert "q" not in rig.machine("q").names


def test_a_deletion_applied_just_before_a_clean_end_stays(rig: NodeRig) -> None:
    rig.put("q", b"old")
    rig.restart()
    rig.hello()
    rig.command(PEER, "delete", queue="q", if_empty=False)
    rig.turn()
    rig.sync()
    rig.node.close(rig.now)
    rig.store.sync()
    rig.crash()
    assert "q" not in rig.machine("q").names
    assert rig.rows(Family.BODY) == []


def test_what_was_settled_before_a_restart_is_erased_after_it() -> None:
    rig = NodeRig(slots=1)
    rig.hello()
    for n in range(20):
        rig.put("old", b"%d" % n)
    rig.settle("ack", rig.get("old"))
    rig.crash()
    rig.hello()
    for _ in range(60):
        rig.put("new", b"x" * 20)
        rig.settle("ack", rig.get("new"))
    number = rig.queue("old").ledger.number
    assert [key for key, _ in rig.rows(Family.BODY) if key[4:8] == number.to_bytes(4, "big")] == []


def test_slots_cannot_change_under_the_data(rig: NodeRig) -> None:
    rig.put("q", b"a")
    rig.store.sync()
    with pytest.raises(ConfigError):
        NodeRig(store=rig.store, slots=3)


def test_a_purge_leaves_what_is_in_flight(rig: NodeRig) -> None:
    rig.put("q", b"a", b"b", b"c")
    got = rig.get("q", 1)
    assert rig.ask(PEER, "purge", queue="q")["count"] == 2
    assert rig.settle("nack", got, charge=False)["count"] == 1
    assert rig.get("q").bodies() == [b"a"]
    require_sound(rig, rig.queue("q"))


def test_an_error_of_the_disk_is_not_taken_for_a_clients_mistake(rig: NodeRig) -> None:
    rig.store.fail_next_write(DiskFailed("the disk is gone"))
    with pytest.raises(DiskFailed):
        rig.put("a-name-in-a-slot-that-has-no-rows-yet", b"a")
