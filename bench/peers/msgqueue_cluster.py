"""Three brokers of MsgQueue on one machine, every slot on all of them.

Never places a queue by hand: a client is given all three addresses and finds its way.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.cluster.local import LocalCluster, client_addresses
from bench.contender import missing_of
from bench.machine import has_program, program_version
from bench.peers.msgqueue import MsgQueue


@dataclass(frozen=True, slots=True)
class MsgQueueCluster(MsgQueue):
    """Replication 3, and at least two copies in sync."""

    name: str = "MsgQueue, three brokers"
    durability: str = (
        "RocksDB write-ahead log, fsync by every in-sync broker of three, at least two, before "
        "the confirm; all on one disk"
    )

    def missing(self) -> str:
        """Name the packages that are not there, and what the working tree does not have yet."""
        return missing_of(
            [
                (has_program("etcd"), "etcd-server (Debian)"),
                (self._has_cluster(), "a working tree whose broker takes --broker-id"),
            ]
        )

    def version(self) -> str:
        """Return the commit, the libraries below, and the coordinator."""
        return f"{MsgQueue.version(self)}; {program_version('etcd', '--version')}"

    def start(self, directory: Path) -> LocalCluster:
        """Start etcd and three brokers."""
        return LocalCluster(directory, self.tree).start()

    def addresses(self, port: int) -> str:
        """Return the addresses of all three."""
        return client_addresses(port)

    def _has_cluster(self) -> bool:
        command = [sys.executable, "-m", "broker", "--help"]
        done = subprocess.run(
            command, cwd=self.tree, capture_output=True, text=True, check=False, timeout=60
        )
        return "--broker-id" in done.stdout
