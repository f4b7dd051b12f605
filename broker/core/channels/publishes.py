"""What this reign knows of publishes that queues are bound to get, until they are committed."""

from __future__ import annotations

from typing import NamedTuple

from broker.core.queue import Queue
from broker.model.commands import Publish
from broker.model.entries import SharedPut
from broker.model.replies import Reply
from broker.model.selector import Selector


class OpenShares:
    """A shared put of this turn, which others may still join: for whom it is.

    ``targets`` are (queue, uuid, sequence, selectors); the selectors are those of all bindings of
    the queue that match, None where one has no selector.
    """

    __slots__ = ("entry", "queue", "targets")

    def __init__(self, queue: Queue, entry: SharedPut) -> None:
        self.queue = queue
        self.entry = entry
        self.targets: list[tuple[str, bytes, int, list[Selector] | None]] = []


class HeldPublish(NamedTuple):
    command: Publish
    #: Waits for the same commit; None where no answer is asked for.
    reply: Reply | None


class Publishes:
    __slots__ = ("held", "opened", "pending")

    def __init__(self) -> None:
        #: Shared puts of this turn.
        self.opened: list[OpenShares] = []
        #: lsn -> publishes on channels without a history on disk, for their subscribers
        self.held: dict[int, list[HeldPublish]] = {}
        #: channel -> the lsn of the newest of them
        self.pending: dict[str, int] = {}
