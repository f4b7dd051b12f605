"""One broker process from its configuration to its end.

Owns the order of things.  Start: the addresses before the data, so that a port in use touches
nothing; the data directory before the store; the cluster last, for it is told what the store is.
End: drain, last checkpoint, last sync, then the tenure and the sockets.  An error of the disk
passes through here untouched: nothing is sent or written after it.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
from functools import partial
from pathlib import Path

import zmq

from broker import limits
from broker.node.node import Node
from broker.node.settings import NodeSettings
from broker.server.channel_sockets import ChannelSockets
from broker.server.client_socket import ClientSocket, bind, open_router
from broker.server.clock import Clock
from broker.server.committer import Committer, measure_sync_us
from broker.server.config import Config, unknown_variables
from broker.server.connections import Connections
from broker.server.joining import join_cluster
from broker.server.links import Links
from broker.server.logs import configure_logs, log_event
from broker.server.reactor import Reactor
from broker.server.stop_signals import StopSignals
from broker.server.version import program_version
from broker.server.wake_pipe import WakePipe
from broker.server.watermarks import Watermarks, free_disk_bytes, memory_max_default
from broker.storage.data_directory import DataDirectory
from broker.storage.rocks_store import RocksStore

_log = logging.getLogger("broker.server")

#: Descriptors that clients may not take: the store's files and logs.
_DESCRIPTORS_KEPT = 1_024
#: Asked for where the system names no bound (macOS has one, and does not say so).
_DESCRIPTORS_UNBOUNDED = 10_240
#: For the replies that libzmq holds when the broker has drained.
_LINGER_MS = 1_000


def serve(config: Config) -> None:
    """Runs until a stop was asked for and carried out; raises ProcessError."""
    configure_logs(form=config.log_format, level=config.log_level)
    for name in unknown_variables(os.environ):
        log_event(_log, logging.WARNING, "variable sets nothing", name=name)
    pipe = WakePipe()
    signals = StopSignals(pipe)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = open_router(context)
    connections = Connections(router, _allowed_connections(config.connections_max))
    addresses = bind(router, config.listen)
    channels = ChannelSockets(
        context,
        publish=config.publish_listen,
        raw=config.raw_listen,
        connections_max=_allowed_connections(config.connections_max),
    )
    links = Links(context, config.links, own_id=config.broker_id) if config.cluster else None
    with DataDirectory(config.data) as directory:
        store = RocksStore.open(directory.path)
        clock = Clock()
        sync_us = measure_sync_us(directory.path)
        committer = Committer(store.sync, pipe.wake, mode=config.sync, sync_us=sync_us)
        node = _open_node(config, store, clock, directory.broker_id, channels.publish_address)
        channels.attach(node)
        say_ready = partial(_say_ready, config, addresses, channels, directory.path, sync_us)
        membership = None
        if links is None:
            say_ready()
        else:
            membership = join_cluster(
                config,
                node,
                links,
                listening=addresses,
                clock=clock,
                wake=pipe.wake,
                joined=say_ready,
            )
        clients = ClientSocket(router, connections)
        Reactor(
            node=node,
            store=store,
            clients=clients,
            connections=connections,
            committer=committer,
            watermarks=_watermarks(config, directory.path),
            pipe=pipe,
            now_ms=clock.now_ms,
            stop_asked=lambda: signals.asked,
            drain_ms=config.drain,
            membership=membership,
            channels=channels,
        ).run()
        committer.close()
        farewells = node.close(clock.now_ms())
        store.sync()
        clients.send(farewells)
        store.close()
    if membership is not None:
        membership.close()
    channels.close()
    connections.close()
    router.close(linger=_LINGER_MS)
    context.term()
    log_event(_log, logging.INFO, "ended")


def _open_node(
    config: Config, store: RocksStore, clock: Clock, directory_id: str, publish_address: str
) -> Node:
    """``directory_id`` names a lone broker; one of a cluster is named by its operator."""
    publishes_at = (publish_address,) if publish_address else ()
    return Node.open(
        store,
        now_ms=clock.now_ms(),
        draw=os.urandom,
        settings=NodeSettings(
            broker_id=config.broker_id or directory_id,
            version=program_version(),
            cluster=config.cluster,
            slots=config.slots,
            auto_declare=config.auto_declare,
            publish_addresses=(config.advertise_publish or publishes_at) if publishes_at else (),
            log_kept_bytes=(
                limits.LOG_KEPT_BYTES_CLUSTER if config.cluster else limits.LOG_KEPT_BYTES_ALONE
            ),
        ),
    )


def _say_ready(
    config: Config, addresses: list[str], channels: ChannelSockets, data: Path, sync_us: int
) -> None:
    """The one line on standard output, for people and for scripts that wait for it."""
    # What exists now lives as long as the process: the collector need not look at it again.
    gc.freeze()
    where = f"listening on {' '.join(addresses)}, data in {data}"
    cluster = f", cluster {config.cluster} as {config.broker_id}" if config.cluster else ""
    named = {"subscribers": channels.publish_address, "raw publishers": channels.raw_address}
    where += "".join(f", {who} at {address}" for who, address in named.items() if address)
    print(f"msgqueue is ready: {where}{cluster}", flush=True)
    log_event(_log, logging.INFO, "ready", listen=" ".join(addresses), data=data, sync_us=sync_us)


def _watermarks(config: Config, directory: Path) -> Watermarks:
    memory_max = config.memory_max
    return Watermarks(
        disk_reserve=config.disk_reserve,
        memory_max=memory_max_default() if memory_max is None else memory_max,
        free_disk=partial(free_disk_bytes, directory),
    )


def _allowed_connections(wanted: int) -> int:
    """What the limit on descriptors leaves of ``wanted``, after it was raised as far as it goes.

    libzmq takes any number; at the limit the store could open no file, and the process would end.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = _DESCRIPTORS_UNBOUNDED
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    allowed = min(wanted, max(hard - _DESCRIPTORS_KEPT, hard // 2))
    if allowed < wanted:
        log_event(
            _log,
            logging.WARNING,
            "fewer connections than configured",
            connections_max=wanted,
            allowed=allowed,
            descriptors=hard,
        )
    return allowed
