"""A broker's part in its cluster: the coordinator and the links on one side, the node on the other.

Owns what this broker tells of itself, and the order in which the node is told: first what the
coordinator says, then what other brokers say.  It decides nothing: a slot's fate is the node's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from broker.cluster.ownership import BrokerRecord
from broker.cluster.view import Change, ClusterView, Swap, SwapAnswer
from broker.server.coordinator import (
    Answered,
    Changed,
    Coordinator,
    Event,
    Failed,
    Listed,
    TenureExtended,
)
from broker.server.links import Links


class Listener(Protocol):
    """The side of a node that faces its cluster."""

    def receive_link(self, now_ms: int, frames: list[bytes]) -> None: ...

    def view_listed(self, now_ms: int, view: ClusterView) -> None: ...

    def view_changed(self, now_ms: int, change: Change) -> None: ...

    def swap_answered(self, now_ms: int, swap: Swap, answer: SwapAnswer) -> None: ...

    def tenure_extended(self, now_ms: int, until_ms: int) -> None: ...

    def begin_leave(self, now_ms: int) -> None: ...


class Membership:
    """``deadline_at`` turns elapsed milliseconds into the node's time; ``joined`` is called once,
    when the node knows its cluster."""

    def __init__(
        self,
        node: Listener,
        links: Links,
        coordinator: Coordinator,
        record: BrokerRecord,
        *,
        deadline_at: Callable[[int], int],
        joined: Callable[[], None],
    ) -> None:
        self.fileno = links.fileno
        self.counters = links.counters
        self._node = node
        self._links = links
        self._coordinator = coordinator
        self._record = record
        self._deadline_at = deadline_at
        self._joined: Callable[[], None] | None = joined
        self._brokers: dict[str, BrokerRecord] = {}

    @property
    def is_drained(self) -> bool:
        """False while the links may have more to hand over."""
        return self._links.is_drained

    def has_input(self) -> bool:
        """To be asked right before blocking on ``fileno``; events wake the loop by themselves."""
        return self._links.has_input()

    def take_in(self, now_ms: int, turns: int) -> None:
        """All events, then so many turns' worth of the links, or less when that is all."""
        for event in self._coordinator.take_events():
            self._tell(now_ms, event)
        for _ in range(turns):
            self._links.receive(now_ms, self._node.receive_link)
            if self._links.is_drained:
                return

    def give_out(self, sends: Iterable[tuple[str, list[bytes]]], swaps: Sequence[Swap]) -> None:
        self._links.send(sends)
        for swap in swaps:
            self._coordinator.swap(swap)

    def begin_leave(self, now_ms: int) -> None:
        """The others are told first, so that none hands this broker another slot."""
        self._coordinator.update_record(replace(self._record, leaving=True))
        self._node.begin_leave(now_ms)

    def close(self) -> None:
        """Ends the tenure, so that nobody waits for it to run out."""
        self._coordinator.close()
        self._links.close()

    def _tell(self, now_ms: int, event: Event) -> None:
        node = self._node
        match event:
            case Listed(view):
                node.view_listed(now_ms, view)
                self._brokers = dict(view.brokers)
                self._links.follow(self._brokers)
                self._tell_joined()
            case Changed(change):
                node.view_changed(now_ms, change)
                if change.kind == "brokers":
                    self._follow(change)
            case Answered(swap, answer):
                node.swap_answered(now_ms, swap, answer)
            case TenureExtended(until_elapsed_ms):
                node.tenure_extended(now_ms, self._deadline_at(until_elapsed_ms))
            case Failed(error):
                raise error

    def _follow(self, change: Change) -> None:
        if isinstance(change.value, BrokerRecord):
            self._brokers[change.name] = change.value
        else:
            self._brokers.pop(change.name, None)
        self._links.follow(self._brokers)

    def _tell_joined(self) -> None:
        if self._joined is not None:
            self._joined()
            self._joined = None
