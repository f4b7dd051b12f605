"""A client and a partitioned queue, command by command."""

from __future__ import annotations

from broker.client.credit import CreditWindow
from broker.client.put_batch import PutBatch, PutSpec
from broker.model.partitions import partition_of
from tests.client.rig import Rig, Sent

KEYED = PutSpec((), ("keys",))


def refuse(rig: Rig, command: Sent, partitions: int = 2) -> None:
    rig.refuse(command, "partitioned", partitions=partitions, settings={"lease_ms": 5_000})


def put_keyed(rig: Rig, *keys: str) -> list[PutBatch]:
    batches = []
    for key in keys:
        batches += rig.put(key.encode(), spec=KEYED)
        batches[-1].add_columns({"keys": [key]})
    return batches


def keys_of(partitions: int) -> list[str]:
    """A key of each partition."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < partitions:
        found.setdefault(partition_of(f"k{number}", partitions), f"k{number}")
        number += 1
    return [key for _, key in sorted(found.items())]


def test_a_put_says_what_it_knows_until_it_is_confirmed() -> None:
    rig = Rig()
    rig.put(b"a")
    first = rig.only("put")
    assert first["partitions"] == 1
    rig.reply(first, first=0, count=1)
    rig.put(b"b")
    assert "partitions" not in rig.only("put").header


def test_batches_go_to_each_partition_in_turn_with_sequences_of_its_own() -> None:
    rig = Rig()
    (batch,) = rig.put(b"a")
    refuse(rig, rig.only("put"))
    one, two, put = rig.sent()
    assert [sent.cmd for sent in (one, two, put)] == ["declare", "declare", "put"]
    assert [one["queue"], two["queue"]] == ["q#0", "q#1"]
    assert one["settings"] == {"lease_ms": 5_000}
    rig.reply(put, first=7, count=1)
    rig.put(b"b")
    other = rig.only("put")
    assert {put["queue"], other["queue"]} == {"q#0", "q#1"}
    assert (put["seq"], other["seq"]) == (0, 0)
    assert batch.part(0)[:3] == (put["queue"], 7, f"{put['queue']}:7")


def test_what_gathered_before_it_was_known_goes_to_partitions_too() -> None:
    rig = Rig()
    batches = rig.put(b"a", b"b", b"c")
    refuse(rig, rig.only("put"))
    sent = [command for command in rig.sent() if command.cmd == "put"]
    rig.after(10)
    sent += rig.sent("put")
    assert sorted(element for put in sent for element in put.elements) == [b"a", b"b", b"c"]
    for put in sent:
        rig.reply(put, first=0, count=len(put.elements))
    assert all(batch.done for batch in batches)


def test_a_batch_is_cut_by_its_keys_and_confirmed_when_all_of_it_is() -> None:
    rig = Rig()
    first, second = keys_of(2)
    lead = put_keyed(rig, first)
    refuse(rig, rig.only("put"))
    led = rig.sent()[-1]
    batches = put_keyed(rig, first, second, first)
    assert len(set(batches)) == 1
    rig.reply(led, first=0, count=1)
    pieces = rig.sent("put")
    assert {put["queue"]: put.elements for put in pieces} == {
        "q#0": [first.encode(), first.encode()],
        "q#1": [second.encode()],
    }
    rig.reply(pieces[0], first=1, count=2)
    assert not batches[0].done
    rig.reply(pieces[1], first=0, count=1)
    assert [batches[0].part(index)[:2] for index in range(3)] == [
        ("q#0", 1),
        ("q#1", 0),
        ("q#0", 2),
    ]
    assert lead[0].part(0).queue == "q#0"


def test_a_piece_that_fails_fails_its_batch_and_is_told_once() -> None:
    rig = Rig()
    keys = keys_of(2)
    (lead,) = put_keyed(rig, keys[0])
    refuse(rig, rig.only("put"))
    led = rig.sent()[-1]
    batch = put_keyed(rig, *keys)[0]
    rig.reply(led, first=0, count=1)
    good, bad = rig.sent("put")
    rig.reply(good, first=1, count=1)
    rig.refuse(bad, "queue_full")
    assert lead.error is None
    assert batch.error is not None
    assert rig.session.puts.ignored == [batch]


def test_an_answer_of_the_whole_that_comes_late_means_nothing() -> None:
    rig = Rig()
    rig.session.puts.options.batch_count = 1
    one, two = rig.put(b"a", b"b")
    first, second = rig.sent("put")
    refuse(rig, first)
    puts = [command for command in rig.sent() if command.cmd == "put"]
    refuse(rig, second)
    assert len(puts) == 2
    for put in puts:
        rig.reply(put, first=0, count=1)
    assert one.done
    assert two.done
    assert one.error is None
    assert two.error is None
    assert rig.sent() == []


def test_unconfirmed_batches_of_partitions_are_sent_again_on_a_new_connection() -> None:
    rig = Rig()
    rig.put(b"a")
    refuse(rig, rig.only("put"))
    (put,) = [command for command in rig.sent() if command.cmd == "put"]
    again = rig.reconnect()
    assert [command.cmd for command in again] == ["declare", "declare", "put"]
    assert (again[-1]["queue"], again[-1]["seq"]) == (put["queue"], put["seq"])


def test_a_put_that_finds_its_partition_not_yet_there_comes_again() -> None:
    rig = Rig()
    (batch,) = rig.put(b"a")
    refuse(rig, rig.only("put"))
    one, two, put = rig.sent()
    rig.refuse(put, "queue_not_found")
    rig.reply(one)
    rig.reply(two)
    rig.after(100)
    rig.reply(rig.only("put"), first=0, count=1)
    assert batch.error is None
    assert batch.done


def test_what_partitions_that_were_deleted_refuse_goes_to_the_queue_of_that_name() -> None:
    rig = Rig()
    (batch,) = rig.put(b"a")
    refuse(rig, rig.only("put"))
    one, two, put = rig.sent()
    rig.reply(one)
    rig.reply(two)
    rig.refuse(put, "queue_not_found")
    again = rig.only("put")
    assert (again["queue"], again["partitions"], again.elements) == ("q", 1, [b"a"])
    refuse(rig, again, partitions=3)
    *declares, put = rig.sent()
    assert [declare["queue"] for declare in declares] == ["q#0", "q#1", "q#2"]
    rig.reply(put, first=0, count=1)
    assert batch.part(0).queue == put["queue"]


def test_a_consumer_becomes_one_of_each_partition_and_takes_from_all() -> None:
    rig = Rig()
    consumers = rig.session.consumers
    consumer = consumers.add("q", CreditWindow(fixed=10), None, False, 1)
    told: list[bool] = []
    consumer.waiters.add(lambda: told.append(True))
    refuse(rig, rig.only("consume"))
    *_, one, two = rig.sent()
    assert [(c.cmd, c["queue"], c["credit"]) for c in (one, two)] == [
        ("consume", "q#0", 5),
        ("consume", "q#1", 5),
    ]
    for command in (one, two):
        rig.reply(command)
        run = {"first": 0, "count": 2}
        header = {"v": 1, "re": "messages", "queue": command["queue"], "tag": command["queue"]}
        bodies = [command["queue"].encode()] * 2
        rig.receive(
            {
                **header,
                "tag": command["queue"].encode(),
                "runs": [run],
                "consumer": command["consumer"],
            },
            bodies,
        )
    assert told
    assert consumer.has_news
    taken = [consumers.take(consumer, 1, rig.now) for _ in range(4)]
    assert [parts[0][0].queue for parts in taken] == ["q#0", "q#1", "q#0", "q#1"]
    assert consumers.take(consumer, 1, rig.now) == []


def test_leaving_a_partitioned_queue_leaves_each_partition() -> None:
    rig = Rig()
    consumers = rig.session.consumers
    consumer = consumers.add("q", CreditWindow(fixed=10), None, False, 1)
    refuse(rig, rig.only("consume"))
    *_, one, two = rig.sent()
    rig.reply(one)
    rig.reply(two)
    consumers.leave(consumer)
    assert [sent.cmd for sent in rig.sent()] == ["cancel", "cancel"]


def test_a_consumer_that_left_meanwhile_begins_nowhere() -> None:
    rig = Rig()
    consumers = rig.session.consumers
    consumer = consumers.add("q", CreditWindow(fixed=10), None, False, 1)
    consume = rig.only("consume")
    consumers.leave(consumer)
    rig.sent()
    refuse(rig, consume)
    assert "consume" not in [sent.cmd for sent in rig.sent()]
