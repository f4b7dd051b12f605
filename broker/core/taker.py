"""Who takes messages from a queue: a consumer under credit, or one waiting get."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker import limits

if TYPE_CHECKING:
    from broker.core.queue import Queue
    from broker.core.session import Session


class Taker:
    """``credit`` and ``credit_bytes`` are what it takes now; one message may overdraw the bytes."""

    __slots__ = ("auto_ack", "credit", "credit_bytes", "lease_ms", "queue", "queued", "session")

    def __init__(
        self,
        session: Session,
        queue: Queue,
        credit: int,
        credit_bytes: int,
        lease_ms: int,
        auto_ack: bool,
    ) -> None:
        self.session = session
        self.queue = queue
        self.credit = credit
        self.credit_bytes = credit_bytes
        self.lease_ms = lease_ms
        self.auto_ack = auto_ack
        #: True while it stands in its queue's line.
        self.queued = False

    def add_credit(self, messages: int, size: int) -> None:
        self.credit = min(self.credit + messages, limits.CREDIT_MAX)
        self.credit_bytes = min(self.credit_bytes + size, limits.CREDIT_BYTES_MAX)

    @property
    def is_hungry(self) -> bool:
        return self.credit > 0 and self.credit_bytes > 0 and not self.session.closed


class Consumer(Taker):
    __slots__ = ("cancelled", "concurrency", "number")

    def __init__(
        self,
        session: Session,
        queue: Queue,
        number: int,
        credit: int,
        credit_bytes: int,
        lease_ms: int,
        auto_ack: bool,
        concurrency: int,
    ) -> None:
        super().__init__(session, queue, credit, credit_bytes, lease_ms, auto_ack)
        self.number = number
        #: How many of its oldest messages it works on at once; these are charged when it dies.
        self.concurrency = concurrency
        self.cancelled = False

    @property
    def is_hungry(self) -> bool:
        return not self.cancelled and super().is_hungry


class Getter(Taker):
    """One ``get`` that waits until ``ends_at``; answered once."""

    __slots__ = ("answered", "ends_at", "req")

    def __init__(
        self,
        session: Session,
        queue: Queue,
        credit: int,
        credit_bytes: int,
        lease_ms: int,
        auto_ack: bool,
        req: int | None,
        ends_at: int,
    ) -> None:
        super().__init__(session, queue, credit, credit_bytes, lease_ms, auto_ack)
        self.req = req
        self.ends_at = ends_at
        self.answered = False

    @property
    def is_hungry(self) -> bool:
        return not self.answered and super().is_hungry
