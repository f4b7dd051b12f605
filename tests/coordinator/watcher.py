"""A coordinator as a loop would use it: its events taken in order, its view kept up to date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from broker.cluster.ownership import BrokerRecord, Member, ReplicaId, SlotConfig
from broker.cluster.view import Change, ClusterView, Owned, Swap, SwapAnswer
from broker.errors import ProcessError
from broker.server.coordinator import (
    Answered,
    Changed,
    Coordinator,
    Event,
    Failed,
    Listed,
    TenureExtended,
)
from tests.support.waiting import wait_until


def record(incarnation: str = "i1", clients: str = "tcp://127.0.0.1:5570") -> BrokerRecord:
    return BrokerRecord(incarnation, (clients,), "tcp://127.0.0.1:5572", "0.2.0")


def owned_by(broker: str, epoch: int = 1) -> SlotConfig:
    return SlotConfig((ReplicaId(broker, "i1"),), (broker,), (), broker, epoch)


class Waker:
    """Counts the wakes; it stands for the loop's pipe."""

    def __init__(self) -> None:
        self.wakes = 0

    def __call__(self) -> None:
        self.wakes += 1


class Watcher:
    """``with Watcher(open_it) as seen: seen.wait(lambda: ...)``; entering starts it."""

    def __init__(self, open_coordinator: Callable[[Callable[[], None]], Coordinator]) -> None:
        self.waker = Waker()
        self.coordinator = open_coordinator(self.waker)
        self.events: list[Event] = []
        self.view = ClusterView()
        self.answers: list[tuple[Swap, SwapAnswer]] = []
        self.deadlines: list[int] = []
        self.failures: list[ProcessError] = []
        self.lists = 0

    def __enter__(self) -> Self:
        self.coordinator.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.coordinator.close()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Takes events until ``condition()`` holds of what they told."""

        def is_met() -> bool:
            self.take()
            return condition()

        wait_until(is_met, what)

    def wait_registered(self, broker: str) -> None:
        self.wait(lambda: broker in self.view.brokers and bool(self.deadlines), f"{broker} alive")

    def wait_failure(self) -> ProcessError:
        self.wait(lambda: bool(self.failures), "a failure")
        return self.failures[0]

    def swap(self, slot: int, config: SlotConfig) -> SwapAnswer:
        """Asks for a swap of what the view holds, and waits for the answer."""
        self.wait(lambda: slot in self.view.slots, f"slot {slot} listed")
        asked = Swap(slot, self.view.slots[slot].revision, config)
        before = len(self.answers)
        self.coordinator.swap(asked)
        self.wait(lambda: len(self.answers) > before, f"an answer to {asked}")
        assert self.answers[before][0] == asked
        return self.answers[before][1]

    def wait_slot(self, slot: int, config: SlotConfig) -> None:
        def is_there() -> bool:
            owned = self.view.slots.get(slot)
            return owned is not None and owned.config == config

        self.wait(is_there, f"slot {slot} seen as {config}")

    def take(self) -> None:
        for event in self.coordinator.take_events():
            self.events.append(event)
            match event:
                case Listed(view):
                    self.lists += 1
                    self.view = replace(view)
                case Changed(change):
                    self._change(change)
                case Answered(swap, answer):
                    self.answers.append((swap, answer))
                case TenureExtended(until):
                    self.deadlines.append(until)
                case Failed(error):
                    self.failures.append(error)

    def _change(self, change: Change) -> None:
        match change.kind, change.value:
            case "slots", SlotConfig() as config:
                assert self.view.learn(int(change.name), Owned(config, change.revision))
            case "brokers", BrokerRecord() as found:
                self.view.brokers[change.name] = found
            case "members", Member() as member:
                self.view.members[change.name] = member
            case "brokers", None:
                del self.view.brokers[change.name]
            case _:
                assert change.kind == "config"
