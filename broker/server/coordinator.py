"""What the loop sees of the coordinator: the service that holds who is alive and who owns what.

Owns the interface and its events.  Law: the loop never waits for a coordinator.  It asks with
``swap`` and looks at ``take_events`` when it was woken; a coordinator carries what it is told
and decides nothing about slots.

    start -> Listed, then Changed in the order of revisions; Listed again after any gap
          -> TenureExtended, again and again, while the broker's key lives
    swap  -> Answered, exactly once
    Failed -> the last event: the process ends with this error
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from broker.cluster.ownership import BrokerRecord
from broker.cluster.view import Change, ClusterView, Swap, SwapAnswer
from broker.errors import ProcessError


@dataclass(frozen=True, slots=True)
class Listed:
    """All keys at one revision; the view is the receiver's own, to change as it likes."""

    view: ClusterView


@dataclass(frozen=True, slots=True)
class Changed:
    change: Change


@dataclass(frozen=True, slots=True)
class Answered:
    swap: Swap
    answer: SwapAnswer


@dataclass(frozen=True, slots=True)
class TenureExtended:
    """No other broker sees our key gone before this instant.

    It is one of ``clock.elapsed_ns``, in milliseconds and already less drift and margin; the
    caller converts it to its own clock.
    """

    until_elapsed_ms: int


@dataclass(frozen=True, slots=True)
class Failed:
    error: ProcessError


Event = Listed | Changed | Answered | TenureExtended | Failed


class Coordinator(Protocol):
    def start(self) -> None:
        """Returns at once; what comes of it are events."""

    def take_events(self) -> list[Event]:
        """What happened since the last call, in order.  Never blocks."""

    def swap(self, swap: Swap) -> None:
        """Swaps are carried out in the order in which they were asked for."""

    def update_record(self, record: BrokerRecord) -> None:
        """Replaces what the others see of this broker."""

    def close(self) -> None:
        """Ends the tenure at once where the coordinator can be reached; bounded in time.

        Swaps that were not begun are answered UNKNOWN; once it has returned nothing is told.
        """
