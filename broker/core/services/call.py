"""One call and one worker: what is known of each; their rules are the service's.

    call     waits in line -> is with a worker -> is over
    worker   idle (all places free) | has a place left | has none | leaving, until it has nothing

A call that asks several workers is a whole with one share for each of them.  A share is a call of
its own at its worker, and is told to the caller by the whole.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from broker.core.session import Session

if TYPE_CHECKING:
    from broker.core.services.service import Service


class Call:
    """``content`` is what the caller said of the body; ``attempt`` counts who was given it."""

    __slots__ = (
        "attempt",
        "began_at",
        "body",
        "content",
        "ends_at",
        "id",
        "is_idempotent",
        "is_over",
        "is_stream",
        "parts",
        "req",
        "service",
        "session",
        "worker",
    )

    def __init__(
        self,
        service: Service,
        session: Session,
        req: int,
        began_at: int,
        ends_at: int,
        content: dict[str, Any],
    ) -> None:
        self.service = service
        self.session = session
        self.req = req
        self.began_at = began_at
        self.ends_at = ends_at
        self.content = content
        #: What the worker calls it by; given with the request.
        self.id = b""
        self.attempt = 0
        self.is_idempotent = False
        self.is_stream = False
        #: Kept while a worker may still be given it.
        self.body = b""
        #: Who has it; None while it waits.
        self.worker: Worker | None = None
        #: True when its end was told; its worker may still have it in hand.
        self.is_over = False
        #: Replies that the caller was told.
        self.parts = 0


class Whole(Call):
    """A call that asks several workers; it is with none of them itself."""

    __slots__ = ("answered", "shares")

    shares: list[Share]
    answered: int


class Share(Call):
    """What one worker has of a whole; the caller knows it by its ``number``."""

    __slots__ = ("number", "target", "whole")

    whole: Whole
    number: int
    #: Who is asked, and nobody else.
    target: Worker


class Worker:
    __slots__ = (
        "concurrency",
        "held",
        "is_leaving",
        "line",
        "number",
        "places",
        "service",
        "session",
    )

    def __init__(self, service: Service, session: Session, number: int, concurrency: int) -> None:
        self.service = service
        self.session = session
        self.number = number
        self.concurrency = concurrency
        #: How many more requests it takes now.
        self.places = concurrency
        #: id -> call that it has in hand, those among them that are over and not yet given back.
        self.held: dict[bytes, Call] = {}
        #: Shares that wait for a place here; a dict for its order.
        self.line: OrderedDict[Share, None] = OrderedDict()
        #: True when it takes no more, and goes when it has nothing in hand.
        self.is_leaving = False
