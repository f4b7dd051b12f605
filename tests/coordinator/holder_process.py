"""A process that registers with etcd and then waits to be killed, as a broker is.

    python -m tests.coordinator.holder_process ENDPOINT CLUSTER BROKER TENURE_MS

It prints one line for each event and reads nothing.
"""

from __future__ import annotations

import sys
from queue import SimpleQueue

from broker.server.etcd_coordinator import EtcdCoordinator
from broker.server.etcd_endpoint import EtcdAccess
from tests.coordinator.watcher import record


def main() -> None:
    endpoint, cluster, broker, tenure_ms = sys.argv[1:]
    woken: SimpleQueue[None] = SimpleQueue()
    coordinator = EtcdCoordinator(
        EtcdAccess((endpoint,)),
        lambda: woken.put(None),
        cluster=cluster,
        broker_id=broker,
        record=record(),
        tenure_ms=int(tenure_ms),
    )
    coordinator.start()
    while True:
        woken.get()
        for event in coordinator.take_events():
            print(type(event).__name__, flush=True)


if __name__ == "__main__":
    main()
