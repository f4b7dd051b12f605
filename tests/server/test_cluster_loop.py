"""The laws of the loop in a cluster of two, whose disks the test slows down and stalls."""

from __future__ import annotations

from collections.abc import Iterator

import msgpack
import pytest

from broker.cluster.ownership import ClusterConfig
from broker.errors import BrokerIdInUse
from broker.server.local_coordinator import LocalKeys
from tests.server.loop_thread import LoopThread, SlowStore
from tests.support.waiting import wait_until
from tests.support.wire import WireClient, WireClients, bodies_of

CONFIG = ClusterConfig("c1", slots=1, replication=2, min_isr=2)
QUEUE = "orders"


class Pair:
    """Brokers ``b1`` and ``b2``, which share the one slot; the first is its primary."""

    def __init__(self, mode: str) -> None:
        self.keys = LocalKeys(CONFIG)
        self.loops: list[LoopThread] = []
        for broker_id in ("b1", "b2"):
            store = SlowStore()
            self.loops.append(LoopThread(store, mode=mode, broker_id=broker_id, keys=self.keys))
        self.primary, self.follower = self.loops

    def is_in_sync(self, client: WireClient) -> bool:
        return client.put(QUEUE, [b"in sync?"]).name == "ok"

    def close(self) -> None:
        for loop in self.loops:
            loop.store.stalled = False
            loop.store.synced.set()
        for loop in self.loops:
            loop.close()


@pytest.fixture(params=["thread", "inline"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    pair = Pair(request.param)
    yield pair
    pair.close()


@pytest.fixture
def client(pair: Pair, clients: WireClients) -> WireClient:
    """A client of the primary; the slot has both its copies."""
    client = clients.open(pair.primary.endpoint)
    wait_until(lambda: pair.is_in_sync(client), "a put is taken")
    assert owner_of(client) == "b1"
    return client


def owner_of(client: WireClient) -> str:
    (owner,) = client.request("map").header["owners"]
    assert isinstance(owner, str)
    return owner


def test_what_goes_to_the_others_leaves_before_this_broker_waits_for_its_disk(
    pair: Pair, client: WireClient
) -> None:
    pair.primary.store.synced.clear()
    writes = pair.follower.store.writes
    request = client.command("put", msgpack.packb([b"body"]), queue=QUEUE, count=1)
    wait_until(lambda: pair.follower.store.writes > writes, "the other has written it")
    assert not client.has_reply()
    pair.primary.store.synced.set()
    reply = client.receive()
    assert (reply.name, reply.header["req"]) == ("ok", request)


def test_nothing_is_confirmed_before_the_sync_of_the_other_copy(
    pair: Pair, client: WireClient
) -> None:
    pair.follower.store.synced.clear()
    request = client.command("put", msgpack.packb([b"body"]), queue=QUEUE, count=1)
    ping = client.command("ping")
    assert client.receive().header["req"] == ping
    assert not client.has_reply(wait_ms=100)
    pair.follower.store.synced.set()
    reply = client.receive()
    assert (reply.name, reply.header["req"]) == ("ok", request)


def test_while_its_store_stalls_a_broker_reads_no_link_and_catches_up_after_it(
    pair: Pair, client: WireClient
) -> None:
    store = pair.follower.store
    store.stalled = True
    looks = store.looks
    wait_until(lambda: store.looks > looks + 1, "the loop held")
    writes, looks = store.writes, store.looks
    request = client.command("put", msgpack.packb([b"body"]), queue=QUEUE, count=1)
    wait_until(lambda: store.looks > looks + 5, "the loop looked again")
    assert store.writes == writes
    store.stalled = False
    reply = client.receive()
    assert (reply.name, reply.header["req"]) == ("ok", request)


def test_a_broker_asked_to_stop_hands_its_slot_over_before_it_ends(
    pair: Pair, client: WireClient, clients: WireClients
) -> None:
    other = clients.open(pair.follower.endpoint)
    pair.primary.ask_to_stop()
    pair.primary.wait_for_end()
    wait_until(lambda: owner_of(other) == "b2", "the other has the slot")
    assert pair.primary.error is None


def test_an_id_that_another_disk_holds_ends_the_loop_by_name(
    pair: Pair, client: WireClient
) -> None:
    third = LoopThread(SlowStore(), broker_id="b1", seed=2, keys=pair.keys)
    third.wait_for_end()
    third.close()
    assert isinstance(third.error, BrokerIdInUse)
    assert bodies_of(client.get(QUEUE, max=1)) == [b"in sync?"]
