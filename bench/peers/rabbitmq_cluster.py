"""Three RabbitMQ nodes on one machine and a quorum queue with a member on each.

Never uses the machine's own port mapper, cookie or node names.  The queue is declared through the
first node, which makes that one its leader, and all clients are connected there.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.peers.rabbitmq import HOME, RabbitMQ, answers, node_environment, node_name
from bench.processes import (
    Server,
    Servers,
    Service,
    free_port,
    launch,
    stopped_on_failure,
    wait_until,
    wait_until_listening,
)

_NODES = 3
_JOIN_SECONDS = 90
_COOKIE = "bench"
_SERVER = str(HOME / "bin" / "rabbitmq-server")


@dataclass(frozen=True, slots=True)
class RabbitMQCluster(RabbitMQ):
    """A quorum queue of three members."""

    queue_type: str = "quorum"
    nodes: int = _NODES

    @property
    def name(self) -> str:
        """The name in the tables."""
        return "RabbitMQ, quorum queue of three nodes"

    @property
    def durability(self) -> str:
        """What a confirm says."""
        return (
            "publisher confirm after fdatasync of the Raft log by two of three nodes; "
            "all on one disk"
        )

    def start(self, directory: Path) -> Service:
        """Start a port mapper and three nodes; the second and third one join the first."""
        port, mapper_port = free_port(_NODES), free_port()
        _write_cookie(directory)
        members: list[Server] = []
        with stopped_on_failure(members):
            mapper = ["epmd", "-port", str(mapper_port), "-address", "127.0.0.1"]
            members.append(launch(mapper, mapper_port, directory / "epmd"))
            wait_until_listening(members[0])
            environment: Mapping[str, str] = {}
            for node_port in range(port, port + _NODES):
                place = directory / node_name(node_port)
                environment = node_environment(
                    place,
                    node_port,
                    home=directory,
                    mapper_port=mapper_port,
                    extra_config=_peers(port),
                )
                node = launch([_SERVER], node_port, place, env=environment)
                members.append(node)
                if node_port == port:
                    _wait_until_answering(node)
            for node in members[1:]:
                _wait_until_answering(node)
            _require_joined(node_name(port), environment)
        return Servers(port, members)


def _wait_until_answering(node: Server) -> None:
    wait_until(node, lambda: answers(node.port))


def _peers(port: int) -> str:
    """Return the part of the configuration that names all nodes of the cluster."""
    lines = ["cluster_formation.peer_discovery_backend = classic_config"]
    lines += [
        f"cluster_formation.classic_config.nodes.{node + 1} = {node_name(port + node)}"
        for node in range(_NODES)
    ]
    return "\n".join([*lines, ""])


def _write_cookie(home: Path) -> None:
    cookie = home / ".erlang.cookie"
    cookie.write_text(_COOKIE)
    cookie.chmod(0o400)


def _require_joined(node: str, environment: Mapping[str, str]) -> None:
    """Raise unless the nodes say that they are one cluster."""
    tool = [str(HOME / "bin" / "rabbitmqctl"), "-n", node, "-t", str(_JOIN_SECONDS)]
    done = subprocess.run(
        [*tool, "await_online_nodes", str(_NODES)],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * _JOIN_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"the RabbitMQ nodes did not join: {done.stdout}{done.stderr}")
