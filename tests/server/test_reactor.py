"""The laws of the loop, over a disk that the test slows down, stalls and breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgpack
import pytest

from broker.errors import DiskFailed, DiskFull
from broker.limits import MIB, TURN_BYTES_MAX, UNSYNCED_BYTES_MAX
from tests.server.loop_thread import LoopThread, SlowStore
from tests.support.waiting import wait_until
from tests.support.wire import WireClients, bodies_of

Start = Callable[[], LoopThread]


@pytest.fixture
def store() -> Iterator[SlowStore]:
    store = SlowStore()
    yield store
    store.stalled = False
    store.synced.set()


@pytest.fixture
def loop(store: SlowStore) -> Iterator[LoopThread]:
    loop = LoopThread(store)
    yield loop
    store.stalled = False
    store.synced.set()
    loop.close()


def test_nothing_is_confirmed_before_the_sync_that_holds_it(
    loop: LoopThread, store: SlowStore, clients: WireClients
) -> None:
    client = clients.open(loop.endpoint)
    store.synced.clear()
    request = client.command("put", msgpack.packb([b"body"]), queue="orders", count=1)
    # The loop goes on meanwhile: what needs no disk is answered, and nothing else came before.
    ping = client.command("ping")
    assert client.receive().header["req"] == ping
    store.synced.set()
    reply = client.receive()
    assert (reply.name, reply.header["req"]) == ("ok", request)


def test_one_sync_confirms_all_that_was_put_before_it(
    loop: LoopThread, store: SlowStore, clients: WireClients
) -> None:
    client = clients.open(loop.endpoint)
    client.put("orders", [b"first"])
    store.synced.clear()
    for index in range(100):
        client.command("put", msgpack.packb([b"%d" % index]), queue="orders", count=1)
        client.request("ping")
    store.synced.set()
    assert [client.receive().name for _ in range(100)] == ["ok"] * 100


def test_while_the_store_stalls_nothing_is_read_and_nothing_written(
    loop: LoopThread, store: SlowStore, clients: WireClients
) -> None:
    client = clients.open(loop.endpoint)
    client.put("orders", [b"before"])
    store.stalled = True
    looks = store.looks
    wait_until(lambda: store.looks > looks + 1, "the loop held")
    writes, looks = store.writes, store.looks
    client.command("put", msgpack.packb([b"body"]), queue="orders", count=1)
    wait_until(lambda: store.looks > looks + 5, "the loop looked again")
    assert store.writes == writes
    assert not client.has_reply()
    store.stalled = False
    assert client.receive().name == "ok"


def test_what_is_written_and_not_yet_on_disk_is_bounded(
    loop: LoopThread, store: SlowStore, clients: WireClients
) -> None:
    client = clients.open(loop.endpoint)
    client.put("orders", [b"before"])
    store.synced.clear()
    batch = msgpack.packb([bytes(MIB - 64)])
    for _ in range(64):
        client.command("put", batch, queue="orders", count=1)
    wait_until(lambda: store.unsynced_bytes > UNSYNCED_BYTES_MAX, "the bound passed")
    store.synced.set()
    assert [client.receive().name for _ in range(64)] == ["ok"] * 64
    # One turn may pass the bound; the next one does not begin.
    assert store.unsynced_bytes_max < UNSYNCED_BYTES_MAX + TURN_BYTES_MAX + 2 * MIB


@pytest.mark.parametrize("mode", ["thread", "inline"])
def test_a_failed_sync_ends_the_loop_and_nothing_is_answered_after_it(
    store: SlowStore, clients: WireClients, mode: str
) -> None:
    loop = LoopThread(store, mode=mode)
    client = clients.open(loop.endpoint)
    assert client.put("orders", [b"before"]).name == "ok"
    store.fail_next_sync(DiskFailed("fsync: Input/output error"))
    client.command("put", msgpack.packb([b"lost"]), queue="orders", count=1)
    loop.wait_for_end()
    loop.close()
    assert isinstance(loop.error, DiskFailed)
    assert not client.has_reply()


def test_a_failed_write_ends_the_loop(store: SlowStore, clients: WireClients) -> None:
    loop = LoopThread(store)
    client = clients.open(loop.endpoint)
    assert client.put("orders", [b"before"]).name == "ok"
    store.fail_next_write(DiskFull("No space left on device"))
    client.command("put", msgpack.packb([b"lost"]), queue="orders", count=1)
    loop.wait_for_end()
    assert isinstance(loop.error, DiskFull)
    loop.close()
    assert not client.has_reply()


def test_a_consumer_whose_connection_is_gone_loses_its_session_and_others_get_its_messages(
    loop: LoopThread, clients: WireClients
) -> None:
    gone = clients.open(loop.endpoint)
    assert gone.request("consume", queue="orders", consumer=1).name == "ok"
    gone.close()
    client = clients.open(loop.endpoint)

    def is_told() -> bool:
        client.put("orders", [b"body"])
        return loop.node.counters.get("sessions_unreachable", 0) == 1

    wait_until(is_told, "the session ended")
    delivery = client.get("orders", timeout_ms=10_000)
    assert bodies_of(delivery)[0] == b"body"


def test_a_drain_refuses_new_work_confirms_the_old_and_ends(
    loop: LoopThread, store: SlowStore, clients: WireClients
) -> None:
    client = clients.open(loop.endpoint)
    store.synced.clear()
    request = client.command("put", msgpack.packb([b"old"]), queue="orders", count=1)
    client.request("ping")
    loop.ask_to_stop()

    def is_refused() -> bool:
        return client.request("put", msgpack.packb([b""]), queue="new", count=1).name != "ok"

    wait_until(is_refused, "new work refused")
    store.synced.set()
    reply = client.receive()
    assert (reply.name, reply.header["req"]) == ("ok", request)
    loop.wait_for_end()
