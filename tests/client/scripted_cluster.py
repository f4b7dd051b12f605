"""Several scripted brokers with one memory: queues change hands, brokers die and come back.

Owns the map, and the queues that all of them see, as if everything were replicated at once.  A
broker that does not own a queue says ``not_primary``, or passes the command on if it ``forwards``.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from hashlib import blake2b
from typing import Any, Self

import msgpack

from tests.client.scripted_broker import Header, ScriptedBroker
from tests.client.scripted_queue import ScriptedQueue
from tests.client.scripted_session import ScriptedSession

NAME = "shop"
SLOTS = 4


def slot_of(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") % SLOTS


class ClusterBroker(ScriptedBroker):
    def __init__(self, cluster: ScriptedCluster, broker_id: str) -> None:
        super().__init__()
        self.broker_id = broker_id
        self.queues = cluster.queues
        self.forwards = False
        self.faults.append(_refuse_foreign)
        self._cluster = cluster

    def serves(self, queue: str) -> bool:
        return self._cluster.owner_of(queue) == self.broker_id

    def takes(self, queue: str) -> bool:
        """Whether commands for the queue are carried out by whoever they should be."""
        return self.serves(queue) or (self.forwards and self._cluster.owner_of(queue) != "")

    def tag_of(self, name: str) -> bytes:
        return self._cluster.tag_of(name)

    def say_stale(self, tag: bytes, queue: str, elements: list[Any]) -> None:
        """A delivery of an earlier reign that was long under way, for consumer 1."""
        runs = [{"first": 0, "count": len(elements)}]
        header = {"v": 1, "re": "messages", "queue": queue, "tag": tag, "runs": runs}
        self.say([msgpack.packb({**header, "consumer": 1}), msgpack.packb(elements)])

    def end_consumers(self, queue: str) -> None:
        """As another broker owns the queue from now on, nobody consumes it here."""
        for session in self.sessions.values():
            for number in [n for n, c in session.consumers.items() if c.queue == queue]:
                del session.consumers[number]

    def deliver_held(self, queue: str) -> None:
        def deliver() -> None:
            with self._cluster.lock:
                for session in self.sessions.values():
                    held = self.queue(queue).held_by(session.id)
                    for consumer in session.consumers.values():
                        consumer.credit -= len(held)
                        self._deliver(
                            session, self.queue(queue), held, {"consumer": consumer.number}
                        )

        self._do(deliver)

    def _receive(self, peer: bytes, frames: list[bytes]) -> None:
        with self._cluster.lock:
            super()._receive(peer, frames)

    def _end(self, session: ScriptedSession) -> None:
        with self._cluster.lock:
            super()._end(session)

    def _handle_hello(self, peer: bytes | ScriptedSession, header: Header, frames: Any) -> Header:
        welcome = super()._handle_hello(peer, header, frames)
        session = self.sessions[peer] if isinstance(peer, bytes) else peer
        # Sessions are told apart over all brokers: they hold messages of the same queues.
        session.id += b" at " + self.broker_id.encode()
        told = {"session": session.id, "broker": self.broker_id, "cluster": NAME, "slots": SLOTS}
        return {**welcome, **told}

    def _handle_map(self, *_: Any) -> Header:
        return {"re": "ok", **self._cluster.map}


def _refuse_foreign(broker: ScriptedBroker, peer: bytes, header: Header) -> bool:
    assert isinstance(broker, ClusterBroker)
    if "queue" not in header or peer not in broker.sessions or broker.takes(header["queue"]):
        return False
    broker.send(peer, {**broker.failed("not_primary", header), "cmd": header["cmd"]})
    return True


class ScriptedCluster:
    """``b1`` to ``b3``; ``b1`` owns everything until a queue is moved."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.queues: dict[str, ScriptedQueue] = {}
        self.owners = ["b1"] * SLOTS
        self.epochs = [1] * SLOTS
        self.brokers = {name: ClusterBroker(self, name) for name in ("b1", "b2", "b3")}
        self._dead: set[str] = set()
        self._running = ExitStack()

    def __enter__(self) -> Self:
        for broker in self.brokers.values():
            self._running.enter_context(broker)
        return self

    def __exit__(self, *exc: Any) -> None:
        self._running.close()

    def __getitem__(self, broker: str) -> ClusterBroker:
        return self.brokers[broker]

    @property
    def address(self) -> str:
        return ",".join(broker.address for broker in self.brokers.values())

    @property
    def map(self) -> Header:
        living = [broker for broker in self.brokers.values() if broker.broker_id not in self._dead]
        return {
            "cluster": NAME,
            "slots": SLOTS,
            "brokers": {broker.broker_id: [broker.address] for broker in living},
            "owners": [owner if owner not in self._dead else "" for owner in self.owners],
            "epochs": self.epochs,
        }

    def owner_of(self, queue: str) -> str:
        return self.owners[slot_of(queue)]

    def tag_of(self, queue: str) -> bytes:
        slot = slot_of(queue)
        return slot.to_bytes(2, "big") + self.epochs[slot].to_bytes(8, "big") + b"u" * 16

    def move(self, queue: str, owner: str) -> None:
        """A new reign: nothing is in flight, nobody consumes."""
        with self.lock:
            former = self.brokers.get(self.owner_of(queue))
            self.owners[slot_of(queue)] = owner
            self.epochs[slot_of(queue)] += 1
            if former is not None:
                former.end_consumers(queue)
            for message in self.queues[queue].messages.values() if queue in self.queues else ():
                message.holder = None

    def deliver_again(self, queue: str) -> None:
        """A new reign whose first act is to deliver what is held once more, to its holders."""
        with self.lock:
            self.epochs[slot_of(queue)] += 1
        self.brokers[self.owner_of(queue)].deliver_held(queue)

    def kill(self, broker: str) -> None:
        self._dead.add(broker)
        self.brokers[broker].stop()

    def revive(self, broker: str) -> None:
        self.brokers[broker].start()
        self._dead.remove(broker)

    def bodies(self, queue: str) -> list[Any]:
        with self.lock:
            return self.queues[queue].bodies if queue in self.queues else []
