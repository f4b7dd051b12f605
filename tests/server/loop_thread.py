"""A whole broker but for its disk, in a thread: what the disk does is the test's to say.

Several that are given the same keys are a cluster, with real links between them.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from threading import Event, Thread

import zmq

from broker.cluster.ownership import BrokerRecord
from broker.errors import MsgQueueError
from broker.node.node import Node
from broker.node.settings import NodeSettings
from broker.server.client_socket import ClientSocket, bind, open_router
from broker.server.clock import Clock
from broker.server.committer import Committer
from broker.server.connections import Connections
from broker.server.links import Links
from broker.server.local_coordinator import LocalCoordinator, LocalKeys
from broker.server.membership import Membership
from broker.server.reactor import Reactor
from broker.server.wake_pipe import WakePipe
from broker.server.watermarks import Watermarks
from broker.storage.memory_store import MemoryStore
from broker.storage.store import WriteOps
from tests.support.waiting import DEADLINE_S


class SlowStore(MemoryStore):
    """``sync`` waits while ``synced`` is cleared; counts what the laws of the loop speak of."""

    def __init__(self) -> None:
        super().__init__()
        self.synced = Event()
        self.synced.set()
        self.writes = 0
        self.looks = 0
        self.unsynced_bytes = 0
        self.unsynced_bytes_max = 0

    def write(self, ops: WriteOps) -> None:
        super().write(ops)
        self.writes += 1
        self.unsynced_bytes += ops.bytes
        self.unsynced_bytes_max = max(self.unsynced_bytes_max, self.unsynced_bytes)

    def sync(self) -> None:
        batches, size = self.unsynced_batches, self.unsynced_bytes
        assert self.synced.wait(DEADLINE_S)
        self.sync_first(batches)
        self.unsynced_bytes -= size

    def is_stalled(self) -> bool:
        self.looks += 1
        return super().is_stalled()


class LoopThread:
    """Runs from its birth until ``stop`` or an error of the disk, which is then in ``error``."""

    def __init__(
        self,
        store: SlowStore,
        *,
        mode: str = "thread",
        broker_id: str = "b1",
        seed: int = 1,
        keys: LocalKeys | None = None,
    ) -> None:
        self.store = store
        self.error: MsgQueueError | None = None
        self._stop_asked = False
        self._pipe = WakePipe()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = open_router(self._context)
        self._connections = Connections(self._router, 100)
        (self.endpoint,) = bind(self._router, ["tcp://127.0.0.1:0"])
        self._committer = Committer(store.sync, self._pipe.wake, mode=mode)
        clock = Clock()
        self.node = Node.open(
            store,
            now_ms=clock.now_ms(),
            draw=Random(f"{broker_id} {seed}").randbytes,
            settings=NodeSettings(broker_id, "1", cluster="test" if keys else ""),
        )
        self._membership = self._join(keys, broker_id, clock) if keys else None
        self._reactor = Reactor(
            node=self.node,
            store=store,
            clients=ClientSocket(self._router, self._connections),
            connections=self._connections,
            committer=self._committer,
            watermarks=Watermarks(disk_reserve=0, memory_max=0, free_disk=lambda: 0),
            pipe=self._pipe,
            now_ms=clock.now_ms,
            stop_asked=lambda: self._stop_asked,
            drain_ms=60_000,
            membership=self._membership,
        )
        self._thread = Thread(target=self._keep_error, args=(self._reactor.run,))
        self._thread.start()

    def ask_to_stop(self) -> None:
        self._stop_asked = True
        self._pipe.wake()

    def wait_for_end(self) -> None:
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the loop goes on"

    def close(self) -> None:
        """Ends the loop and gives everything back."""
        self.ask_to_stop()
        self.wait_for_end()
        self._keep_error(self._committer.close)
        if self._membership is not None:
            self._membership.close()
        self._connections.close()
        self._router.close(linger=0)
        self._context.term()
        self._pipe.close()

    def _join(self, keys: LocalKeys, broker_id: str, clock: Clock) -> Membership:
        links = Links(self._context, "tcp://127.0.0.1:0", own_id=broker_id)
        record = BrokerRecord(self.node.incarnation, (self.endpoint,), links.address, "1")
        coordinator = LocalCoordinator(keys, self._pipe.wake, broker_id=broker_id, record=record)
        coordinator.start()
        return Membership(
            self.node,
            links,
            coordinator,
            record,
            deadline_at=clock.deadline_at,
            joined=lambda: None,
        )

    def _keep_error(self, act: Callable[[], None]) -> None:
        try:
            act()
        except MsgQueueError as error:
            self.error = error
