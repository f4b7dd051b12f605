"""A real cluster: one etcd, and brokers that are processes of their own, on free loopback ports.

Owns all of them, from the empty folder to the end of the last process.  A broker keeps its id,
its data and its clients' port over a restart; where its links are bound is another port each
time, so that every restart is also a move.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from click.testing import CliRunner

from broker.cli.cluster import cluster_group
from broker.model.slots import slot_of
from tests.support.broker_process import BrokerProcess
from tests.support.etcd_process import EtcdProcesses
from tests.support.waiting import DEADLINE_S
from tests.support.wire import WireClients

NAME = "test"


class ClusterProcess:
    """``with ClusterProcess(tmp_path) as cluster: Client(cluster.endpoints)``.

    ``brokers`` are by id, ``b1`` to ``bN``, each with its own ``kill``, ``terminate``, ``signal``
    and ``restart``.  A tenure of 2 s makes a takeover short.
    """

    def __init__(
        self,
        directory: Path,
        *,
        brokers: int = 3,
        slots: int = 8,
        replication: int = 3,
        min_isr: int = 2,
        tenure: str = "2s",
    ) -> None:
        self.slots = slots
        self.etcd = EtcdProcesses(directory / "etcd")
        self._replication = replication
        self._min_isr = min_isr
        args = ["--cluster", NAME, "--etcd", ",".join(self.etcd.endpoints), "--tenure", tenure]
        args += ["--links", "tcp://127.0.0.1:0"]
        self.brokers = {
            broker: BrokerProcess(directory / broker, [*args, "--broker-id", broker])
            for broker in (f"b{number}" for number in range(1, brokers + 1))
        }

    def start(self) -> Self:
        """Returns when every slot has all its copies."""
        self.etcd.start()
        made = {"slots": self.slots, "replication": self._replication, "min_isr": self._min_isr}
        self.make(self.etcd, **made)
        for broker in self.brokers.values():
            broker.launch()
        for broker in self.brokers.values():
            broker.wait_ready()
        self.wait_replicated()
        return self

    def wait_replicated(self) -> None:
        """Every broker is alive, and every slot has all its copies in sync."""
        count = str(len(self.brokers))
        self.admin("wait", "--brokers", count, "--replicated", "--timeout", f"{DEADLINE_S:.0f}s")

    @staticmethod
    def make(etcd: EtcdProcesses, **values: int) -> None:
        """The keys of a cluster that has no brokers yet."""
        flags = [(f"--{name.replace('_', '-')}", str(value)) for name, value in values.items()]
        _admin(etcd, "init", *(word for flag in flags for word in flag))

    def admin(self, command: str, *args: str) -> str:
        """``msgqueue cluster COMMAND``: what it says; an AssertionError when it fails."""
        return _admin(self.etcd, command, *args, more=lambda: self.output)

    @property
    def endpoints(self) -> str:
        """All brokers' addresses, as a client takes them."""
        return ",".join(broker.endpoint for broker in self.brokers.values())

    @property
    def output(self) -> str:
        """What the newest process of each broker has printed and logged."""
        return "\n".join(f"--- {name}\n{each.output}" for name, each in self.brokers.items())

    def primary_of(self, queue: str) -> str:
        """The id of the broker that serves the queue, as the living ones say; "" for none."""
        for broker in self.brokers.values():
            if broker.is_running:
                return self._owners(broker)[slot_of(queue, self.slots)]
        raise AssertionError("no broker is running")

    def _owners(self, broker: BrokerProcess) -> list[str]:
        with WireClients() as clients:
            owners: list[str] = clients.open(broker.endpoint).request("map").header["owners"]
            return owners

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for broker in self.brokers.values():
            if broker.is_running:
                # A process that a test has stopped takes the kill only once it goes on.
                with contextlib.suppress(ProcessLookupError):
                    broker.signal(signal.SIGCONT)
                broker.kill()
        self.etcd.__exit__(kind, error, traceback)


def _admin(
    etcd: EtcdProcesses, command: str, *args: str, more: Callable[[], str] = lambda: ""
) -> str:
    """``more`` is told along with a failure."""
    options = ["--cluster", NAME, "--etcd", ",".join(etcd.endpoints)]
    done = CliRunner().invoke(cluster_group, [command, *options, *args])
    assert done.exit_code == 0, f"cluster {command}: {done.output}\n{more()}"
    return done.output
