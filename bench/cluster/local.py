"""Brokers of one cluster, each a process of this machine, with an etcd of their own.

Owns their ports, data and processes. Never decides what the cluster does: that is read from the
coordinator. Law: the clients' ports lie side by side, so that the first one names them all.
"""

import subprocess
import sys
import time
from pathlib import Path

from bench.cluster.etcd import Etcd, start_etcd
from bench.cluster.ownership import Ownership, is_settled
from bench.peers.msgqueue import NO_CHANNELS
from bench.processes import Server, Servers, free_port, launch, wait_until
from broker.cluster.ownership import SlotConfig
from broker.model.slots import slot_of

SLOTS = 64
REPLICATION = 3
MIN_ISR = 2
FIRST_BROKERS = 3
_BROKERS_MAX = 5
_CLUSTER = "bench"
_COMMAND_SECONDS = 60.0
_SETTLE_SECONDS = 60.0
_LOOK_SECONDS = 0.1
#: A tree of an older commit has its command line beside the server.
_COMMAND_LINE = """
try:
    from broker.cli.main import main
except ModuleNotFoundError:
    from broker.server.cli import main
main(prog_name="msgqueue")
"""


class LocalCluster:
    """Up to five brokers, `b0` to `b4`; the first three start with the cluster."""

    def __init__(self, directory: Path, tree: Path) -> None:
        self.port = free_port(_BROKERS_MAX)
        self._links_port = free_port(_BROKERS_MAX)
        self._directory = directory
        self._tree = tree
        self._etcd: Etcd | None = None
        self._brokers: dict[str, Server] = {}

    @property
    def brokers(self) -> list[str]:
        """The ids of the brokers that were started and not ended."""
        return list(self._brokers)

    def start(self) -> "LocalCluster":
        """Start etcd and three brokers; return when every slot is in sync on all of them."""
        try:
            self._etcd = start_etcd(self._directory / "etcd")
            self._command(
                *("init", "--slots", str(SLOTS)),
                *("--replication", str(REPLICATION), "--min-isr", str(MIN_ISR)),
            )
            for number in range(FIRST_BROKERS):
                self.start_broker(f"b{number}")
            self.await_settled()
        except BaseException:
            self.kill()
            raise
        return self

    def start_broker(self, broker: str) -> None:
        """Start one broker, on the data that it left if it ran before."""
        number = int(broker[1:])
        port, directory = self.port + number, self._directory / broker
        command = [
            *(sys.executable, "-m", "broker", "--data", str(directory / "data")),
            *("--listen", f"tcp://127.0.0.1:{port}", "--cluster", _CLUSTER),
            *("--broker-id", broker, "--etcd", self.etcd.url),
            *("--links", f"tcp://127.0.0.1:{self._links_port + number}"),
        ]
        server = launch(command, port, directory, cwd=self._tree, env=NO_CHANNELS)
        self._brokers[broker] = server
        wait_until(server, lambda: f":{port}".encode() in server.log.read_bytes())

    def kill_broker(self, broker: str) -> None:
        """End one broker as a crash would."""
        self._brokers.pop(broker).kill()

    def stop_broker(self, broker: str) -> None:
        """Ask one broker to hand over what it leads and to end; return when it has ended."""
        server = self._brokers.pop(broker)
        server.stop()
        if status := server.process.returncode:
            raise RuntimeError(f"{server.log_tail()}\n{broker} ended with status {status}")

    def drain_broker(self, broker: str) -> None:
        """Ask the cluster to move all copies away from one broker; return at once."""
        self._command("drain", broker)

    def slots(self) -> dict[int, SlotConfig]:
        """Return the ownership map."""
        found = self.etcd.read(f"/{_CLUSTER}/slots/")
        return {int(key.rpartition("/")[2]): SlotConfig.from_json(value) for key, value, _ in found}

    def is_settled(self) -> bool:
        """Tell whether each slot is in sync on as many running brokers as it should."""
        return is_settled(self.slots(), self.brokers, REPLICATION)

    def await_settled(self) -> None:
        """Return when each slot is in sync; raise when a broker ends or it takes too long."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while not self.is_settled():
            ended = [broker for broker, server in self._brokers.items() if server.has_ended]
            if ended or time.monotonic() > deadline:
                logs = [server.log_tail() for server in self._brokers.values()]
                slots = [{slot: config} for slot, config in self.slots().items()]
                settled = sum(is_settled(slot, self.brokers, REPLICATION) for slot in slots)
                raise RuntimeError(
                    f"{''.join(logs)}\n{settled} of {SLOTS} slots are in sync on "
                    f"{', '.join(self.brokers)}; ended: {', '.join(ended) or 'none'}"
                )
            time.sleep(_LOOK_SECONDS)

    def primary_of(self, queue: str) -> str:
        """Return the broker that leads the slot of a queue."""
        slots: Ownership = self.slots()
        return slots[slot_of(queue, len(slots))].primary

    def tenure_seconds(self) -> float:
        """Return how long the brokers' tenure lasts: the time to live of the key of one."""
        lease = self.etcd.read(f"/{_CLUSTER}/brokers/")[0].lease
        return self.etcd.lease_seconds(lease)

    def stop(self) -> None:
        """End everything; brokers that all end have nobody to hand over to."""
        self.kill()

    def kill(self) -> None:
        """End everything at once."""
        Servers(self.port, self._members()).kill()
        self._brokers.clear()

    def resident_bytes(self) -> int:
        """Return the resident memory of the brokers, without etcd."""
        return Servers(self.port, list(self._brokers.values())).resident_bytes()

    @property
    def etcd(self) -> Etcd:
        """The coordinator, which starts first."""
        assert self._etcd is not None, "the cluster is started first"
        return self._etcd

    def _members(self) -> list[Server]:
        etcd = [] if self._etcd is None else [self._etcd.server]
        return [*self._brokers.values(), *etcd]

    def _command(self, *words: str) -> None:
        """Run `msgqueue cluster ...` of the tree."""
        where = ("--cluster", _CLUSTER, "--etcd", self.etcd.url)
        done = subprocess.run(
            [sys.executable, "-c", _COMMAND_LINE, "cluster", *words, *where],
            cwd=self._tree,
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_SECONDS,
        )
        if done.returncode:
            raise RuntimeError(f"msgqueue cluster {words[0]}: {done.stdout}{done.stderr}")


def client_addresses(port: int) -> str:
    """Return the addresses of the first three brokers, as a client takes them."""
    return ",".join(f"tcp://127.0.0.1:{port + number}" for number in range(FIRST_BROKERS))
