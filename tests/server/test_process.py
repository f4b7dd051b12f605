"""A broker process: how it starts, refuses to start, and ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

from tests.support.broker_process import ROOT, BrokerEnded, BrokerProcess
from tests.support.waiting import DEADLINE_S, wait_until
from tests.support.wire import WireClient, WireClients, bodies_of


def refused(directory: Path, *args: str, listen: str = "tcp://127.0.0.1:0") -> BrokerEnded:
    """How a start ended that must not succeed: with one line on standard error."""
    with pytest.raises(BrokerEnded) as ended:
        BrokerProcess(directory, args, listen=listen).start()
    assert "Traceback" not in ended.value.output
    last_line = ended.value.output.strip().rpartition("\n")[2]
    assert last_line.startswith("msgqueue: "), ended.value.output
    return ended.value


def test_the_ready_line_tells_the_real_port_and_the_data(broker: BrokerProcess) -> None:
    assert broker.port != 0
    assert broker.stdout == (
        f"msgqueue is ready: listening on {broker.endpoint}, data in {broker.data},"
        f" subscribers at {broker.publish_endpoint}, raw publishers at {broker.raw_endpoint}\n"
    )


def test_a_port_in_use_is_named_before_the_data_is_touched(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    ended = refused(second, listen=broker.endpoint)
    assert ended.status == 65
    assert "address_in_use" in ended.output
    assert broker.endpoint in ended.output
    assert not (second / "data").exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file stands where the directory should be")
    ended = refused(tmp_path)
    assert ended.status == 67
    assert "directory_not_writable" in ended.output
    assert str(tmp_path / "data") in ended.output


def test_a_second_process_on_the_same_directory_is_refused(
    broker: BrokerProcess, client: WireClient
) -> None:
    ended = refused(broker.directory / "second", "--data", str(broker.data))
    assert ended.status == 66
    assert "directory_in_use" in ended.output
    assert client.put("orders", [b"still served"]).name == "ok"


def test_a_misspelt_setting_is_named(tmp_path: Path) -> None:
    toml = tmp_path / "msgqueue.toml"
    toml.write_text("slotz = 3\n")
    ended = refused(tmp_path, "--config", str(toml))
    assert ended.status == 64
    assert "slotz" in ended.output


def test_an_address_for_other_machines_is_refused(tmp_path: Path) -> None:
    ended = refused(tmp_path, listen="tcp://0.0.0.0:0")
    assert ended.status == 64
    assert "--insecure" in ended.output


def test_without_click_one_line_tells_how_to_install_it() -> None:
    program = (
        "import runpy, sys; sys.modules['click'] = None;"
        "runpy.run_module('broker', run_name='__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert ended.returncode != 0
    assert "pip install 'msgqueue[cli]'" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_it_with_status_0_and_loses_nothing(
    broker: BrokerProcess, client: WireClient, clients: WireClients, number: signal.Signals
) -> None:
    bodies = [b"%d" % index for index in range(100)]
    for body in bodies:
        assert client.put("orders", [body]).name == "ok"
    broker.signal(number)
    assert broker.wait() == 0
    assert "Traceback" not in broker.output
    broker.restart()
    again = clients.open(broker.endpoint)
    assert bodies_of(again.get("orders", max=1_000)) == bodies


def test_a_stop_under_load_keeps_what_it_confirmed_and_nothing_that_it_refused(
    broker: BrokerProcess, client: WireClient, clients: WireClients
) -> None:
    bodies = {}
    for index in range(3_000):
        body = b"%d" % index
        bodies[client.command("put", msgpack.packb([body]), queue="orders", count=1)] = body
        if index == 1_000:
            broker.signal(signal.SIGTERM)
    assert broker.wait() == 0
    answers: dict[str, list[bytes]] = {"ok": [], "shutting_down": []}
    while client.has_reply(wait_ms=500):
        reply = client.receive()
        if reply.name != "closed":
            answers[reply.name].append(bodies[reply.header["req"]])
    broker.restart()
    found = bodies_of(clients.open(broker.endpoint).get("orders", max=3_000))
    # A put that was not answered before the end may be there or not.
    assert found[: len(answers["ok"])] == answers["ok"]
    assert not set(found) & set(answers["shutting_down"])


def test_a_killed_broker_has_everything_confirmed_after_a_restart(
    broker: BrokerProcess, client: WireClient, clients: WireClients
) -> None:
    bodies = [b"%d" % index for index in range(50)]
    for body in bodies:
        assert client.put("orders", [body]).name == "ok"
    broker.kill()
    broker.restart()
    again = clients.open(broker.endpoint)
    assert bodies_of(again.get("orders", max=1_000)) == bodies


def test_a_pause_of_the_broker_is_not_the_silence_of_its_clients(
    broker: BrokerProcess, clients: WireClients
) -> None:
    client = clients.open(broker.endpoint, timeout_ms=1_000)
    broker.signal(signal.SIGSTOP)
    requests = [client.command("ping") for _ in range(3)]
    with pytest.raises(TimeoutError):
        client.receive(deadline_s=2.0)
    broker.signal(signal.SIGCONT)
    assert [client.receive().header["req"] for _ in requests] == requests
    assert client.request("ping").name == "pong"


def test_json_logs_are_one_object_a_line(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path, ["--log-format", "json"]) as broker:
        wait_until(lambda: '"event": "ready"' in broker.stderr, "the event logged")
        assert all(line.startswith("{") for line in broker.stderr.splitlines())


def test_a_bare_client_can_use_an_ipc_address(tmp_path: Path, clients: WireClients) -> None:
    address = f"ipc://{tmp_path}/broker.sock"
    with BrokerProcess(tmp_path, listen=address) as broker:
        assert broker.endpoint == address
        client = clients.open(address)
        assert client.put("orders", [b"body"]).name == "ok"
