"""Queues as a user understands them, a message at a time: slow, and plainly right.

Every durable change is an ``Op``: proposed, written, then committed or lost with a crash.  What is
volatile (who holds what) lives in the messages and is forgotten by a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Session:
    id: bytes
    peer: bytes
    timeout_ms: int
    heard_at: int
    #: The session that it resumes, as it was named.
    resumes: bytes = b""
    #: consumer number -> consumer
    consumers: dict[int, Consumer] = field(default_factory=dict)


@dataclass(eq=False)
class Consumer:
    queue: ModelQueue
    number: int
    credit: int
    lease_ms: int
    concurrency: int


@dataclass
class Holding:
    """A message in flight."""

    session: Session
    consumer: int | None
    ends_at: int
    #: Rises with each delivery.
    order: int


@dataclass(eq=False)
class Message:
    position: int
    priority: int
    body: bytes
    expires_at: int
    attempts: int = 0
    not_before: int = 0
    due_at: int = 0
    holding: Holding | None = None
    #: A proposed return names it.
    leaving: bool = False
    #: A proposed removal names it.
    removed: bool = False
    #: It was handed out or settled since the last restart.
    touched: bool = False
    #: The ended session that had it last, where it came back free of charge.
    returned_by: Session | None = None

    def is_expired(self, now: int) -> bool:
        return 0 < self.expires_at <= now

    @property
    def is_waiting(self) -> bool:
        return self.holding is None and not self.leaving and not self.removed


@dataclass(eq=False)
class ModelQueue:
    name: str
    #: All who take from it take with auto_ack.
    auto_ack: bool
    #: Committed and not settled.
    messages: dict[int, Message] = field(default_factory=dict)
    next_position: int = 0
    proposed_next: int = 0
    #: (producer, sequence) -> its op
    puts: dict[tuple[bytes, int], Op] = field(default_factory=dict)
    purging: int = 0
    born: bool = False

    def ready(self, now: int) -> list[Message]:
        """What may be handed out, in order."""
        if self.purging:
            return []
        found = [
            m
            for m in self.messages.values()
            if m.is_waiting and m.not_before <= now and not m.is_expired(now)
        ]
        return sorted(found, key=lambda m: (-m.priority, m.position))


class Op:
    """A durable change; ``write`` tells with which write to the store it went, once it did."""

    def __init__(self, change: Callable[[], None]) -> None:
        self.change = change
        self.write: int | None = None
        self.done = False

    def commit(self) -> None:
        self.change()
        self.done = True


class Model:
    def __init__(self, now: int) -> None:
        self.now = now
        self.epoch = 1
        self.queues: dict[str, ModelQueue] = {}
        self.durable: dict[str, ModelQueue] = {}
        self.sessions: dict[bytes, Session] = {}
        self.ops: list[Op] = []
        self.order = 0

    # What is durable

    def propose(self, change: Callable[[], None]) -> Op:
        op = Op(change)
        self.ops.append(op)
        return op

    def written(self, write: int) -> None:
        for op in self.ops:
            if op.write is None:
                op.write = write

    def commit(self, writes: int) -> None:
        """Everything written by the first ``writes`` writes is durable."""
        while self.ops and self.ops[0].write is not None and self.ops[0].write <= writes:
            self.ops.pop(0).commit()

    def crash(self, writes: int) -> None:
        self.commit(writes)
        self.ops.clear()
        self.epoch += 1
        self.sessions.clear()
        self.queues = dict(self.durable)
        for queue in self.queues.values():
            queue.purging = 0
            queue.proposed_next = queue.next_position
            queue.puts = {key: op for key, op in queue.puts.items() if op.done}
            for message in queue.messages.values():
                message.holding = None
                message.leaving = message.removed = message.touched = False
                message.returned_by = None

    # Queues

    def require_queue(self, name: str) -> ModelQueue:
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[name] = ModelQueue(name, auto_ack=name.startswith("auto"))
            made = queue
            self.propose(lambda: self._make(made))
        return queue

    def _make(self, queue: ModelQueue) -> None:
        queue.born = True
        self.durable[queue.name] = queue

    def delete(self, queue: ModelQueue) -> Op:
        del self.queues[queue.name]
        for session in self.sessions.values():
            for consumer in list(session.consumers.values()):
                if consumer.queue is queue:
                    del session.consumers[consumer.number]
        return self.propose(lambda: self._remove(queue))

    def _remove(self, queue: ModelQueue) -> None:
        if self.durable.get(queue.name) is queue:
            del self.durable[queue.name]

    def put(
        self,
        queue: ModelQueue,
        bodies: list[bytes],
        priority: int,
        ttl_ms: int | None,
        delay_ms: int = 0,
    ) -> Op:
        first = queue.proposed_next
        queue.proposed_next += len(bodies)
        due_at = self.now + delay_ms if delay_ms else 0
        expires_at = (due_at or self.now) + ttl_ms if ttl_ms else 0
        added = [
            Message(first + n, priority, b, expires_at, not_before=due_at, due_at=due_at)
            for n, b in enumerate(bodies)
        ]

        def change() -> None:
            queue.messages.update({m.position: m for m in added})
            queue.next_position += len(added)

        return self.propose(change)

    def purge(self, queue: ModelQueue) -> tuple[Op, list[Message]]:
        gone = [m for m in queue.messages.values() if not m.holding and not m.removed]
        for message in gone:
            message.removed = True
        queue.purging += 1

        def change() -> None:
            queue.purging -= 1
            for message in gone:
                queue.messages.pop(message.position, None)

        return self.propose(change), gone

    # Messages

    def deliver(
        self,
        queue: ModelQueue,
        messages: list[Message],
        session: Session,
        consumer: int | None,
        lease_ms: int,
    ) -> None:
        self.order += 1
        for message in messages:
            ends_at = self.now + lease_ms
            message.holding = Holding(session, consumer, ends_at, self.order)
            message.touched = True
            message.returned_by = None

    def settle(self, queue: ModelQueue, messages: list[Message]) -> Op:
        for message in messages:
            message.holding = None
            message.removed = message.touched = True

        def change() -> None:
            for message in messages:
                queue.messages.pop(message.position, None)

        return self.propose(change)

    def give_back(self, messages: Iterable[Message], charge: bool, delay_ms: int) -> list[Op]:
        """Back to their places; what has expired meanwhile waits only to be removed."""
        ops: list[Op] = []
        for message in messages:
            message.holding = None
            message.touched = True
            message.returned_by = None
            if not message.is_expired(self.now) and (charge or delay_ms):
                ops.append(self._return(message, charge, delay_ms))
        return ops

    def _return(self, message: Message, charge: bool, delay_ms: int) -> Op:
        message.leaving = True
        not_before = self.now + delay_ms if delay_ms else 0

        def change() -> None:
            message.leaving = False
            message.attempts += charge
            message.not_before = not_before

        return self.propose(change)

    # Time and sessions

    def tick(self, now: int) -> None:
        self.now = now
        for session in list(self.sessions.values()):
            if session.heard_at + session.timeout_ms <= now:
                self.end(session, charge=True)
        for queue in self.queues.values():
            ended = [m for m in queue.messages.values() if m.holding and m.holding.ends_at <= now]
            self.give_back(ended, charge=True, delay_ms=0)

    def end(self, session: Session, charge: bool) -> None:
        """What its consumers had in hand is charged, what was only prefetched comes back free."""
        del self.sessions[session.peer]
        for queue in self.queues.values():
            held = [(m.holding, m) for m in queue.messages.values() if m.holding]
            mine = [(h, m) for h, m in held if h.session is session]
            mine.sort(key=lambda pair: (pair[0].order, pair[1].position))
            left: dict[int | None, int] = {}
            for holding, message in mine:
                number = holding.consumer
                consumer = session.consumers.get(number) if number is not None else None
                left.setdefault(number, consumer.concurrency if consumer else 1)
                charged = charge and left[number] > 0
                left[number] -= charged
                self.give_back([message], charge=charged, delay_ms=0)
                message.returned_by = None if charged else session
