"""Several nodes of one cluster driven by hand: their disks, the links between them and the map.

Nothing happens by itself.  ``run`` carries everything to rest at one instant, ``pass_time`` does so
from one wake to the next.  What a test wants to go wrong it says before: a way that is cut or held
back, a disk that does not sync, a swap whose answer is lost, a broker that the coordinator does not
reach.  Clients speak to one broker, by the calls of ``NodeRig``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from random import Random
from typing import Any

from broker.cluster.messages import Message, decode_link
from broker.cluster.ownership import (
    BrokerRecord,
    ClusterConfig,
    Member,
    ReplicaId,
    SlotConfig,
)
from broker.cluster.ring import Ring
from broker.cluster.view import Change, ClusterView, Owned, Swap, SwapAnswer, SwapOutcome
from broker.model.slots import slot_of
from tests.support.node_rig import START_MS, CountingStore, NodeRig, Sent

TENURE_MS = 10_000

#: (from, to)
Way = tuple[str, str]


class Fate(Enum):
    """What becomes of a swap besides an honest answer."""

    #: It never reached the coordinator, and the broker does not know that.
    LOST = "lost"
    #: It was carried out, and nobody said so.
    UNANSWERED = "unanswered"


class BrokerRig(NodeRig):
    """One broker of the cluster; ``is_up`` is False while its process is dead."""

    def __init__(self, cluster: ClusterRig, name: str, **settings: Any) -> None:
        self.cluster = cluster
        self.name = name
        self.boots = 0
        self.is_up = True
        super().__init__(None, broker_id=name, cluster="c", **settings)

    def open(self) -> None:
        self.boots += 1
        self._random = Random(f"{self.name} {self.boots}")
        super().open()

    def run(self) -> list[Sent]:
        """The whole cluster comes to rest; gives what this broker sent to clients."""
        mark = len(self.sent)
        self.cluster.run()
        return self.sent[mark:]

    def pass_time(self, ms: int) -> list[Sent]:
        mark = len(self.sent)
        self.cluster.pass_time(ms)
        return self.sent[mark:]

    @property
    def incarnation(self) -> str:
        return self.node.incarnation

    def has(self, queue: str) -> bool:
        """True when a copy of the queue's slot is here and was told of the queue."""
        replica = self.node._replicas.find(slot_of(queue, self.cluster.config.slots))
        return replica is not None and queue in replica.machine.names

    def reigns(self, queue: str) -> bool:
        replica = self.node._replicas.find(slot_of(queue, self.cluster.config.slots))
        return replica is not None and replica.primary is not None

    def serves(self, queue: str) -> bool:
        return self.reigns(queue) and self.machine(queue).is_serving


class ClusterRig:
    """``brokers`` that all live and hold all slots, each of which its first target reigns over."""

    def __init__(
        self, brokers: str = "abc", *, slots: int = 1, min_isr: int = 2, **settings: Any
    ) -> None:
        self.now = START_MS
        self.config = ClusterConfig("cluster-1", slots, 3, min_isr)
        self.members = {name: Member() for name in brokers}
        self.alive: dict[str, BrokerRecord] = {}
        self.slots: dict[int, Owned] = {}
        self.revision = 1
        #: Brokers that the coordinator does not reach: they hear nothing and keep no tenure.
        self.away: set[str] = set()
        self.cut: set[Way] = set()
        self.held: set[Way] = set()
        self.held_back: list[tuple[Way, list[bytes]]] = []
        #: Disks that take writes and do not sync them.
        self.stuck: set[str] = set()
        #: What becomes of the next swaps; None for an honest answer.
        self.fates: deque[Fate | None] = deque()
        #: Set to keep swaps unanswered; see ``answer``.
        self.holds_swaps = False
        self.asked: list[tuple[str, Swap]] = []
        self.brokers = {name: BrokerRig(self, name, slots=slots, **settings) for name in brokers}
        ring = Ring(self.members, slots, self.config.replication)
        for slot in range(slots):
            order = ring.targets(slot)
            copies = tuple(ReplicaId(name, self.brokers[name].incarnation) for name in order)
            # Nobody remembers to have asked for this reign: its primary begins epoch 1.
            self.slots[slot] = Owned(SlotConfig(copies, order, (), order[0], 0), 1)
        for name in brokers:
            self._record(name)
        for broker in self.living:
            self._list(broker)
        # Everybody is heard of once, and the first reigns begin to serve.
        self.pass_time(1_000)

    def __getitem__(self, name: str) -> BrokerRig:
        return self.brokers[name]

    @property
    def living(self) -> list[BrokerRig]:
        return [broker for broker in self.brokers.values() if broker.is_up]

    def owned(self, queue: str = "q") -> SlotConfig:
        return self.slots[slot_of(queue, self.config.slots)].config

    def primary(self, queue: str = "q") -> BrokerRig:
        """Who the map says reigns."""
        return self.brokers[self.owned(queue).primary]

    def order(self, queue: str = "q") -> list[BrokerRig]:
        """The brokers in the ring's order for the queue's slot."""
        ring = Ring(self.members, self.config.slots, self.config.replication)
        return [self.brokers[name] for name in ring.targets(slot_of(queue, self.config.slots))]

    # Time and turns

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Turns, syncs, links and swaps until nobody wants anything more at this instant, or a
        condition holds that is looked at after each round of turns."""
        for _ in range(300):
            for broker in self.living:
                broker.turn()
            if until():
                return
            moved = self._carry_swaps()
            moved |= self._carry_links()
            moved |= self._sync_disks()
            if not moved and all(self._rests(broker) for broker in self.living):
                return
        raise AssertionError("the cluster never comes to rest")

    def _rests(self, broker: BrokerRig) -> bool:
        return broker.wake_at is None or broker.wake_at > self.now

    def pass_time(self, ms: int) -> None:
        ends_at = self.now + ms
        while True:
            for broker in self.living:
                broker.now = self.now
                if broker.name not in self.away:
                    broker.node.tenure_extended(self.now, self.now + TENURE_MS)
            self.run()
            wakes = [broker.wake_at for broker in self.living if broker.wake_at is not None]
            if self.now >= ends_at:
                return
            self.now = min([ends_at, *wakes])

    def _sync_disks(self) -> bool:
        moved = False
        for broker in self.living:
            if broker.awaits_sync and broker.name not in self.stuck:
                broker.sync()
                moved = True
        return moved

    # Links

    def _carry_links(self) -> bool:
        moved = False
        for broker in self.living:
            links, broker.links = broker.links, []
            for to, frames in links:
                moved = True
                self.carry((broker.name, to), frames)
        return moved

    def carry(self, way: Way, frames: list[bytes]) -> None:
        if way in self.held:
            self.held_back.append((way, frames))
        elif way not in self.cut and self.brokers[way[1]].is_up:
            self.brokers[way[1]].node.receive_link(self.now, frames)

    def part(self, name: str, *others: str) -> None:
        """No link to or from ``name``, or none between it and the others."""
        for other in others or self.brokers:
            self.cut |= {(name, other), (other, name)}

    def hold(self, sender: str, receiver: str) -> None:
        self.held.add((sender, receiver))

    def release(self, sender: str, receiver: str) -> list[list[bytes]]:
        """What was held back is given to the test, which delivers it or does not."""
        way = (sender, receiver)
        self.held.discard(way)
        frames = [frames for held, frames in self.held_back if held == way]
        self.held_back = [kept for kept in self.held_back if kept[0] != way]
        return frames

    def waiting(self, sender: str, receiver: str) -> Iterator[Message]:
        """The messages that are held back."""
        for way, frames in self.held_back:
            if way == (sender, receiver):
                yield from decode_link(frames)[1]

    # The coordinator

    def _record(self, name: str) -> None:
        broker = self.brokers[name]
        links, clients = f"tcp://{name}:5572", (f"tcp://{name}:5570",)
        self.alive[name] = BrokerRecord(broker.incarnation, clients, links, "1")

    def _list(self, broker: BrokerRig) -> None:
        members, alive, slots = dict(self.members), dict(self.alive), dict(self.slots)
        broker.now = self.now
        broker.node.view_listed(self.now, ClusterView(self.config, members, alive, slots))
        broker.node.tenure_extended(self.now, self.now + TENURE_MS)

    def tell(
        self, kind: str, name: str, value: ClusterConfig | Member | BrokerRecord | SlotConfig | None
    ) -> None:
        """A key changed: everybody whom the coordinator reaches hears of it."""
        self.revision += 1
        for broker in self.living:
            if broker.name not in self.away:
                change = Change(kind, name, value, self.revision)
                broker.node.view_changed(self.now, change)

    def write(self, slot: int, config: SlotConfig) -> Owned:
        self.slots[slot] = Owned(config, self.revision + 1)
        self.tell("slots", str(slot), config)
        return self.slots[slot]

    def set_min_isr(self, min_isr: int) -> None:
        self.config = replace(self.config, min_isr=min_isr)
        self.tell("config", "", self.config)

    def bury(self, name: str) -> None:
        """Its tenure ended: the key of the broker is gone."""
        del self.alive[name]
        self.tell("brokers", name, None)

    def come_back(self, name: str) -> None:
        """The coordinator reaches a broker again; its tenure may be over meanwhile."""
        self.away.discard(name)
        if name not in self.alive:
            self._record(name)
            self.tell("brokers", name, self.alive[name])
        self._list(self.brokers[name])

    def _carry_swaps(self) -> bool:
        moved = False
        for broker in self.living:
            swaps, broker.swaps = broker.swaps, []
            for swap in swaps:
                moved = True
                if self.holds_swaps:
                    self.asked.append((broker.name, swap))
                else:
                    self.answer(broker.name, swap)
        return moved

    def answer(self, name: str, swap: Swap) -> None:
        """Compares and swaps, and says so unless its fate is another."""
        fate = self.fates.popleft() if self.fates else None
        if name in self.away:
            fate = Fate.LOST
        answer = SwapAnswer(SwapOutcome.UNKNOWN)
        if fate is not Fate.LOST:
            stands = self.slots[swap.slot]
            outcome = SwapOutcome.CONFLICT
            if stands.revision == swap.revision:
                stands, outcome = self.write(swap.slot, swap.config), SwapOutcome.DONE
            if fate is None:
                answer = SwapAnswer(outcome, stands)
        self.brokers[name].node.swap_answered(self.now, swap, answer)

    def leave(self, name: str) -> None:
        """It ends by plan, and its record says so."""
        self.brokers[name].node.begin_leave(self.now)
        self.alive[name] = replace(self.alive[name], leaving=True)
        self.tell("brokers", name, self.alive[name])

    # Deaths

    def kill(self, name: str, kept: int = 0) -> None:
        """The process dies; what was not synced is gone but for ``kept`` writes."""
        broker = self.brokers[name]
        broker.is_up = False
        broker.links, broker.swaps = [], []
        broker.store.crash(kept)
        if name in self.alive:
            self.bury(name)

    def start(self, name: str, *, empty: bool = False) -> None:
        """A new process over what the disk holds, or over an empty disk."""
        broker = self.brokers[name]
        if empty:
            broker.store = CountingStore()
        broker.now = self.now
        broker.open()
        broker.is_up = True
        self.come_back(name)
