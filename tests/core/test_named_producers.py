"""A named producer: each instance fences those before it and goes on behind their sequences."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.books.producers import Producers, Window
from broker.limits import PRODUCER_IDLE
from tests.support.node_rig import PEER, NodeRig, Sent

OTHER = b"\0pee1"


def begin(rig: NodeRig, instance: int, queue: str = "q", peer: bytes = PEER) -> Sent:
    return rig.ask(peer, "producer", queue=queue, producer=b"billing", instance=instance)


def put(rig: NodeRig, seq: int, instance: int | None, body: bytes = b"a") -> Sent:
    named: dict[str, Any] = {} if instance is None else {"instance": instance}
    return rig.put("q", body, producer=b"billing", seq=seq, **named)


def test_the_first_instance_begins_at_nothing(rig: NodeRig) -> None:
    assert begin(rig, 5)["highest"] == -1
    assert put(rig, 0, 5)["first"] == 0


def test_the_next_instance_goes_on_behind_the_highest(rig: NodeRig) -> None:
    begin(rig, 5)
    for seq in range(3):
        put(rig, seq, 5)
    assert begin(rig, 6)["highest"] == 2
    assert put(rig, 3, 6)["first"] == 3


def test_what_is_on_its_way_to_the_disk_counts_for_the_highest(rig: NodeRig) -> None:
    begin(rig, 5)
    rig.command(
        PEER, "put", b"\x91\xa1a", queue="q", count=1, producer=b"billing", seq=0, instance=5
    )
    assert begin(rig, 6)["highest"] == 0


def test_a_put_of_an_older_instance_is_fenced(rig: NodeRig) -> None:
    begin(rig, 5)
    begin(rig, 6)
    assert put(rig, 0, 5)["error"] == "producer_fenced"
    assert put(rig, 0, None)["error"] == "producer_fenced"
    assert rig.get("q").bodies() == []


def test_the_fence_comes_before_the_duplicate_check(rig: NodeRig) -> None:
    """The newer instance has put another message under the sequence that the older one repeats."""
    begin(rig, 5)
    begin(rig, 6)
    put(rig, 0, 6, b"of the newer")
    assert put(rig, 0, 5, b"of the older")["error"] == "producer_fenced"
    assert rig.get("q").bodies() == [b"of the newer"]


def test_the_fence_stands_before_it_is_committed(rig: NodeRig) -> None:
    begin(rig, 5)
    rig.command(PEER, "producer", queue="q", producer=b"billing", instance=6)
    assert put(rig, 0, 5)["error"] == "producer_fenced"


def test_an_older_instance_cannot_take_over_and_is_told_the_newest(rig: NodeRig) -> None:
    begin(rig, 6)
    refused = begin(rig, 5)
    assert refused["error"] == "producer_fenced"
    assert refused["instance"] == 6


def test_to_begin_again_changes_nothing(rig: NodeRig) -> None:
    begin(rig, 5)
    put(rig, 0, 5)
    lsn = rig.machine("q").log.last_lsn
    assert begin(rig, 5)["highest"] == 0
    assert rig.machine("q").log.last_lsn == lsn


def test_an_instance_that_never_began_is_not_known(rig: NodeRig) -> None:
    assert put(rig, 0, 5)["error"] == "producer_expired"
    begin(rig, 5)
    assert put(rig, 0, 6)["error"] == "producer_expired"


def test_an_instance_that_was_forgotten_is_not_known(rig: NodeRig) -> None:
    begin(rig, 5)
    put(rig, 0, 5)
    rig.pass_time(PRODUCER_IDLE + 120_000)
    rig.hello()
    assert put(rig, 1, 5)["error"] == "producer_expired"
    assert begin(rig, 5)["highest"] == -1


@pytest.mark.parametrize("clean", [True, False])
def test_the_fence_outlives_a_restart(rig: NodeRig, clean: bool) -> None:
    begin(rig, 5)
    put(rig, 0, 5)
    begin(rig, 6)
    if clean:
        rig.restart()
    else:
        rig.crash()
    rig.hello()
    assert put(rig, 1, 5)["error"] == "producer_fenced"
    assert begin(rig, 6)["highest"] == 0
    assert put(rig, 1, 6)["re"] == "ok"


def test_a_queue_made_again_knows_no_instance(rig: NodeRig) -> None:
    begin(rig, 6)
    rig.ask(PEER, "delete", queue="q")
    assert begin(rig, 5)["highest"] == -1


def test_other_producers_of_the_queue_need_no_instance(rig: NodeRig) -> None:
    begin(rig, 6)
    assert rig.put("q", b"a", producer=b"another", seq=0)["re"] == "ok"
    assert rig.put("q", b"a")["re"] == "ok"


def test_two_queues_have_two_fences(rig: NodeRig) -> None:
    begin(rig, 6)
    assert begin(rig, 5, "other")["highest"] == -1


def test_an_instance_goes_only_with_a_sequence(rig: NodeRig) -> None:
    assert rig.put("q", b"a", instance=5)["error"] == "bad_field"


def test_a_row_of_before_there_were_instances_is_read() -> None:
    producers = Producers()
    producers.load((b"p", 1), [7, b"\x01", 1_000])
    assert producers.windows[b"p", 1].highest == 7
    assert producers.instances == {}


def test_a_row_keeps_the_instance() -> None:
    producers = Producers()
    producers.begin_instance((b"p", 1), 9, 1_000)
    (row,) = producers.take_dirty().values()
    assert row is not None
    again = Producers()
    again.load((b"p", 1), row)
    assert again.instances == {(b"p", 1): 9}
    assert isinstance(again.windows[b"p", 1], Window)
