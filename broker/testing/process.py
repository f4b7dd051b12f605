"""One broker's process: a node over its disk, driven as the shell drives it, and its deaths.

Owns the order of input, turns and syncs, and what is gone when the process is.  It decides
nothing: it is a shell.  Law: input that waits is taken in before the node looks at the time, and
nothing leaves after an error of the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from random import Random
from typing import Any

from broker.cluster.view import Change, ClusterView, Swap, SwapAnswer
from broker.errors import ProcessError
from broker.limits import UNSYNCED_BYTES_MAX
from broker.node.node import Node
from broker.node.settings import NodeSettings
from broker.testing.clock import DriftingClock
from broker.testing.coordinator_client import CoordinatorClient
from broker.testing.disk import SimulatedDisk
from broker.testing.network import Frames, Network
from broker.testing.schedule import Event, Schedule

#: As the reactor does: a longer gap between two turns is a pause of the process.
PAUSE_MS = 1_000
#: Between input and the turn that takes it.
TURN_US = 200
#: A node at rest asks for some turns without input; one that asks for more never rests.
SPIN_TURNS = 1_000

MakeCoordinator = Callable[["BrokerProcess"], CoordinatorClient | None]
AfterTurn = Callable[["BrokerProcess"], None]


class State(Enum):
    DOWN = "down"
    UP = "up"
    PAUSED = "paused"


class BrokerProcess:
    """``after_turn`` looks at the node after each of its turns; ``died`` hears of each end, with
    the error or None for a kill; ``broke`` hears of exceptions that no node may raise."""

    def __init__(
        self,
        settings: NodeSettings,
        schedule: Schedule,
        network: Network,
        disk: SimulatedDisk,
        random: Random,
        make_coordinator: MakeCoordinator,
        after_turn: AfterTurn,
        died: Callable[[BrokerProcess, ProcessError | None], None],
        broke: Callable[[BrokerProcess, Exception], None],
    ) -> None:
        self.name = settings.broker_id
        self.disk = disk
        self.clock = DriftingClock()
        self.state = State.DOWN
        self.boots = 0
        #: Names what is on the disk; "" for a disk that nobody has looked at.
        self.incarnation = ""
        self.node: Node | None = None
        self.coordinator: CoordinatorClient | None = None
        self._settings = settings
        self._schedule = schedule
        self._network = network
        self._random = random
        self._make_coordinator = make_coordinator
        self._after_turn = after_turn
        self._died = died
        self._broke = broke
        network.brokers[self.name] = self
        self._forget()

    def _forget(self) -> None:
        #: Calls of the node that wait for the next turn.
        self._input: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._next_turn: Event | None = None
        #: The token that the sync under way covers, and the newest that waits for the next sync.
        self._syncing: tuple[int, int] | None = None
        self._unsynced: int | None = None
        self._looked_at_ms = 0
        self._idle_turns = 0

    # Life

    @property
    def is_reachable(self) -> bool:
        """A paused process takes connections and input: its kernel does."""
        return self.state is not State.DOWN

    def now_ms(self) -> int:
        return self.clock.now_ms(self._schedule.now_us)

    def start(self) -> None:
        assert self.state is State.DOWN
        self._forget()
        self.boots += 1
        try:
            self.node = Node.open(
                self.disk.store,
                now_ms=self.now_ms(),
                draw=self._random.randbytes,
                settings=self._settings,
            )
        except ProcessError as error:
            self._end(error)
            return
        except Exception as error:
            self._broke(self, error)
            self._end(None)
            return
        self.state = State.UP
        self.incarnation = self.node.incarnation
        self._looked_at_ms = self.now_ms()
        self._schedule.note(f"{self.name} starts, boot {self.boots}")
        self.coordinator = self._make_coordinator(self)
        if self.coordinator is not None:
            self.coordinator.open()
        self._turn_at(self._schedule.now_us)

    def kill(self) -> None:
        if self.state is not State.DOWN:
            self._end(None)

    def _end(self, error: ProcessError | None) -> None:
        self.state = State.DOWN
        self.node = None
        if self._next_turn is not None:
            self._next_turn.cancel()
        if self.coordinator is not None:
            self.coordinator.close()
            self.coordinator = None
        lost = self.disk.crash()
        why = error.name if error is not None else "killed"
        self._schedule.note(f"{self.name} ends: {why}, {lost} unsynced batches lost")
        for connection in self._network.connections_of(self):
            self._network.break_connection(connection)
        self._died(self, error)

    def lose_disk(self) -> None:
        """The machine comes back with an empty one."""
        self.kill()
        self.disk.replace()
        self.incarnation = ""
        self._schedule.note(f"{self.name} has an empty disk")

    def pause(self) -> None:
        if self.state is State.UP:
            self.state = State.PAUSED
            self._schedule.note(f"{self.name} pauses")
            if self.coordinator is not None:
                self.coordinator.pause()

    def resume(self) -> None:
        if self.state is State.PAUSED:
            self.state = State.UP
            self._schedule.note(f"{self.name} resumes")
            if self.coordinator is not None:
                self.coordinator.resume()
            self._turn_soon()

    # Input

    def receive(self, peer: bytes, frames: Frames) -> None:
        self._take("receive", peer, frames)

    def receive_link(self, frames: Frames) -> None:
        self._take("receive_link", frames)

    def view_listed(self, view: ClusterView) -> None:
        self._take("view_listed", view)

    def view_changed(self, change: Change) -> None:
        self._take("view_changed", change)

    def swap_answered(self, swap: Swap, answer: SwapAnswer) -> None:
        self._take("swap_answered", swap, answer)

    def tenure_extended(self, until_ms: int) -> None:
        self._take("tenure_extended", until_ms)

    def _take(self, call: str, *args: Any) -> None:
        if self.node is not None:
            self._input.append((getattr(self.node, call), args))
            self._turn_soon()

    # Turns

    def _turn_soon(self) -> None:
        """Shortly after, so that what arrives together is one turn."""
        self._turn_at(self._schedule.now_us + TURN_US)

    def _turn_at(self, at_us: int) -> None:
        waiting = self._next_turn
        if waiting is not None and waiting.action is not None:
            if waiting.at_us <= at_us:
                return
            waiting.cancel()
        self._next_turn = self._schedule.at(at_us, f"{self.name} turn", self._turn)

    def _turn(self) -> None:
        if self.state is not State.UP or self.node is None:
            return
        try:
            self._take_turn(self.node, self.now_ms())
        except ProcessError as error:
            self._end(error)
            return
        except Exception as error:
            # A broken assertion of the node's own ends a process as surely as a signal does.
            self._broke(self, error)
            self._end(None)
            return
        self._after_turn(self)

    def _take_turn(self, node: Node, now_ms: int) -> None:
        if node.unsynced_bytes > UNSYNCED_BYTES_MAX:
            return
        if now_ms - self._looked_at_ms >= PAUSE_MS:
            node.excuse_silence(now_ms)
        self._looked_at_ms = now_ms
        calls, self._input = self._input, []
        for call, args in calls:
            call(now_ms, *args)
        wake_at = self._finish(node, now_ms)
        self._idle_turns = 0 if calls else self._idle_turns + 1
        if wake_at is not None:
            # A node that asks for turn after turn and does nothing with them is told of once.
            if self._idle_turns == SPIN_TURNS:
                raise AssertionError(f"{SPIN_TURNS} turns in a row were asked for with no input")
            at_us = self.clock.world_us_at(wake_at)
            self._turn_at(max(at_us, self._schedule.now_us + TURN_US))

    def _finish(self, node: Node, now_ms: int) -> int | None:
        while True:
            turn = node.finish_turn(now_ms)
            gone = [
                peer
                for peer, frames in turn.sends
                if not self._network.send_to_client(self, peer, frames)
            ]
            for target, frames in turn.links:
                self._network.send_link(self.name, target, frames)
            for swap in turn.swaps:
                assert self.coordinator is not None
                self.coordinator.swap(swap)
            if turn.sync is not None:
                self._unsynced = turn.sync
                self._maybe_sync()
            if not gone:
                return turn.wake_at
            for peer in gone:
                node.unreachable(now_ms, peer, "gone")

    # Syncs

    def _maybe_sync(self) -> None:
        """One sync at a time; all that was written before it began is covered."""
        if self._syncing is not None or self._unsynced is None:
            return
        self._syncing = (self._unsynced, self.disk.store.unsynced_batches)
        self._unsynced = None
        label = f"{self.name} synced"
        boot = self.boots
        self._schedule.after(self.disk.sync_us(), label, self._synced, boot)

    def _synced(self, boot: int) -> None:
        if boot != self.boots or self.node is None or self._syncing is None:
            return
        token, batches = self._syncing
        try:
            self.disk.store.sync_first(batches)
        except ProcessError as error:
            self._end(error)
            return
        self._syncing = None
        self._input.append((self.node.synced, (token,)))
        self._turn_soon()
        self._maybe_sync()

    def wake(self) -> None:
        """Looks at the node now, whatever it asked for: its clock was changed."""
        self._turn_at(self._schedule.now_us)
