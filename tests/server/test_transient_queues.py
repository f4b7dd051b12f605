"""Transient queues of a broker process: no disk is waited for, and memory is bounded."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from broker.limits import KIB
from tests.support.broker_process import BrokerProcess
from tests.support.fsync_shim import FailingDisk
from tests.support.waiting import wait_until
from tests.support.wire import WireClient, WireClients, bodies_of

_TRANSIENT = {"durable": False}


@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler"
)
@pytest.mark.parametrize("sync", ["inline", "thread"])
def test_a_disk_that_takes_nothing_is_in_nobodys_way(
    tmp_path: Path, clients: WireClients, sync: str
) -> None:
    """Each fsync and each write would end the process."""
    disk = FailingDisk(tmp_path)
    with BrokerProcess(tmp_path, ["--sync", sync], env=disk.env) as broker:
        client = clients.open(broker.endpoint)
        client.request("declare", queue="ticks", settings=_TRANSIENT)
        for fail in (disk.fail_syncs, disk.fail_writes):
            fail()
            for _ in range(100):
                assert client.put("ticks", [b"one", b"two"]).name == "ok"
                delivery = client.get("ticks")
                assert bodies_of(delivery) == [b"one", b"two"]
                assert client.ack_all(delivery).name == "ok"
        disk.heal()
        assert client.put("durable", [b"there"]).name == "ok"


def test_messages_end_with_the_process_and_the_queue_does_not(
    broker: BrokerProcess, client: WireClient, clients: WireClients
) -> None:
    client.request("declare", queue="ticks", settings=_TRANSIENT)
    for sequence in range(2):
        client.put("ticks", [b"lost"], producer=b"p", seq=sequence)
    broker.kill()
    broker.restart()
    client = clients.open(broker.endpoint)
    stats = client.request("stats", queue="ticks").header["stats"]
    assert (stats["messages"], stats["settings"]["durable"]) == (0, False)
    assert client.put("ticks", [b"kept"], producer=b"p", seq=2).name == "ok"
    assert bodies_of(client.get("ticks")) == [b"kept"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory in use")
def test_messages_in_memory_raise_the_alarm_and_their_settles_end_it(
    tmp_path: Path, clients: WireClients
) -> None:
    with BrokerProcess(tmp_path, ["--memory-max", "160MiB"]) as broker:
        client = clients.open(broker.endpoint)
        client.request("declare", queue="ticks", settings=_TRANSIENT)
        body = bytes(512 * KIB)

        def put() -> str:
            return client.put("ticks", [body]).name

        wait_until(lambda: put() == "resource_alarm", "the alarm")
        while bodies_of(delivery := client.get("ticks", max=10)):
            assert client.ack_all(delivery).name == "ok"
        wait_until(lambda: put() == "ok", "the end of the alarm")
