"""The disk runs short, is full, or fails."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

from broker.limits import KIB
from tests.support.broker_process import BrokerEnded, BrokerProcess
from tests.support.fsync_shim import FailingDisk
from tests.support.small_disk import can_mount, resize, small_disk
from tests.support.wire import WireClient, WireClients, bodies_of

needs_shim = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler"
)
needs_mount = pytest.mark.skipif(not can_mount(), reason="only root can mount a small disk")


def test_below_the_reserve_puts_are_refused_and_consuming_goes_on(
    broker: BrokerProcess, client: WireClient, clients: WireClients
) -> None:
    assert client.put("orders", [b"one", b"two"]).name == "ok"
    assert broker.terminate() == 0
    broker.args = ["--disk-reserve", "1000000GiB"]
    broker.restart()
    client = clients.open(broker.endpoint)
    refused = client.put("orders", [b"three"])
    assert refused.name == "resource_alarm"
    assert refused.header["text"].startswith("disk:")
    delivery = client.get("orders")
    assert bodies_of(delivery) == [b"one", b"two"]
    assert client.ack_all(delivery).name == "ok"
    assert "puts are refused" in broker.stderr


def test_above_the_memory_mark_puts_are_refused_and_consuming_goes_on(
    broker: BrokerProcess, client: WireClient, clients: WireClients
) -> None:
    assert client.put("orders", [b"one", b"two"]).name == "ok"
    assert broker.terminate() == 0
    broker.args = ["--memory-max", "1MiB"]
    broker.restart()
    client = clients.open(broker.endpoint)
    refused = client.put("orders", [b"three"])
    assert refused.name == "resource_alarm"
    assert refused.header["text"].startswith("memory:")
    delivery = client.get("orders")
    assert bodies_of(delivery) == [b"one", b"two"]
    assert client.ack_all(delivery).name == "ok"


@pytest.fixture
def failing_disk(tmp_path: Path) -> FailingDisk:
    return FailingDisk(tmp_path)


@needs_shim
@pytest.mark.parametrize("sync", ["inline", "thread"])
def test_a_failed_fsync_ends_the_process_and_confirms_nothing_more(
    tmp_path: Path, failing_disk: FailingDisk, clients: WireClients, sync: str
) -> None:
    with BrokerProcess(tmp_path, ["--sync", sync], env=failing_disk.env) as broker:
        client = clients.open(broker.endpoint)
        assert client.put("orders", [b"confirmed"]).name == "ok"
        failing_disk.fail_syncs()
        client.command("put", msgpack.packb([b"not confirmed"]), queue="orders", count=1)
        assert broker.wait() == 70
        assert not client.has_reply()
        assert last_line(broker).startswith("msgqueue: disk_failed: ")
        assert "Traceback" not in broker.output
        failing_disk.heal()
        broker.restart()
        found = bodies_of(clients.open(broker.endpoint).get("orders"))
    # What met the failed fsync was never answered: it may be there or not.
    assert found in ([b"confirmed"], [b"confirmed", b"not confirmed"])


@needs_shim
def test_a_write_without_space_ends_the_process_with_its_own_status(
    tmp_path: Path, failing_disk: FailingDisk, clients: WireClients
) -> None:
    with BrokerProcess(tmp_path, env=failing_disk.env) as broker:
        client = clients.open(broker.endpoint)
        assert client.put("orders", [b"confirmed"]).name == "ok"
        failing_disk.fail_writes()
        client.command("put", msgpack.packb([b"not confirmed"]), queue="orders", count=1)
        assert broker.wait() == 71
        assert not client.has_reply()
        assert last_line(broker).startswith("msgqueue: disk_full: ")


@pytest.fixture
def full_disk_broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    """A broker whose data has 48 MiB of disk, of which it keeps nothing in reserve."""
    broker = BrokerProcess(tmp_path, ["--disk-reserve", "0"])
    with small_disk(broker.data, "48m"), broker:
        yield broker


@needs_mount
def test_a_full_disk_ends_the_process_and_after_making_room_everything_confirmed_is_there(
    full_disk_broker: BrokerProcess, clients: WireClients
) -> None:
    broker = full_disk_broker
    confirmed = put_until_it_ends(broker, clients.open(broker.endpoint))
    assert confirmed
    assert broker.wait() == 71
    assert last_line(broker).startswith("msgqueue: disk_full: ")
    assert "Traceback" not in broker.output
    with pytest.raises(BrokerEnded) as ended:
        broker.restart()
    assert ended.value.status == 71
    assert "Traceback" not in ended.value.output
    resize(broker.data, "512m")
    broker.restart()
    again = clients.open(broker.endpoint)
    found: list[bytes] = []
    while bodies := bodies_of(delivery := again.get("orders", max=1_000)):
        found += [body[:8] for body in bodies]
        assert again.ack_all(delivery).name == "ok"
    assert found[: len(confirmed)] == confirmed
    # The put that met the full disk was not answered: it may be there or not.
    assert len(found) <= len(confirmed) + 1


def last_line(broker: BrokerProcess) -> str:
    return broker.stderr.strip().rpartition("\n")[2]


def put_until_it_ends(broker: BrokerProcess, client: WireClient) -> list[bytes]:
    """Puts batches one after another; the numbers of those that were confirmed."""
    confirmed: list[bytes] = []
    while True:
        number = b"%08d" % len(confirmed)
        batch = msgpack.packb([number + bytes(64 * KIB)])
        client.command("put", batch, queue="orders", count=1)
        while not client.has_reply():
            if not broker.is_running:
                return confirmed
        assert client.receive().name == "ok"
        confirmed.append(number)
