"""A node driven by hand: its clock, its peers, and above all when its disk has synced.

Nothing happens by itself.  ``receive`` hands over frames, ``turn`` finishes a turn, ``sync`` makes
durable what was written and lets the node know.  ``crash`` forgets what was not synced but for a
prefix, as a disk does, and starts a new node over the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

import msgpack

from broker.cluster.view import Swap
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.model.slots import slot_of
from broker.node.node import Node
from broker.node.replica import Replica
from broker.node.settings import NodeSettings
from broker.storage.memory_store import MemoryStore
from broker.storage.store import Family, WriteOps

START_MS = 1_000_000_000
#: So small that checkpoints, trims and sweeps happen all the time.
SMALL = NodeSettings("b1", "1", slots=2, checkpoint_bytes=600, log_kept_bytes=400)
PEER = b"\0pee0"


class CrashPoint(Exception):
    """Raised by the write at which a test wants the process to die."""


class CountingStore(MemoryStore):
    """A store in memory that counts its writes and can end the process with one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        #: With which write from now on to raise CrashPoint.
        self.crash_in: int | None = None

    @property
    def synced_writes(self) -> int:
        return self.writes - self.unsynced_batches

    def write(self, ops: WriteOps) -> None:
        super().write(ops)
        self.writes += 1
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in == 0:
                raise CrashPoint

    def crash(self, keep: int = 0) -> None:
        self.writes = self.synced_writes + min(keep, self.unsynced_batches)
        super().crash(keep)

    def rows(self, family: Family) -> list[tuple[bytes, bytes]]:
        rows = self._families[family]
        return [(key, rows.values[key]) for key in rows.keys]

    def alter(self, family: Family, key: bytes, value: bytes | None) -> None:
        """Damage by an outer hand: a row with other bytes, or none."""
        if value is None:
            self._families[family].delete(key)
        else:
            self._families[family].put(key, value)


@dataclass(frozen=True)
class Delivered:
    """One message of a delivery."""

    position: int
    attempts: int
    priority: int
    body: Any
    run: dict[str, Any]


@dataclass(frozen=True)
class Sent:
    """One multipart that left for a client."""

    peer: bytes
    header: dict[str, Any]
    frames: list[bytes]
    #: All frames as they left.
    raw: list[bytes]

    def __getitem__(self, field: str) -> Any:
        return self.header[field]

    @property
    def re(self) -> str:
        return str(self.header["re"])

    @property
    def req(self) -> int | None:
        return self.header.get("req")

    @property
    def code(self) -> int:
        return int(self.header.get("code", 0))

    def messages(self) -> list[Delivered]:
        bodies = msgpack.unpackb(self.frames[-1])
        assert len(bodies) == sum(run["count"] for run in self.header["runs"])
        found: list[Delivered] = []
        for run in self.header["runs"]:
            for position in range(run["first"], run["first"] + run["count"]):
                attempts, priority = run.get("attempts", 0), run.get("priority", 4)
                found.append(Delivered(position, attempts, priority, bodies[len(found)], run))
        return found

    def bodies(self) -> list[Any]:
        return [message.body for message in self.messages()]

    def positions(self) -> list[int]:
        return [message.position for message in self.messages()]

    def ranges(self) -> list[list[int]]:
        """What a client sends to settle all of this delivery."""
        return [[r["first"], r["count"], r.get("attempts", 0)] for r in self.header["runs"]]


class NodeRig:
    def __init__(self, store: CountingStore | None = None, **settings: Any) -> None:
        self.settings = replace(SMALL, **settings)
        self.store = store or CountingStore()
        self.now = START_MS
        self.sent: list[Sent] = []
        #: What is to go to other brokers and to the coordinator, for who carries it.
        self.links: list[tuple[str, list[bytes]]] = []
        self.swaps: list[Swap] = []
        #: Multiparts for the sockets of subscribers.
        self.published: list[list[bytes]] = []
        self._random = Random(7)
        self._req = 0
        self._token: int | None = None
        self.open()

    def open(self) -> None:
        self.node = Node.open(
            self.store, now_ms=self.now, draw=self._random.randbytes, settings=self.settings
        )
        self._token = None
        self.wake_at: int | None = self.now

    # Frames in

    def receive(self, peer: bytes, frames: list[bytes]) -> None:
        self.node.receive(self.now, peer, frames)

    def command(self, peer: bytes, cmd: str, *frames: bytes, **fields: Any) -> int:
        """Hands a command over and gives its ``req``; no turn is finished."""
        self._req += 1
        header = {"v": 1, "cmd": cmd, "req": self._req, **fields}
        if header["req"] is None:
            del header["req"]
        self.receive(peer, [msgpack.packb(header), *frames])
        return self._req

    # Turns and syncs

    def turn(self) -> list[Sent]:
        """One turn without a sync: what it sent."""
        turn = self.node.finish_turn(self.now)
        sent = [Sent(peer, msgpack.unpackb(f[0]), f[1:], f) for peer, f in turn.sends]
        self.sent += sent
        self.links += turn.links
        self.swaps += turn.swaps
        self.published += turn.published
        self._token = turn.sync if turn.sync is not None else self._token
        self.wake_at = turn.wake_at
        return sent

    def sync(self) -> None:
        """All that was written is durable, and the node hears of it."""
        self.store.sync()
        if self._token is not None:
            self.node.synced(self.now, self._token)
            self._token = None

    @property
    def awaits_sync(self) -> bool:
        return self._token is not None

    @property
    def is_quiet(self) -> bool:
        """Nothing waits for a sync, and nothing is left to do at this instant."""
        return self._token is None and (self.wake_at is None or self.wake_at > self.now)

    def run(self) -> list[Sent]:
        """Turns and syncs until the node wants nothing more at this instant."""
        sent: list[Sent] = []
        for _ in range(100):
            sent += self.turn()
            if self.is_quiet:
                return sent
            self.sync()
        raise AssertionError("the node never comes to rest")

    def ask(self, peer: bytes, cmd: str, *frames: bytes, **fields: Any) -> Sent:
        """Hands a command over, runs, and gives its one answer."""
        req = self.command(peer, cmd, *frames, **fields)
        answers = [s for s in self.run() if s.req == req and s.peer == peer]
        assert len(answers) == 1, f"{cmd} has {len(answers)} answers: {answers}"
        return answers[0]

    def pass_time(self, ms: int) -> list[Sent]:
        self.now += ms
        return self.run()

    # Common commands

    def hello(self, peer: bytes = PEER, **fields: Any) -> Sent:
        return self.ask(peer, "hello", client="rig", **{"timeout_ms": 300_000, **fields})

    def put(self, queue: str, *bodies: bytes, peer: bytes = PEER, **fields: Any) -> Sent:
        batch = msgpack.packb(list(bodies))
        return self.ask(peer, "put", batch, queue=queue, count=len(bodies), **fields)

    def get(self, queue: str, count: int = 1_000, peer: bytes = PEER, **fields: Any) -> Sent:
        return self.ask(peer, "get", queue=queue, max=count, **fields)

    def settle(self, cmd: str, delivery: Sent, peer: bytes = PEER, **fields: Any) -> Sent:
        """``cmd`` for all of a delivery, or for the ``ranges`` given."""
        given = {"queue": delivery["queue"], "tag": delivery["tag"], "ranges": delivery.ranges()}
        return self.ask(peer, cmd, **{**given, **fields})

    def stats(self, queue: str, peer: bytes = PEER) -> dict[str, Any]:
        stats: dict[str, Any] = self.ask(peer, "stats", queue=queue)["stats"]
        return stats

    # Ends

    def crash(self, kept: int = 0) -> None:
        """Loses what was not synced but for ``kept`` writes, and starts again."""
        self.store.crash(kept)
        self.open()

    def restart(self) -> None:
        """A clean end and a new start."""
        self.run()
        self.node.close(self.now)
        self.store.sync()
        self.crash()

    # A look inside

    def served(self, queue: str) -> Replica:
        served = self.node._replicas.find(slot_of(queue, self.settings.slots))
        assert served is not None
        return served

    def machine(self, queue: str) -> SlotMachine:
        return self.served(queue).machine

    def queue(self, queue: str) -> Queue:
        return self.machine(queue).names[queue]

    def rows(self, family: Family) -> list[tuple[bytes, bytes]]:
        return self.store.rows(family)
