"""A transaction settles what is held and puts what is new, together or not at all."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker.names import OUTBOX
from tests.support.node_rig import PEER, NodeRig, Sent

OTHER = b"\0pee1"


def frame(*batches: list[bytes]) -> bytes:
    packed: bytes = msgpack.packb([[b"", msgpack.packb(batch)] for batch in batches])
    return packed


def settles(*deliveries: Sent) -> list[dict[str, Any]]:
    return [{"queue": d["queue"], "tag": d["tag"], "ranges": d.ranges()} for d in deliveries]


def command(seq: int, deliveries: list[Sent], puts: dict[str, list[bytes]]) -> dict[str, Any]:
    return {
        "settles": settles(*deliveries),
        "puts": [{"queue": name, "count": len(bodies)} for name, bodies in puts.items()],
        "producer": b"worker",
        "seq": seq,
    }


def transact(
    rig: NodeRig, seq: int, deliveries: list[Sent], puts: dict[str, list[bytes]], **fields: Any
) -> Sent:
    peer = fields.pop("peer", PEER)
    return rig.ask(
        peer,
        "transact",
        frame(*puts.values()),
        **{**command(seq, deliveries, puts), **fields},
    )


@pytest.fixture
def one() -> NodeRig:
    """A node with one slot, so that all queues are of one, and a session of PEER."""
    rig = NodeRig(slots=1)
    rig.hello()
    return rig


def test_what_is_settled_is_gone_and_what_is_put_appears(one: NodeRig) -> None:
    one.put("in", b"a", b"b", b"c")
    taken = one.get("in", 2)
    answer = transact(one, 0, [taken], {"out": [b"x", b"y"], "log": [b"z"]})
    assert (answer["settled"], answer["puts"]) == (2, 3)
    assert one.get("out").bodies() == [b"x", b"y"]
    assert one.get("log").bodies() == [b"z"]
    assert one.stats("in")["messages"] == 1
    one.crash()
    one.hello()
    assert one.get("in").bodies() == [b"c"]


def test_nothing_is_answered_before_the_deciding_entry_is_on_disk(one: NodeRig) -> None:
    one.put("in", b"a")
    taken = one.get("in")
    one.command(PEER, "transact", frame([b"x"]), **command(0, [taken], {"out": [b"x"]}))
    assert one.turn() == []
    one.crash()
    one.hello()
    assert one.get("in").bodies() == [b"a"]
    assert one.get("out").bodies() == []


def test_queues_of_one_slot_are_settled_together(one: NodeRig) -> None:
    one.put("in", b"a")
    one.put("control", b"go")
    both = [one.get("in"), one.get("control")]
    assert transact(one, 0, both, {"out": [b"x"]})["settled"] == 2
    assert one.stats("in")["messages"] == one.stats("control")["messages"] == 0


def test_one_lost_lease_refuses_the_whole_and_changes_nothing(one: NodeRig) -> None:
    one.put("in", b"a", b"b")
    kept, lost = one.get("in", 1), one.get("in", 1)
    one.settle("nack", lost, delay_ms=0)
    answer = transact(one, 0, [kept, lost], {"out": [b"x"]})
    assert answer["error"] == "lease_lost"
    assert one.get("out").bodies() == []
    assert one.settle("ack", kept)["count"] == 1
    assert one.get("in").bodies() == [b"b"]


def test_what_another_session_holds_is_not_settled(one: NodeRig) -> None:
    one.hello(OTHER)
    one.put("in", b"a")
    taken = one.get("in", peer=OTHER)
    assert transact(one, 0, [taken], {"out": [b"x"]})["error"] == "lease_lost"
    assert one.settle("ack", taken, peer=OTHER)["count"] == 1


def test_a_repeat_is_confirmed_and_happens_once(one: NodeRig) -> None:
    one.put("in", b"a")
    taken = one.get("in")
    transact(one, 0, [taken], {"out": [b"x"]})
    again = transact(one, 0, [taken], {"out": [b"x"]})
    assert again["re"] == "ok"
    assert again["duplicate"] is True
    assert one.get("out").bodies() == [b"x"]


def test_a_repeat_that_comes_before_the_commit_waits_for_it(one: NodeRig) -> None:
    one.put("in", b"a")
    given = command(0, [one.get("in")], {"out": [b"x"]})
    first = one.command(PEER, "transact", frame([b"x"]), **given)
    second = one.command(PEER, "transact", frame([b"x"]), **given)
    assert one.turn() == []
    answers = {sent.req: sent for sent in one.run()}
    assert "duplicate" not in answers[first].header
    assert answers[second]["duplicate"] is True
    assert one.get("out").bodies() == [b"x"]


@pytest.mark.parametrize("clean", [True, False])
def test_a_repeat_after_a_restart_happens_once(one: NodeRig, clean: bool) -> None:
    one.put("in", b"a")
    taken = one.get("in")
    transact(one, 0, [taken], {"out": [b"x"]})
    if clean:
        one.restart()
    else:
        one.crash()
    one.hello()
    assert transact(one, 0, [taken], {"out": [b"x"]})["duplicate"] is True
    assert one.get("out").bodies() == [b"x"]


def test_what_was_held_before_a_restart_is_settled_while_nobody_was_given_it(one: NodeRig) -> None:
    one.put("in", b"a", b"b")
    first, second = one.get("in", 1), one.get("in", 1)
    one.crash()
    one.hello()
    assert transact(one, 0, [first], {"out": [b"x"]})["settled"] == 1
    assert one.get("in").bodies() == [b"b"]
    assert transact(one, 1, [second], {"out": [b"y"]})["settled"] == 1
    assert one.get("out").bodies() == [b"x", b"y"]


def test_what_somebody_else_was_given_since_is_lost(one: NodeRig) -> None:
    one.put("in", b"a")
    taken = one.get("in")
    one.crash()
    one.hello()
    one.hello(OTHER)
    one.get("in", peer=OTHER)
    assert transact(one, 0, [taken], {"out": [b"x"]})["error"] == "lease_lost"


def test_queues_of_two_slots_are_refused_by_name(rig: NodeRig) -> None:
    names = [f"q{n}" for n in range(20)]
    for name in names:
        rig.put(name, b"a")
    first = names[0]
    other = next(n for n in names if rig.machine(n).slot != rig.machine(first).slot)
    both = [rig.get(first), rig.get(other)]
    answer = transact(rig, 0, both, {"out": [b"x"]})
    assert answer["error"] == "transaction_spans_slots"
    assert rig.settle("ack", both[0])["count"] == rig.settle("ack", both[1])["count"] == 1


def test_a_message_cannot_be_settled_twice_in_one_transaction(one: NodeRig) -> None:
    one.put("in", b"a")
    taken = one.get("in")
    assert transact(one, 0, [taken, taken], {})["error"] == "bad_field"
    assert one.settle("ack", taken)["count"] == 1


def test_a_sequence_of_a_producer_that_the_slot_does_not_know_is_refused(one: NodeRig) -> None:
    one.put("in", b"a")
    taken = one.get("in")
    assert transact(one, 7, [taken], {"out": [b"x"]})["error"] == "producer_expired"
    assert one.settle("ack", taken)["count"] == 1


def test_a_refused_transaction_makes_its_producer_known(one: NodeRig) -> None:
    one.put("in", b"a")
    taken = one.get("in")
    one.settle("nack", taken, delay_ms=0)
    transact(one, 0, [taken], {"out": [b"x"]})
    assert transact(one, 1, [one.get("in")], {"out": [b"x"]})["re"] == "ok"


def test_a_transaction_may_put_nothing(one: NodeRig) -> None:
    one.put("in", b"a")
    answer = transact(one, 0, [one.get("in")], {})
    assert (answer["settled"], answer["puts"]) == (1, 0)
    assert one.stats("in")["messages"] == 0


def test_without_req_only_a_failure_is_told(one: NodeRig) -> None:
    one.put("in", b"a")
    taken = one.get("in")
    given = command(0, [taken], {"out": [b"x"]})
    one.command(PEER, "transact", frame([b"x"]), **given, req=None)
    assert one.run() == []
    given = command(1, [taken], {"out": [b"x"]})
    one.command(PEER, "transact", frame([b"x"]), **given, req=None)
    (told,) = one.run()
    assert (told["error"], told["cmd"]) == ("lease_lost", "transact")
    assert one.get("out").bodies() == [b"x"]


def test_an_alarm_refuses_it_as_it_refuses_a_put(one: NodeRig) -> None:
    one.put("in", b"a")
    taken = one.get("in")
    one.node.set_alarm("no room")
    assert transact(one, 0, [taken], {"out": [b"x"]})["error"] == "resource_alarm"
    one.node.set_alarm(None)
    assert transact(one, 0, [taken], {"out": [b"x"]})["settled"] == 1


def test_the_options_of_a_put_arrive_with_it(one: NodeRig) -> None:
    one.put("in", b"a")
    put = {
        "queue": "out",
        "count": 1,
        "priority": 9,
        "content_type": "text/plain",
        "type": "order",
        "ttl_ms": 5_000,
    }
    pair = [msgpack.packb({"ids": ["id-1"]}), msgpack.packb([b"x"])]
    one.ask(
        PEER,
        "transact",
        msgpack.packb([pair]),
        settles=settles(one.get("in")),
        puts=[put],
        producer=b"worker",
        seq=0,
    )
    delivery = one.get("out")
    run = delivery["runs"][0]
    assert run["priority"] == 9
    assert (run["content_type"], run["type"]) == ("text/plain", "order")
    assert msgpack.unpackb(delivery.frames[0]) == {"ids": ["id-1"]}
    one.settle("nack", delivery, delay_ms=0)
    one.pass_time(6_000)
    assert one.get("out").bodies() == []


def test_a_delay_counts_from_the_transaction(one: NodeRig) -> None:
    one.put("in", b"a")
    put = {"queue": "out", "count": 1, "delay_ms": 60_000}
    one.ask(
        PEER,
        "transact",
        frame([b"x"]),
        settles=settles(one.get("in")),
        puts=[put],
        producer=b"worker",
        seq=0,
    )
    one.pass_time(59_000)
    assert one.get("out").bodies() == []
    one.pass_time(1_000)
    assert one.get("out").bodies() == [b"x"]


def test_each_message_may_have_an_instant_of_its_own(one: NodeRig) -> None:
    one.put("in", b"a")
    pair = [
        msgpack.packb({"at_ms": [one.now + 10_000, 0]}),
        msgpack.packb([b"later", b"now"]),
    ]
    one.ask(
        PEER,
        "transact",
        msgpack.packb([pair]),
        settles=settles(one.get("in")),
        puts=[{"queue": "out", "count": 2}],
        producer=b"worker",
        seq=0,
    )
    assert one.get("out").bodies() == [b"now"]
    one.pass_time(10_000)
    assert one.get("out").bodies() == [b"later"]


def test_nobody_sees_the_queue_between(one: NodeRig) -> None:
    one.put("in", b"a")
    before = one.ask(PEER, "stats")["stats"]["queues"]
    transact(one, 0, [one.get("in")], {"out": [b"x"]})
    assert OUTBOX in one.machine("in").names
    assert one.ask(PEER, "queues")["queues"] == ["in", "out"]
    assert one.ask(PEER, "stats")["stats"]["queues"] == before + 1
    for cmd, fields in (
        ("stats", {}),
        ("get", {"max": 1}),
        ("consume", {"consumer": 1}),
        ("purge", {}),
        ("delete", {}),
        ("declare", {}),
    ):
        assert one.ask(PEER, cmd, queue=OUTBOX, **fields)["error"] == "name_not_allowed"
    assert one.put(OUTBOX, b"a")["error"] == "name_not_allowed"


def test_what_no_target_takes_is_counted_and_comes_when_it_does() -> None:
    one = NodeRig(slots=1, auto_declare=False)
    one.hello()
    one.ask(PEER, "declare", queue="in")
    one.put("in", b"a")
    transact(one, 0, [one.get("in")], {"out": [b"x", b"y"]})
    assert one.ask(PEER, "stats")["stats"]["departing"] == 2
    one.ask(PEER, "declare", queue="out")
    one.pass_time(2_000)
    assert one.get("out").bodies() == [b"x", b"y"]
    assert one.ask(PEER, "stats")["stats"]["departing"] == 0


def test_what_is_with_its_target_leaves_nothing_behind(one: NodeRig) -> None:
    for seq in range(40):
        one.put("in", b"a")
        transact(one, seq, [one.get("in")], {"out": [b"x" * 50]})
        one.settle("ack", one.get("out"))
    one.pass_time(60_000)
    outbox = one.queue(OUTBOX) if OUTBOX in one.machine("in").names else None
    assert outbox is not None
    assert outbox.ledger.messages == 0
    assert outbox.ledger.lanes[5].swept > 20


def test_puts_without_the_deciding_entry_are_removed_when_a_reign_begins(one: NodeRig) -> None:
    """As a primary leaves them whose followers have the first entries alone."""
    one.put("in", b"a")
    transact(one, 0, [one.get("in")], {"out": [b"x"]})
    one.put("in", b"b")
    given = command(1, [one.get("in")], {"out": [b"y"]})
    one.command(PEER, "transact", frame([b"y"]), **given)
    machine = one.machine("in")
    deciding = machine.log._uncommitted.pop()
    machine.log._unwritten.pop()
    machine.log.last_lsn -= 1
    machine.answers.pop(deciding.lsn)
    one.run()
    outbox = one.queue(OUTBOX)
    assert outbox.ledger.messages == 1
    one.restart()
    one.hello()
    one.run()
    assert one.queue(OUTBOX).ledger.messages == 0
    assert one.get("out").bodies() == [b"x"]
    assert one.get("in").bodies() == [b"b"]


@pytest.mark.parametrize("settings", [{"ordering": "key"}, {"max_in_flight": 1}], ids=str)
def test_what_it_settles_makes_room_for_the_next(one: NodeRig, settings: dict[str, Any]) -> None:
    one.ask(PEER, "declare", queue="in", settings=settings)
    for body in (b"a", b"b"):
        one.put("in", body, key="k")
    one.command(PEER, "consume", queue="in", consumer=1, credit=10)
    (first,) = [sent for sent in one.run() if sent.re == "messages"]
    mark = len(one.sent)
    transact(one, 0, [first], {"out": [b"x"]})
    (second,) = [sent for sent in one.sent[mark:] if sent.re == "messages"]
    assert (first.bodies(), second.bodies()) == ([b"a"], [b"b"])


def test_what_it_settles_frees_its_id(one: NodeRig) -> None:
    one.ask(PEER, "declare", queue="in", settings={"dedup": "unsettled"})
    frames = (msgpack.packb({"ids": ["i"]}), msgpack.packb([b"a"]))
    one.ask(PEER, "put", *frames, queue="in", count=1)
    assert one.ask(PEER, "put", *frames, queue="in", count=1)["duplicates"] == [0]
    transact(one, 0, [one.get("in")], {"out": [b"x"]})
    assert one.ask(PEER, "put", *frames, queue="in", count=1)["first"] == 1


def test_a_target_that_knows_ids_takes_each_id_once(one: NodeRig) -> None:
    one.ask(PEER, "declare", queue="out", settings={"dedup": "window"})
    columns = msgpack.packb({"ids": ["one", "two"]})
    one.ask(PEER, "put", columns, msgpack.packb([b"1", b"2"]), queue="out", count=2)
    batch = msgpack.packb([b"x", b"y"])
    for ids in (["two", "three"], ["one", "three"]):
        one.put("in", b"a")
        pair = msgpack.packb([[msgpack.packb({"ids": ids}), batch]])
        fields = command(0, [one.get("in", 1)], {"out": [b"x", b"y"]})
        fields["producer"] = ids[0].encode()
        assert one.ask(PEER, "transact", pair, **fields)["settled"] == 1
    assert one.get("out").bodies() + one.get("out").bodies() == [b"1", b"2", b"y"]
    assert one.stats("in")["departing"] == 0
    assert one.queue(OUTBOX).ledger.messages == 0
