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
            # Each body is put once to each queue, so it is a producer of its own there.
            reply = _answered(partial(client.put, queue, [body], producer=body, seq=0))
            assert reply.name == "ok", reply


def take_each(endpoint: str) -> list[list[bytes]]:
    """What each queue holds."""
    with WireClients() as clients:
        client = clients.open(endpoint)
        return [bodies_of(_answered(partial(client.get, queue, max=10))) for queue in QUEUES]


def _answered(ask: Callable[[], Reply]) -> Reply:
    """Asked again while a slot changes hands: ``not_primary`` says that nothing happened, and a
    put with a sequence appears once, whatever became of the first."""
    replies: list[Reply] = []

    def is_answered() -> bool:
        replies.append(ask())
        return replies[-1].name not in ("not_primary", "outcome_unknown")

    wait_until(is_answered, "an answer of the slot's primary")
    return replies[-1]
