"""One slot's pure broker: its queues and producers, what was proposed, and what commits bring.

Handlers decide and propose, ``applying`` carries out what is committed, ``turns`` hands messages
on.  Replies gather in ``replies``; whoever drives the machine takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from broker import limits
from broker.cluster.slot_log import SlotLog
from broker.core.books.bodies import Bodies, IndexRow
from broker.core.books.index_cursor import IndexCursor
from broker.core.books.ledger import Ledger
from broker.core.books.log_marks import LogMarks
from broker.core.books.outbox import Outbox
from broker.core.books.producers import Producers
from broker.core.books.tags import encode_tag
from broker.core.channels.binding_work import BindingWork
from broker.core.channels.bindings import BindingCopies
from broker.core.channels.book import ChannelBook
from broker.core.channels.publishes import Publishes
from broker.core.leaving.redrive_job import RedriveJob
from broker.core.queue import Queue
from broker.core.services.service import Service
from broker.core.timing.timetable import Timetable
from broker.core.transient.memory_bodies import BodiesByQueue
from broker.core.transient.transient_log import POSITIONS_PER_EPOCH, TransientLog, is_logged
from broker.errors import LimitReached, QueueNotFound
from broker.model.entries import (
    Entry,
    ExpirySwept,
    IdsSwept,
    QueueDeclared,
    QueueDeleted,
    Trimmed,
)
from broker.model.partitions import is_partition
from broker.model.published import Published
from broker.model.replies import Reply
from broker.model.settings import QueueSettings

#: What tells a queue from every other that ever was.
UUID_BYTES = 16


class IdSweep:
    """Where the sweep of ids (id_sweeping.py) goes on, and when; ``lsn`` is of its last entry."""

    __slots__ = ("at", "first", "lsn", "number")

    def __init__(self) -> None:
        self.at: int | None = None
        self.number = 0
        self.first = 0
        self.lsn = 0


class SlotMachine:
    def __init__(
        self,
        slot: int,
        log: SlotLog,
        bodies: Bodies,
        draw: Callable[[int], bytes],
        *,
        auto_declare: bool = True,
        log_kept_bytes: int = limits.LOG_KEPT_BYTES_ALONE,
    ) -> None:
        self.slot = slot
        self.log = log
        #: What is done for queues that are in memory alone, and their messages.
        self.transient = TransientLog()
        self.bodies: Bodies = BodiesByQueue(bodies, self.transient.memory)
        #: Gives that many random bytes.
        self.draw = draw
        self.auto_declare = auto_declare
        self.queues: dict[int, Queue] = {}
        self.names: dict[str, Queue] = {}
        self.uuids: dict[bytes, Queue] = {}
        self.next_queue_number = 1
        #: Queues whose declaration is proposed and not yet committed.
        self.unborn: set[int] = set()
        #: Messages that went with their queues while this broker served them.
        self.deleted_messages = 0
        #: True while this broker reigns and has built the volatile side.
        self.is_serving = False
        #: How many brokers hold what is committed.
        self.copies = 1
        self.producers = Producers()
        self.outbox = Outbox()
        #: Which queues get what is published on the slot's channels.
        self.bindings = BindingCopies()
        #: Bindings of the slot's queues that are on their way to where they belong.
        self.binding_work = BindingWork()
        self.publishes = Publishes()
        #: Messages that queues were bound to get which were deleted meanwhile; in this reign.
        self.unroutable = 0
        #: number of a queue -> what moves its messages, in this reign
        self.redrives: dict[int, RedriveJob] = {}
        self.marks = LogMarks(log_kept_bytes)
        #: Why puts are refused for now; None when they are not.
        self.alarm: str | None = None
        #: Who serves which name; nothing of it is ever proposed.
        self.services: dict[str, Service] = {}
        #: When this reign began.
        self.serving_since = 0
        self.replies: list[Reply] = []
        self.channels = ChannelBook()
        #: Committed messages of channels, for who subscribed them; the hub takes them.
        self.published: list[Published] = []
        #: How many subscriptions match a channel, on all brokers.
        self.count_subscribers: Callable[[str], int] = lambda _channel: 0
        #: Takes what happened to a queue, for the broker's own channels: (event, facts).
        self.note_event: Callable[..., None] = lambda _event, **_facts: None
        #: True when subscribers were told that this reign began.
        self.is_announced = False
        #: Replies that leave when the entry of that lsn is committed.
        self.answers: dict[int, list[Reply]] = {}
        #: Queues that may have something to hand on; a dict for its order.
        self.awake: dict[int, Queue] = {}
        #: Queues with an open put in this turn.
        self.opened: list[Queue] = []
        #: Applied entries whose effect on the disk is still to be written, in order.
        self.disk_effects: list[Trimmed | ExpirySwept | QueueDeleted | IdsSwept] = []
        self._begin_waiting(bodies)

    def _begin_waiting(self, bodies: Bodies) -> None:
        """What waits for an instant, and for which."""
        #: heap of (instant, queue number)
        self.wakes: list[tuple[int, int]] = []
        #: Its rows end with an entry once they were looked at.
        self.expiry = IndexCursor(bodies.expiring)
        #: Its rows stay until their batch is erased.
        self.due = IndexCursor(bodies.coming_due)
        #: Delayed batches that came due and are still on disk; of one whose messages have due
        #: times of their own, those that the row is for, as a bitmap.
        self.due_rows: dict[IndexRow, int | None] = {}
        self.timetable = Timetable()
        #: queue -> schedule -> what the shell last said of it, for the stats
        self.schedule_notes: dict[str, dict[str, dict[str, int | str]]] = {}
        self.id_sweep = IdSweep()

    @property
    def now(self) -> int:
        return self.log.now

    def propose(self, entry: Entry, *answers: Reply) -> int:
        """Appends to the log; ``answers`` leave when it is committed."""
        number = getattr(entry, "number", None)
        queue = self.queues[number] if number is not None else None
        if queue is not None and queue.is_transient and not is_logged(entry):
            lsn = self.transient.propose(entry, self.now)
        else:
            lsn = self.log.propose(entry)
            if queue is not None:
                self.marks.touch(queue.ledger.number, queue.proposed_next)
        if answers:
            self.answers[lsn] = list(answers)
        return lsn

    def uncommitted_of(self, number: int) -> list[Entry]:
        """What is proposed and not yet applied for one queue, in order."""
        return self.log.uncommitted_of(number) + self.transient.uncommitted_of(number)

    @property
    def transient_start(self) -> int:
        """The first position of this reign in every transient queue."""
        return self.log.epoch * POSITIONS_PER_EPOCH

    def empty(self, queue: Queue) -> None:
        """A transient queue begins in this reign; what it held in another is lost."""
        number = queue.ledger.number
        queue.ledger.empty(self.transient_start)
        queue.proposed_next = self.transient_start
        self.transient.memory.begin(number)
        self.producers.forget_queue(number)

    def add_queue(self, ledger: Ledger) -> Queue:
        tag = encode_tag(self.slot, self.log.epoch, ledger.uuid)
        queue = Queue(ledger, tag, self.now)
        self.queues[ledger.number] = queue
        self.names[ledger.name] = queue
        self.uuids[ledger.uuid] = queue
        if queue.is_transient:
            self.producers.volatile.add(ledger.number)
        if ledger.settings.channel is not None:
            queue.channel = self.channels.add_kept(ledger)
        self.next_queue_number = max(self.next_queue_number, ledger.number + 1)
        return queue

    def drop_queue(self, queue: Queue) -> None:
        queue.deleted = True
        del self.queues[queue.ledger.number]
        del self.uuids[queue.ledger.uuid]
        if self.names.get(queue.name) is queue:
            del self.names[queue.name]
        self.awake.pop(queue.ledger.number, None)
        if queue.channel is not None:
            self.channels.drop_kept(queue.channel)
        if queue.is_transient:
            self.transient.memory.forget(queue.ledger.number)
            self.producers.volatile.discard(queue.ledger.number)

    def find_queue(self, name: str) -> Queue:
        """Raises QueueNotFound; a queue whose deletion is proposed is not found any more."""
        queue = self.names.get(name)
        if queue is None or queue.deleted:
            raise QueueNotFound(f"no queue is called {name!r}")
        return queue

    def require_queue(self, name: str, settings: dict[str, Any] | None = None) -> Queue:
        """The queue of that name, declared with the defaults where the broker allows it.

        A partition is declared with ``settings``, and never without: they are those of the whole.
        """
        queue = self.names.get(name)
        if queue is not None and not queue.deleted:
            return queue
        if settings is not None:
            return self.declare(name, QueueSettings.from_map(settings))
        if not self.auto_declare or is_partition(name):
            raise QueueNotFound(f"no queue is called {name!r}, and queues must be declared here")
        return self.declare(name, QueueSettings())

    def declare(self, name: str, settings: QueueSettings, *answers: Reply) -> Queue:
        """Makes a queue.  It serves at once; its entry precedes all that is put into it."""
        if len(self.queues) >= limits.QUEUES_PER_SLOT_MAX:
            raise LimitReached(f"a slot has at most {limits.QUEUES_PER_SLOT_MAX} queues")
        number = self.next_queue_number
        ledger = Ledger(number, self.draw(UUID_BYTES), name, settings)
        queue = self.add_queue(ledger)
        if queue.is_transient:
            self.empty(queue)
        self.unborn.add(number)
        entry = QueueDeclared(number, ledger.uuid, name, settings.as_map())
        self.propose(entry, *answers)
        return queue

    def wake(self, queue: Queue) -> None:
        """Look at the queue at the end of this turn."""
        self.awake[queue.ledger.number] = queue

    def wake_at(self, queue: Queue, at: int) -> None:
        """Look at the queue at ``at``, or earlier where that was asked."""
        if queue.wake_at is None or at < queue.wake_at:
            queue.wake_at = at
            heappush(self.wakes, (at, queue.ledger.number))

    def take_due(self, now: int) -> list[Queue]:
        """Queues whose instant has come."""
        due: list[Queue] = []
        while self.wakes and self.wakes[0][0] <= now:
            at, number = heappop(self.wakes)
            queue = self.queues.get(number)
            if queue is not None and queue.wake_at == at:
                queue.wake_at = None
                due.append(queue)
        return due

    def next_wake_at(self) -> int | None:
        instants = [self.wakes[0][0]] if self.wakes else []
        cursors = (self.expiry, self.due, self.timetable, self.id_sweep)
        instants += [cursor.at for cursor in cursors if cursor.at is not None]
        if self.transient.memory.queues:
            instants += self.transient.memory.instants()
        instants += [job.next_at for job in self.redrives.values()]
        instants += self.channels.instants(self.now)
        return min(instants, default=None)
