"""A cluster of brokers of our own, by the script that anybody starts one with."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "run_cluster.sh"
#: Below those that the system gives to outgoing connections.
PORTS = (15_000, 32_000)
#: As the script counts: each broker has a port for clients, and two above one for the others.
STEP, LINKS = 10, 2
#: A broker that is silent for so long is replaced; short, so that a run sees many successors.
TENURE = "2s"


class Cluster:
    """Brokers and an etcd, which keep their ports and their data when one broker is killed."""

    def __init__(self, directory: Path, brokers: int) -> None:
        self.kills = 0
        self._numbers = range(1, brokers + 1)
        base = _free_base_port(brokers)
        self.endpoint = ",".join(f"tcp://127.0.0.1:{port}" for port in _client_ports(base, brokers))
        self._env = {
            **os.environ,
            "MSGQUEUE_CLUSTER_DIR": str(directory / "cluster"),
            "MSGQUEUE_TENURE": TENURE,
            "BASE_PORT": str(base),
        }
        self._run("start", brokers)

    def kill(self, chance: random.Random) -> None:
        """One of them, whichever; it is back when every queue is served again."""
        number = chance.choice(self._numbers)
        self._run("kill", number)
        self.kills += 1
        self._run("restart", number)

    def stop(self) -> None:
        self._run("stop")

    def _run(self, *words: object) -> None:
        done = subprocess.run(
            [str(SCRIPT), *map(str, words)],
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"run_cluster.sh {' '.join(map(str, words))}:\n{done.stdout}")


def _client_ports(base: int, brokers: int) -> list[int]:
    return [base + STEP * number for number in range(brokers)]


def _free_base_port(brokers: int) -> int:
    """One from which on all that the brokers need was free a moment ago."""
    chance = random.SystemRandom()
    while True:
        base = chance.randrange(*PORTS)
        with suppress(OSError), ExitStack() as stack:
            for port in _client_ports(base, brokers):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                stack.enter_context(socket.create_server(("127.0.0.1", port + LINKS)))
            return base
