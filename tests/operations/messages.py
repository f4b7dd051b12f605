"""Messages in several queues, over the wire, asked again while a slot changes its primary."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.support.waiting import wait_until
from tests.support.wire import Reply, WireClients, bodies_of

#: Enough to lie in all slots of a small cluster.
QUEUES = [f"orders-{number}" for number in range(12)]


def put_each(endpoint: str, body: bytes) -> None:
    """One message into each queue."""
    with WireClients() as clients:
        client = clients.open(endpoint)
        for queue in QUEUES:
            reply = _answered(partial(client.put, queue, [body]))
            assert reply.name == "ok", reply


def take_each(endpoint: str) -> list[list[bytes]]:
    """What each queue holds."""
    with WireClients() as clients:
        client = clients.open(endpoint)
        return [bodies_of(_answered(partial(client.get, queue, max=10))) for queue in QUEUES]


def _answered(ask: Callable[[], Reply]) -> Reply:
    """``not_primary`` is definite: nothing happened, and the same may be asked again."""
    replies: list[Reply] = []

    def is_answered() -> bool:
        replies.append(ask())
        return replies[-1].name != "not_primary"

    wait_until(is_answered, "an answer of the slot's primary")
    return replies[-1]
