"""A queue that is spread over others: what is put to it goes on, once and in order."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker.model.partitions import partition_of
from tests.support.node_rig import PEER, NodeRig, Sent

KEYS = ["ann", "bob", "cid", "dan", "eve"]


@pytest.fixture
def rig() -> NodeRig:
    rig = NodeRig()
    rig.hello()
    return rig


def declare(rig: NodeRig, **settings: Any) -> None:
    answer = rig.ask(PEER, "declare", queue="q", settings={"partitions": 4, **settings})
    assert answer.re == "ok"


def bodies_of(rig: NodeRig, index: int) -> list[bytes]:
    """All that a partition holds, in order; none when nothing came to it."""
    taken: list[bytes] = []
    while True:
        sent = rig.get(f"q#{index}")
        if sent.re == "failed":
            assert sent["error"] == "queue_not_found"
            return taken
        if not sent.bodies():
            return taken
        taken += sent.bodies()


def keyed(rig: NodeRig, keys: list[str], first: int = 0, **fields: Any) -> Sent:
    """One batch whose messages have keys of their own."""
    bodies = [f"{key}-{number}".encode() for number, key in enumerate(keys, first)]
    columns = msgpack.packb({"keys": keys})
    batch = msgpack.packb(bodies)
    return rig.ask(PEER, "put", columns, batch, queue="q", count=len(bodies), **fields)


def test_batches_without_keys_go_to_each_partition_in_turn(rig: NodeRig) -> None:
    declare(rig)
    for number in range(8):
        assert rig.put("q", b"%d" % number).re == "ok"
    held = [bodies_of(rig, index) for index in range(4)]
    assert sorted(b for bodies in held for b in bodies) == [b"%d" % n for n in range(8)]
    assert [len(bodies) for bodies in held] == [2, 2, 2, 2]
    assert rig.stats("q")["messages"] == 0


def test_the_messages_of_a_key_go_to_one_partition_in_order(rig: NodeRig) -> None:
    declare(rig, ordering="key")
    for turn in range(4):
        assert keyed(rig, KEYS, first=turn * 5).re == "ok"
    found: dict[str, list[int]] = {}
    for index in range(4):
        stored = rig.ask(PEER, "browse", queue=f"q#{index}")
        for body in msgpack.unpackb(stored.frames[-1]) if stored.re == "browsed" else []:
            key, _, number = body.decode().partition("-")
            assert partition_of(key, 4) == index
            found.setdefault(key, []).append(int(number))
    assert found == {key: [n, n + 5, n + 10, n + 15] for n, key in enumerate(KEYS)}


def test_a_batch_with_one_key_goes_to_its_partition_whole(rig: NodeRig) -> None:
    declare(rig)
    rig.put("q", b"a", b"b", key="ann")
    assert bodies_of(rig, partition_of("ann", 4)) == [b"a", b"b"]


def test_a_put_that_is_sent_again_appears_once(rig: NodeRig) -> None:
    declare(rig)
    first = rig.put("q", b"a", key="ann", producer=b"p", seq=0)
    again = rig.put("q", b"a", key="ann", producer=b"p", seq=0)
    behind = rig.put("q", b"b", key="ann", producer=b"p", seq=7)
    assert (first.re, again["duplicate"], behind.re) == ("ok", True, "ok")
    assert bodies_of(rig, partition_of("ann", 4)) == [b"a", b"b"]


def test_what_was_confirmed_goes_on_after_a_crash(rig: NodeRig) -> None:
    declare(rig, max_messages=1_000)
    req = rig.command(PEER, "put", msgpack.packb([b"a"]), queue="q", count=1, key="ann")
    rig.turn()
    rig.sync()
    assert [sent.re for sent in rig.turn() if sent.req == req] == ["ok"]
    rig.crash()
    rig.run()
    rig.hello()
    assert bodies_of(rig, partition_of("ann", 4)) == [b"a"]
    settings = rig.stats(f"q#{partition_of('ann', 4)}")["settings"]
    assert (settings["partitions"], settings["max_messages"]) == (1, 1_000)


def test_nobody_takes_from_the_whole_and_is_told_of_its_partitions(rig: NodeRig) -> None:
    declare(rig, lease_ms=5_000)
    for refused in (
        rig.get("q"),
        rig.ask(PEER, "consume", queue="q", consumer=1),
        rig.put("q", b"a", partitions=1),
    ):
        assert refused["error"] == "partitioned"
        assert (refused["partitions"], refused["settings"]) == (4, {"lease_ms": 5_000})
    assert rig.put("q", b"a", partitions=4).re == "ok"


def test_a_sender_that_knows_no_partitions_is_taken_where_there_are_none(rig: NodeRig) -> None:
    assert rig.put("q", b"a", partitions=1).re == "ok"
    assert rig.put("q", b"a", partitions=4)["error"] == "partitioned"


def test_a_partition_is_never_made_by_naming_it(rig: NodeRig) -> None:
    assert rig.put("q#1", b"a")["error"] == "queue_not_found"
    assert rig.get("q#1")["error"] == "queue_not_found"


def test_a_delayed_message_waits_once(rig: NodeRig) -> None:
    declare(rig, delay_ms=1_000)
    rig.put("q", b"a", key="ann")
    assert rig.stats("q")["delayed"] == 1
    rig.pass_time(1_000)
    assert bodies_of(rig, partition_of("ann", 4)) == [b"a"]


def test_dead_letters_reach_a_partitioned_queue_with_their_death(rig: NodeRig) -> None:
    declare(rig)
    rig.ask(PEER, "declare", queue="work", settings={"dead_letter": "q"})
    rig.put("work", b"bad", key="ann")
    delivery = rig.get("work")
    rig.settle("reject", delivery)
    rig.pass_time(1_000)
    found = rig.get(f"q#{partition_of('ann', 4)}")
    assert found.bodies() == [b"bad"]
    assert found["runs"][0]["death"]["reason"] == "rejected"


def test_ids_are_known_where_they_were_put(rig: NodeRig) -> None:
    declare(rig, dedup="window")
    columns = msgpack.packb({"ids": ["one", "two"]})
    batch = msgpack.packb([b"1", b"2"])
    rig.ask(PEER, "put", columns, batch, queue="q", count=2)
    again = rig.ask(
        PEER,
        "put",
        msgpack.packb({"ids": ["one"]}),
        msgpack.packb([b"1"]),
        queue=f"q#{partition_of('one', 4)}",
        count=1,
    )
    assert again["duplicates"] == [0]
