"""A partitioned queue as both clients show it, over a real broker."""

from __future__ import annotations

from broker.model.partitions import partition_of
from tests.integration.conftest import Connect


def test_a_partitioned_queue_is_used_like_any_other(connect: Connect) -> None:
    mq = connect()
    orders = mq.queue("orders", partitions=4)
    for number in range(1_000):
        orders.put(b"%d" % number)
    orders.put_many([b"%d" % number for number in range(1_000, 2_000)], batch=100).wait(20)
    mq.flush(20)
    seen = []
    for message in orders.consume(max=2_000, timeout=20):
        seen.append(int(message.body))
        message.ack()
    mq.flush(20)
    assert sorted(seen) == list(range(2_000))
    stats = [mq.queue(f"orders#{index}").stats() for index in range(4)]
    assert [each["messages"] for each in stats] == [0, 0, 0, 0]
    assert all(each["counters"]["put"] for each in stats)


def test_the_messages_of_a_key_are_in_one_partition_and_in_order(connect: Connect) -> None:
    orders = connect().queue("orders", partitions=4, ordering="key")
    keys = [f"customer-{number % 7}" for number in range(700)]
    confirms = [orders.put(b"%d" % n, key=key) for n, key in enumerate(keys[:350])]
    bulk = orders.put_many([b"%d" % n for n in range(350, 700)], keys=keys[350:])
    results = [confirm.wait(20) for confirm in confirms]
    places = {(r.queue, r.position) for r in results}
    assert len(places) == 350
    expected = [f"orders#{partition_of(key, 4)}" for key in keys[:350]]
    assert [result.queue for result in results] == expected
    assert sum(result.messages for result in bulk.wait(20)) == 350
    seen: dict[str, list[int]] = {}
    for message in orders.consume(max=700, timeout=20):
        seen.setdefault(message.key, []).append(int(message.body))
        message.ack()
    assert seen == {f"customer-{n}": list(range(n, 700, 7)) for n in range(7)}


def test_a_client_that_learns_late_puts_and_gets(connect: Connect) -> None:
    connect().queue("orders", partitions=3)
    orders = connect().queue("orders")
    results = orders.put_many([b"%d" % n for n in range(9)], batch=1).wait(20)
    assert {result.queue for result in results} == {"orders#0", "orders#1", "orders#2"}
    taken = []
    while (message := orders.get(1)) is not None:
        taken.append(int(message.body))
        message.ack()
    assert sorted(taken) == list(range(9))
    assert orders.get() is None


def test_a_partition_that_is_made_has_the_settings_of_the_whole(connect: Connect) -> None:
    mq = connect()
    mq.queue("orders", partitions=2, lease=7.0)
    mq.queue("orders").put(b"a").wait(20)
    settings = mq.queue("orders#1").stats()["settings"]
    assert (settings["lease_ms"], settings["partitions"]) == (7_000, 1)


def test_a_consumer_that_leaves_gives_back_what_it_did_not_see(connect: Connect) -> None:
    mq = connect()
    orders = mq.queue("orders", partitions=2)
    orders.put_many([b"%d" % n for n in range(20)], batch=5).wait(20)
    loop = orders.consume(credit=8)
    held = next(loop)
    loop.close()
    held.ack(wait=True)
    left = [message.body for message in orders.consume(max=19, timeout=20)]
    assert sorted(map(int, [held.body, *left])) == list(range(20))


def test_a_queue_that_is_deleted_and_made_anew_is_used_as_what_it_is_then(
    connect: Connect,
) -> None:
    mq = connect()
    orders = mq.queue("orders", partitions=2)
    orders.put_many([b"a", b"b"], batch=1).wait(20)
    orders.delete(if_empty=False)
    mq.queue("orders", partitions=3)
    results = orders.put_many([b"%d" % n for n in range(6)], batch=1).wait(20)
    assert {result.queue for result in results} == {"orders#0", "orders#1", "orders#2"}
    orders.delete(if_empty=False)
    assert orders.put(b"plain").wait(20).queue == "orders"
