"""What a put promises, over one real broker that is killed again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from patterns import Client, DedupFull, ProducerFenced, QueueFull, QueueNotFound
from tests.integration.conftest import bodies, kill_9
from tests.support.broker_process import BrokerProcess
from tests.support.waiting import wait_until
from tests.support.wire import Reply, WireClient, WireClients

Open = Callable[..., WireClient]
WAIT_S = 60
#: What a test can fill or outlive, of what takes a day or ten million ids elsewhere.
LOWERED = "IDS_MAX=4 PRODUCER_IDLE=1500 PRODUCERS_PER_SLOT_MAX=3 MINUTE=200"


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker of one slot with small bounds."""
    with BrokerProcess(
        tmp_path_factory.mktemp("lowered"),
        ["--slots", "1"],
        env={"MSGQUEUE_TEST_LIMITS": LOWERED},
        module="tests.support.lowered_broker",
    ) as running:
        yield running


def put(client: WireClient, queue: str, seq: int, body: bytes = b"x", **fields: Any) -> Reply:
    return client.put(queue, [body], **{"producer": b"p", "seq": seq, **fields})


def test_a_confirmed_put_is_there_after_a_kill(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    result = mq.queue(name).put(b"a").wait(WAIT_S)
    kill_9(shared)
    assert (result.copies, bodies(mq.queue(name).browse())) == (1, [b"a"])


def test_a_refused_put_never_appears(mq: Client, shared: BrokerProcess, name: str) -> None:
    queue = mq.queue(name, max_messages=1)
    queue.put(b"a").wait(WAIT_S)
    with pytest.raises(QueueFull):
        queue.put(b"refused").wait(WAIT_S)
    queue.get(WAIT_S).ack(wait=True)  # type: ignore[union-attr]
    kill_9(shared)
    queue.put(b"b").wait(WAIT_S)
    assert bodies(queue.browse()) == [b"b"]


def test_a_put_that_asks_for_no_confirm_gets_none(wire: Open, name: str) -> None:
    client = wire()
    header = {"v": 1, "cmd": "put", "queue": name, "count": 1}
    client.send(header, msgpack.packb([b"a"]))
    got = client.command("get", queue=name, max=1, timeout_ms=20_000)
    reply = client.receive()
    assert (reply.name, reply.header["req"]) == ("messages", got)


def test_a_put_sent_again_after_a_kill_appears_once(
    wire: Open, mq: Client, shared: BrokerProcess, name: str
) -> None:
    for seq in range(3):
        put(wire(), name, seq, b"%d" % seq)
    kill_9(shared)
    again = wire()
    assert [put(again, name, seq).header["duplicate"] for seq in range(3)] == [True] * 3
    assert put(again, name, 3, b"3").header["first"] == 3
    assert bodies(mq.queue(name).browse()) == [b"0", b"1", b"2", b"3"]


def test_a_repeat_is_confirmed_where_a_new_put_is_refused(
    wire: Open, mq: Client, shared: BrokerProcess, name: str
) -> None:
    mq.queue(name, max_messages=1)
    assert put(wire(), name, 0).name == "ok"
    kill_9(shared)
    client = wire()
    assert put(client, name, 0).header["duplicate"] is True
    assert put(client, name, 1).name == "queue_full"


def test_a_sequence_below_the_window_is_refused_by_name(
    wire: Open, shared: BrokerProcess, name: str
) -> None:
    client = wire()
    for seq in range(1_025):
        fields = {"queue": name, "count": 1, "producer": b"p", "seq": seq}
        last = client.command("put", msgpack.packb([b"x"]), **fields)
    while client.receive().header["req"] != last:
        pass
    kill_9(shared)
    again = wire()
    assert put(again, name, 0).name == "sequence_too_old"
    assert put(again, name, 1).header["duplicate"] is True


def test_a_later_sequence_of_an_unknown_producer_is_never_taken(
    wire: Open, mq: Client, name: str
) -> None:
    mq.queue(name, lease=30.0)
    assert put(wire(), name, 7).name == "producer_expired"
    assert mq.queue(name).stats()["messages"] == 0


def test_a_producer_that_put_nothing_for_long_is_forgotten_for_good(
    lowered: BrokerProcess, name: str
) -> None:
    with WireClients() as clients:
        client = clients.open(lowered.endpoint)
        assert [put(client, name, seq).name for seq in (0, 1)] == ["ok", "ok"]
        # A repeat is no use of the producer; once forgotten, its sequence is not taken.
        wait_until(lambda: _is_unknown(client, name, b"p"), "the producer is forgotten")
        kill_9(lowered)
        assert _is_unknown(clients.open(lowered.endpoint), name, b"p")


def test_of_too_many_producers_some_are_forgotten_though_they_put(
    lowered: BrokerProcess, name: str
) -> None:
    seqs = dict.fromkeys((b"p%d" % number for number in range(6)), -1)
    with WireClients() as clients:
        client = clients.open(lowered.endpoint)

        def is_one_forgotten() -> bool:
            for producer in seqs:
                seqs[producer] += 1
                if put(client, name, seqs[producer], producer=producer).name != "ok":
                    return True
            return False

        wait_until(is_one_forgotten, "one is forgotten")


def _is_unknown(client: WireClient, queue: str, producer: bytes) -> bool:
    # What others put is what the upkeep of a slot follows.
    client.put("others", [b"x"])
    reply = put(client, queue, 1, producer=producer)
    assert reply.name == "producer_expired" or reply.header["duplicate"], reply
    return reply.name == "producer_expired"


def test_the_newest_process_of_a_name_fences_the_older_over_a_kill(
    shared: BrokerProcess, name: str
) -> None:
    with (
        Client(shared.endpoint, producer=name) as old,
        Client(shared.endpoint, producer=name) as new,
    ):
        old.queue(name).put(b"a").wait(WAIT_S)
        new.queue(name).put(b"b").wait(WAIT_S)
        kill_9(shared)
        with pytest.raises(ProducerFenced):
            old.queue(name).put(b"c").wait(WAIT_S)
        new.queue(name).put(b"d").wait(WAIT_S)
        assert bodies(new.queue(name).browse()) == [b"a", b"b", b"d"]


def test_an_id_is_known_after_its_ack_a_purge_and_a_kill(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name, dedup="window", dedup_window=600.0)
    queue.put_many([b"a", b"b", b"c"], ids=["acked", "purged", "waits"]).wait(WAIT_S)
    queue.get(WAIT_S).ack(wait=True)  # type: ignore[union-attr]
    queue.purge()
    queue.put(b"d", id="later").wait(WAIT_S)
    for _ in range(2):
        for each in ("acked", "purged", "waits", "later"):
            assert queue.put(b"again", id=each).wait(WAIT_S).duplicate is True
        kill_9(shared)
    assert bodies(queue.browse()) == [b"d"]


def test_an_id_is_taken_again_when_its_window_is_over(mq: Client, name: str) -> None:
    queue = mq.queue(name, dedup="window", dedup_window=0.5)
    queue.put(b"a", id="one").wait(WAIT_S)
    wait_until(lambda: not queue.put(b"b", id="one").wait(WAIT_S).duplicate, "it is taken again")
    assert bodies(queue.browse()) == [b"a", b"b"]


def test_an_id_is_taken_again_when_its_message_is_settled(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name, dedup="unsettled")
    queue.put(b"a", id="one").wait(WAIT_S)
    held = queue.get(WAIT_S)
    kill_9(shared)
    assert queue.put(b"b", id="one").wait(WAIT_S).duplicate is True
    assert held is not None
    held.ack(wait=True)
    assert queue.put(b"c", id="one").wait(WAIT_S).duplicate is False
    assert bodies(queue.browse()) == [b"c"]


def test_a_queue_that_remembers_as_many_ids_as_it_may_refuses_by_name(
    lowered: BrokerProcess, name: str
) -> None:
    with Client(lowered.endpoint) as mq:
        queue = mq.queue(name, dedup="window", dedup_window=600.0)
        queue.put_many([b"x"] * 4, ids=list("abcd")).wait(WAIT_S)
        with pytest.raises(DedupFull):
            queue.put(b"x", id="e").wait(WAIT_S)
        assert queue.put(b"x", id="a").wait(WAIT_S).duplicate is True
        queue.put(b"without an id").wait(WAIT_S)


def test_what_a_transaction_puts_is_taken_once_by_its_id(mq: Client, name: str) -> None:
    source, target = mq.queue(name), mq.queue(f"{name}-to", dedup="window")
    target.put(b"first", id="one").wait(WAIT_S)
    source.put_many([b"a", b"b"]).wait(WAIT_S)
    for each in ("one", "two"):
        message = source.get(WAIT_S)
        assert message is not None
        with mq.transaction() as tx:
            tx.ack(message)
            tx.put(target.name, b"of the transaction", id=each)
    wait_until(lambda: target.stats()["ready"] == 2, "the second is there")
    assert bodies(target.browse()) == [b"first", b"of the transaction"]
    assert mq.stats()["departing"] == 0


def test_a_message_is_found_by_the_id_that_its_confirm_told(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue: Any = mq.queue(name)
    results = [queue.put(body, delay=600).wait(WAIT_S) for body in (b"a", b"b", b"c")]
    kill_9(shared)
    assert bodies(queue.browse(ids=results[1].id)) == [b"b"]
    assert queue.cancel(results[0].id) is True
    assert queue.reschedule(results[2].id, delay=0).messages == 1
    message = queue.get(WAIT_S)
    assert (message and message.body, bodies(queue.browse(ids=results[0].id))) == (b"c", [])


def test_an_application_finds_cancels_and_moves_by_its_own_id(
    mq: Client, shared: BrokerProcess, name: str
) -> None:
    queue = mq.queue(name, index_ids=True)
    queue.put_many([b"a", b"b", b"c"], ids=["a", "b", "c"], delay=600).wait(WAIT_S)
    kill_9(shared)
    assert bodies(queue.browse(ids="b")) == [b"b"]
    assert queue.cancel("a") is True
    assert queue.reschedule("c", delay=0).messages == 1
    kill_9(shared)
    message = queue.get(WAIT_S)
    assert (message and message.body, bodies(queue.browse(ids=["a", "b"]))) == (b"c", [b"b"])


def test_without_auto_declare_an_unknown_name_is_queue_not_found(tmp_path: Path) -> None:
    with (
        BrokerProcess(tmp_path, ["--no-auto-declare"]) as broker,
        Client(broker.endpoint) as mq,
    ):
        with pytest.raises(QueueNotFound):
            mq.queue("unknown").put(b"a").wait(WAIT_S)
        with pytest.raises(QueueNotFound):
            mq.queue("unknown").get()
        mq.queue("known", lease=30.0).put(b"a").wait(WAIT_S)
