"""Which connection each queue uses.

Owns one ``Route`` a queue, which all parts of the queue share.  It never decides where a queue
goes: ``Routing`` does.  Law: what a queue sends anew goes to its route's exchange, and only there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from broker.client.exchange import Exchange


class Way(Protocol):
    """What leads to a broker, now one and now another."""

    exchange: Exchange


class Route:
    """``epoch`` is the slot's reign, as of the last time that the queue was resumed."""

    __slots__ = ("epoch", "exchange", "queue")

    def __init__(self, queue: str, exchange: Exchange, epoch: int) -> None:
        self.queue = queue
        self.exchange = exchange
        self.epoch = epoch


class Routes:
    """``place`` makes the route of a queue that was not used before."""

    def __init__(self, place: Callable[[str], Route]) -> None:
        #: For commands of no queue: any broker answers them.
        self.home = place("")
        self._place = place
        self._routes: dict[str, Route] = {}

    def find(self, queue: str | None) -> Route:
        if not queue:
            return self.home
        route = self._routes.get(queue)
        if route is None:
            route = self._routes[queue] = self._place(queue)
        return route

    def __iter__(self) -> Iterator[Route]:
        yield self.home
        yield from self._routes.values()
