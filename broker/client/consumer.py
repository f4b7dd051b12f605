"""One consumer of a queue, whatever the session: what it asked for, where it consumes, what it has.

Owns the fields of its ``consume`` command.  It never asks: ``Consumers`` does.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from broker.client.selector import WireSelector
from broker.client.waiters import Waiters

if TYPE_CHECKING:
    from broker.client.credit import CreditWindow
    from broker.client.delivery import Part
    from broker.client.exchange import Exchange
    from broker.client.routes import Route
    from broker.errors import MsgQueueError


class Preference(NamedTuple):
    """What a consumer takes, and whether before others: the highest ``priority`` comes first."""

    selector: WireSelector | None = None
    priority: int | None = None

    def fields(self) -> dict[str, Any]:
        return {name: value for name, value in self._asdict().items() if value is not None}


NO_PREFERENCE = Preference()


class Consumer:
    """One ``consume``, whatever the session; ``number`` names it on the wire."""

    def __init__(
        self,
        number: int,
        route: Route,
        window: CreditWindow,
        lease_ms: int | None,
        auto_ack: bool,
        concurrency: int,
        preference: Preference = NO_PREFERENCE,
    ) -> None:
        self.number = number
        self.queue = route.queue
        self.route = route
        #: Where it consumes; None while it does nowhere.
        self.exchange: Exchange | None = None
        self.window = window
        self.lease_ms = lease_ms
        self.auto_ack = auto_ack
        self.concurrency = concurrency
        self.preference = preference
        #: Of a queue that is spread over partitions: one consumer of each, and whose turn it is.
        self.members: list[Consumer] = []
        self.turn = 0
        self.prefetched: deque[Part] = deque()
        #: Prefetched as well, and waiting for what becomes of older deliveries.
        self.withheld: deque[Part] = deque()
        #: True while some of either may have an older delivery beside them.
        self.has_copies = False
        #: Why there will be no more deliveries.
        self.error: MsgQueueError | None = None
        self.is_leaving = False
        #: True from its cancel on the line that its queue left to its consume on the next.
        self.is_moving = False
        #: True when credit was refused that it counts on.
        self.is_starving = False
        #: Called once each when a delivery or an error has come.
        self.waiters = Waiters()

    @property
    def is_settled(self) -> bool:
        """True while it is given messages where it should be."""
        return self.exchange is not None and not self.is_starving and not self.is_moving

    @property
    def has_news(self) -> bool:
        if self.members:
            return any(member.has_news for member in self.members)
        return bool(self.prefetched) or self.error is not None

    def command(self) -> dict[str, Any]:
        grant = self.window.grant()
        fields: dict[str, Any] = {
            "cmd": "consume",
            "queue": self.queue,
            "consumer": self.number,
            "credit": grant.messages,
            "credit_bytes": grant.bytes,
            "concurrency": self.concurrency,
        }
        if self.lease_ms is not None:
            fields["lease_ms"] = self.lease_ms
        if self.auto_ack:
            fields["auto_ack"] = True
        if self.preference is not NO_PREFERENCE:
            fields.update(self.preference.fields())
        return fields

    def fail(self, error: MsgQueueError) -> None:
        self.error = error
        self.waiters.tell()
