"""What a queue's slot knows of bindings on their way, in this reign: which queues have some, who
waits for them, and which queues are gone whose bindings may still stand somewhere."""

from __future__ import annotations

from typing import NamedTuple

from broker.model.replies import Reply

#: (queue number, pattern)
WorkKey = tuple[int, str]


class GoneQueue(NamedTuple):
    """A deleted queue; ``lsn`` is of its deletion."""

    uuid: bytes
    name: str
    patterns: list[str]
    lsn: int


class BindingWork:
    __slots__ = ("changed_at", "errors", "gone", "queues", "waiting")

    def __init__(self) -> None:
        #: Numbers of queues with bindings to carry; a dict for its order.
        self.queues: dict[int, None] = {}
        self.gone: list[GoneQueue] = []
        #: Answers that leave when the change of that lsn, or a later one, is with all slots.
        self.waiting: dict[WorkKey, list[tuple[int, Reply]]] = {}
        #: The lsn of the newest change that is proposed, until it is with all.
        self.changed_at: dict[WorkKey, int] = {}
        #: queue number -> why one of its bindings came to nothing, or is not with all slots yet.
        self.errors: dict[int, str] = {}

    def __bool__(self) -> bool:
        return bool(self.queues or self.gone)

    def forget_queue(self, number: int) -> list[Reply]:
        """The queue is deleted; gives the answers that waited for its bindings."""
        self.queues.pop(number, None)
        self.errors.pop(number, None)
        for key in [key for key in self.changed_at if key[0] == number]:
            del self.changed_at[key]
        keys = [key for key in self.waiting if key[0] == number]
        return [reply for key in keys for _, reply in self.waiting.pop(key)]

    def take_waiting(self) -> list[Reply]:
        """Answers that this reign will not give."""
        waiting = [reply for replies in self.waiting.values() for _, reply in replies]
        self.waiting.clear()
        return waiting
