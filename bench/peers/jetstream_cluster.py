"""Three NATS servers on one machine, their stream replicated three times.

Never measures a hop that a well-placed client avoids: the producer is connected to the server that
leads the stream, the consumer to the one that leads its consumer.  This version answers when a
majority has written to the file, and has no setting to sync before the answer.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contender import QUEUE
from bench.peers.jetstream import CONSUMERS, JetStream, add_stream
from bench.processes import (
    Server,
    Servers,
    Service,
    free_port,
    launch,
    stopped_on_failure,
    wait_until_listening,
)

_NODES = 3
_ELECTION_SECONDS = 60.0
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class JetStreamCluster(JetStream):
    """A stream on three disks, or three directories of one disk."""

    name: str = "NATS JetStream R3, three servers"
    durability: str = (
        "written to the file by two of three servers, synced by the kernel or after two minutes; "
        "all on one disk"
    )

    def start(self, directory: Path) -> Service:
        """Start three servers that know one another's routes."""
        port, route = free_port(_NODES), free_port(_NODES)
        routes = ",".join(f"nats://127.0.0.1:{route + node}" for node in range(_NODES))
        members: list[Server] = []
        with stopped_on_failure(members):
            for node in range(_NODES):
                place = directory / _server_name(node)
                settings = ["-js", "-sd", str(place), "-a", "127.0.0.1", "-p", str(port + node)]
                settings += ["--server_name", _server_name(node), "--cluster_name", "bench"]
                settings += ["--cluster", f"nats://127.0.0.1:{route + node}", "--routes", routes]
                members.append(launch(["nats-server", *settings], port + node, place))
            for member in members:
                wait_until_listening(member)
        return Servers(port, members)

    async def connect(self, port: int, consumer: str = "") -> Any:
        """Connect to the server that leads the stream, or this consumer of it."""
        import nats

        connection = await nats.connect(_addresses(port))
        leader = await _leader(connection.jetstream(), consumer)
        await connection.close()
        node = next(node for node in range(_NODES) if _server_name(node) == leader)
        return await nats.connect(f"nats://127.0.0.1:{port + node}")

    async def _prepare(self, port: int) -> None:
        """Make the stream as soon as the servers have a leader, and wait for those of its parts."""
        import nats

        connection = await nats.connect(_addresses(port))
        stream = connection.jetstream()
        deadline = time.monotonic() + _ELECTION_SECONDS
        while not await _is_made(stream):
            if time.monotonic() > deadline:
                raise RuntimeError("the JetStream servers did not agree on a stream in time")
            await asyncio.sleep(_LOOK_SECONDS)
        await connection.close()


async def _is_made(stream: Any) -> bool:
    """Make what is missing; False while an election is not over."""
    import nats

    try:
        await add_stream(stream, replicas=_NODES)
        leaders = [await _leader(stream, consumer) for consumer in ("", *CONSUMERS.values())]
    except nats.errors.Error:
        return False
    return all(leaders)


async def _leader(stream: Any, consumer: str) -> str:
    if consumer:
        info = await stream.consumer_info(QUEUE, consumer)
    else:
        info = await stream.stream_info(QUEUE)
    return info.cluster.leader or ""


def _server_name(node: int) -> str:
    return f"node{node}"


def _addresses(port: int) -> list[str]:
    return [f"nats://127.0.0.1:{port + node}" for node in range(_NODES)]
