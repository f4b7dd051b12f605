"""Who speaks on a connection, and who takes messages there.

A session is one ``hello`` on one connection.  Its takers are consumers, which take under credit,
and gets that wait, which are answered once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker import limits
from broker.model.selector import Selector

if TYPE_CHECKING:
    from broker.core.services.call import Call, Worker

#: (slot, queue number)
Place = tuple[int, int]


class Session:
    __slots__ = (
        "calls",
        "client",
        "closed",
        "consumers",
        "gets",
        "heard_at",
        "id",
        "peer",
        "queues",
        "resumes",
        "timeout_ms",
        "workers",
    )

    def __init__(
        self, session_id: bytes, peer: bytes, client: str, timeout_ms: int, now: int
    ) -> None:
        self.id = session_id
        self.peer = peer
        self.client = client
        self.timeout_ms = timeout_ms
        self.heard_at = now
        self.closed = False
        #: consumer number -> consumer
        self.consumers: dict[int, Consumer] = {}
        #: Waiting gets, bounded by the handlers.
        self.gets = 0
        #: The places of all queues that it took from; a dict for its order.
        self.queues: dict[Place, None] = {}
        #: req -> call that is not over, and worker number -> worker.
        self.calls: dict[int, Call] = {}
        self.workers: dict[int, Worker] = {}
        #: The id of the client's former session, whose messages it may take again.
        self.resumes = b""


class Taker:
    """``credit`` and ``credit_bytes`` are what it takes now; one message may overdraw the bytes.

    ``place`` is the queue that it takes from.
    """

    __slots__ = (
        "auto_ack",
        "credit",
        "credit_bytes",
        "lease_ms",
        "place",
        "priority",
        "queued",
        "selector",
        "session",
    )

    def __init__(
        self,
        session: Session,
        place: Place,
        credit: int,
        credit_bytes: int,
        lease_ms: int | None,
        auto_ack: bool,
    ) -> None:
        self.session = session
        self.place = place
        self.credit = credit
        self.credit_bytes = credit_bytes
        #: None where the queue's settings decide.
        self.lease_ms = lease_ms
        self.auto_ack = auto_ack
        self.priority = limits.CONSUMER_PRIORITY_DEFAULT
        #: Which messages it takes; None for all.
        self.selector: Selector | None = None
        #: True while it stands in its queue's line.
        self.queued = False

    def add_credit(self, messages: int, size: int) -> None:
        self.credit = min(self.credit + messages, limits.CREDIT_MAX)
        self.credit_bytes = min(self.credit_bytes + size, limits.CREDIT_BYTES_MAX)

    @property
    def is_hungry(self) -> bool:
        return self.credit > 0 and self.credit_bytes > 0 and not self.session.closed


class Consumer(Taker):
    __slots__ = ("cancelled", "concurrency", "number", "stands_by")

    def __init__(
        self,
        session: Session,
        place: Place,
        number: int,
        credit: int,
        credit_bytes: int,
        lease_ms: int | None,
        auto_ack: bool,
        concurrency: int,
    ) -> None:
        super().__init__(session, place, credit, credit_bytes, lease_ms, auto_ack)
        self.number = number
        #: How many of its oldest messages it works on at once; these are charged when it dies.
        self.concurrency = concurrency
        self.cancelled = False
        #: True while another consumer of an exclusive queue is the active one.
        self.stands_by = False

    @property
    def is_hungry(self) -> bool:
        return not self.cancelled and not self.stands_by and super().is_hungry


class Getter(Taker):
    """One ``get`` that waits until ``ends_at``; answered once."""

    __slots__ = ("answered", "ends_at", "req")

    def __init__(
        self,
        session: Session,
        place: Place,
        credit: int,
        credit_bytes: int,
        lease_ms: int | None,
        auto_ack: bool,
        req: int | None,
        ends_at: int,
    ) -> None:
        super().__init__(session, place, credit, credit_bytes, lease_ms, auto_ack)
        self.req = req
        self.ends_at = ends_at
        self.answered = False

    @property
    def is_hungry(self) -> bool:
        return not self.answered and super().is_hungry
