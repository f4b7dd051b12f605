"""run_cluster.sh: from nothing to a cluster that outlives its brokers, and back to nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import pytest

from patterns import Client
from tests.support.broker_process import ROOT
from tests.support.etcd_process import free_ports
from tests.support.waiting import DEADLINE_S, wait_until

SCRIPT = ROOT / "run_cluster.sh"
QUEUES = [f"orders-{number}" for number in range(10)]


class LocalCluster:
    """The script with a folder and ports of its own; whatever it left running is killed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.base_port = free_base_port()
        self.env = {
            **os.environ,
            "MSGQUEUE_CLUSTER_DIR": str(directory),
            "BASE_PORT": str(self.base_port),
            "MSGQUEUE_TENURE": "2s",
        }

    def run(self, *args: str) -> str:
        done = self._run(*args)
        assert done.returncode == 0, done.stdout + done.stderr + self.logs
        return done.stdout

    def refused(self, *args: str) -> str:
        done = self._run(*args)
        assert done.returncode == 1, done.stdout
        return done.stderr

    def _run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, *args],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE_S,
            check=False,
        )

    @contextmanager
    def in_front(self, *args: str) -> Iterator[subprocess.Popen[str]]:
        """The script as it stays at a terminal, once it has said that all is started."""
        process = subprocess.Popen(
            [SCRIPT, *args],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        with process:
            assert process.stdout is not None
            try:
                said: list[str] = []
                for line in process.stdout:
                    said.append(line)
                    if "Ctrl-C" in line:
                        break
                else:
                    raise AssertionError("".join(said) + self.logs)
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def endpoint(self, number: int) -> str:
        return f"tcp://127.0.0.1:{self.base_port + 10 * (number - 1)}"

    def pid_of(self, name: str) -> int:
        return int((self.directory / name / "pid").read_text())

    def runs(self, name: str) -> bool:
        """A process that ended and was not yet waited for has no command line."""
        with suppress(OSError):
            command = Path(f"/proc/{self.pid_of(name)}/cmdline").read_bytes()
            return str(self.directory).encode() in command
        return False

    @property
    def names(self) -> list[str]:
        return sorted(path.parent.name for path in self.directory.glob("*/pid"))

    @property
    def logs(self) -> str:
        logs = sorted(self.directory.glob("*/log"))
        return "".join(f"\n--- {log}\n{log.read_text()[-2_000:]}" for log in logs)

    def kill_all(self) -> None:
        for name in self.names:
            if self.runs(name):
                os.kill(self.pid_of(name), signal.SIGKILL)


def free_base_port() -> int:
    """The first of the ports that three brokers take."""
    while True:
        base = free_ports(1)[0]
        try:
            for port in range(base, base + 30):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return base


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    cluster = LocalCluster(tmp_path / "cluster")
    try:
        yield cluster
    finally:
        cluster.kill_all()


def put(client: Client, body: str) -> None:
    """One message into each queue, confirmed."""
    confirms = [client.queue(queue).put(body) for queue in QUEUES]
    for confirm in confirms:
        confirm.wait(timeout=DEADLINE_S)


def take(client: Client, count: int) -> dict[str, list[str]]:
    """The first ``count`` of each queue, sorted: a slot may be on its way to another broker, and
    what was delivered by the former one comes again."""
    taken: dict[str, list[str]] = {}
    for queue in QUEUES:
        messages = client.queue(queue).consume(timeout=DEADLINE_S)
        taken[queue] = sorted(str(message.body) for message in islice(messages, count))
        messages.close()
    return taken


def take_both(client: Client) -> list[str]:
    messages = client.queue("orders").consume(timeout=DEADLINE_S)
    bodies = [str(message.body) for message in islice(messages, 2)]
    messages.close()
    return bodies


def test_a_cluster_goes_on_without_one_broker_takes_it_back_and_stops(
    cluster: LocalCluster,
) -> None:
    assert f"connect to {cluster.endpoint(1)}" in cluster.run("start", "3")
    assert cluster.names == ["b1", "b2", "b3", "etcd"]
    assert "slots served: 64 of 64" in cluster.run("status")
    with Client(cluster.endpoint(2)) as client:
        put(client, "before")
        cluster.run("kill", "1")
        wait_until(lambda: not cluster.runs("b1"), "the end of broker 1")
        put(client, "without broker 1")
        assert "b1 does not run" in cluster.run("status")
        cluster.run("restart", "1")
        assert cluster.runs("b1")
        cluster.run("restart", "3")
        assert take(client, 2) == {queue: ["before", "without broker 1"] for queue in QUEUES}
    pids = [cluster.pid_of(name) for name in cluster.names]
    cluster.run("stop")
    assert not any(cluster.runs(name) for name in cluster.names)
    assert len(set(pids)) == 4


def test_ctrl_c_stops_everything_and_the_data_stay(cluster: LocalCluster) -> None:
    for body in ("first", "second"):
        with cluster.in_front("1") as process:
            with Client(cluster.endpoint(1)) as client:
                client.queue("orders").put(body).wait(timeout=DEADLINE_S)
                if body == "second":
                    assert take_both(client) == ["first", "second"]
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(DEADLINE_S) == 0
        assert not any(cluster.runs(name) for name in cluster.names)


def test_a_port_in_use_is_named_with_what_to_do(cluster: LocalCluster) -> None:
    with socket.create_server(("127.0.0.1", cluster.base_port)):
        text = cluster.refused("start", "1")
    assert f"port {cluster.base_port} is in use" in text
    assert "BASE_PORT" in text


def test_a_broker_that_ends_is_shown_with_its_reason(cluster: LocalCluster) -> None:
    (cluster.directory / "b1").mkdir(parents=True)
    (cluster.directory / "b1" / "data").write_text("a file stands where the directory should be")
    text = cluster.refused("start", "1")
    assert "directory_not_writable" in text
    assert "broker 1 has ended" in text


@pytest.mark.parametrize("args", [("status",), ("stop",), ("kill", "1"), ("restart", "1")])
def test_where_nothing_was_started_nothing_is_done(
    cluster: LocalCluster, args: tuple[str, ...]
) -> None:
    assert "no cluster was started" in cluster.refused(*args)


@pytest.mark.parametrize("count", ["0", "100", "three"])
def test_a_number_of_brokers_that_is_none_is_named(cluster: LocalCluster, count: str) -> None:
    assert f"{count} is not a number of brokers" in cluster.refused("start", count)
