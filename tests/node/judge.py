"""A node and a model of it take turns together; every reply is judged by the model.

What the model cannot foresee is when a message whose time to live is over is removed: until
then it may be counted, but never delivered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from broker.core.books.tags import decode_tag
from tests.node.queue_model import Model, ModelQueue, Op, Session
from tests.node.soundness import require_sound
from tests.support.node_rig import NodeRig, Sent

#: Steps of the clock; all instants of a run are multiples, so that no lease ends in between.
STEP_MS = 1_000
_MEMORY = 12


@dataclass(frozen=True)
class Memory:
    """A run that a client was given once, and may settle at any later time."""

    queue: str
    tag: bytes
    first: int
    count: int
    attempts: int
    #: The queue itself, for a name may be made again.
    model: ModelQueue


@dataclass
class Client:
    number: int
    peer: bytes = b""
    reconnects: int = 0
    session: bytes | None = None
    memory: list[Memory] = field(default_factory=list)
    #: queue name -> (producer id, next sequence)
    producers: dict[str, tuple[bytes, int]] = field(default_factory=dict)

    def connect(self) -> None:
        self.reconnects += 1
        self.peer = b"\0%d%03d" % (self.number, self.reconnects % 1000)

    def remember(self, memory: Memory) -> None:
        self.memory = [*self.memory[1 - _MEMORY :], memory]


@dataclass(eq=False)
class WaitingGet:
    queue: ModelQueue
    session: Session
    most: int
    lease_ms: int
    ends_at: int


class Judge:
    """The node, its model, and the turns of both; commands come from ``World``."""

    def __init__(self) -> None:
        self.rig = NodeRig()
        self.model = Model(self.rig.now)
        self.clients = [Client(number) for number in range(3)]
        self.by_peer: dict[bytes, Client] = {}
        self.judges: dict[int, Callable[[Sent], None]] = {}
        self.gets: dict[int, WaitingGet] = {}
        #: queue uuid -> positions that left under auto_ack
        self.taken: dict[bytes, set[int]] = {}
        self.bodies_put = 0

    # Turns

    def turn(self) -> None:
        rig, model = self.rig, self.model
        model.tick(rig.now)
        try:
            sent = rig.turn()
        finally:
            # A crash may come with the write itself.
            model.written(rig.store.writes)
        for one in sent:
            self._judge(one)
        for req, get in list(self.gets.items()):
            if get.session.peer not in model.sessions:
                # A session that ended gets no answer.
                del self.gets[req], self.judges[req]

    def sync(self) -> None:
        self.rig.sync()
        self.model.commit(self.rig.store.synced_writes)
        self.turn()

    def quiet(self) -> None:
        """Until all is committed and nothing is left to do; then all must agree."""
        for _ in range(100):
            self.turn()
            self.sync()
            if self.rig.is_quiet and not self.model.ops:
                break
        else:
            raise AssertionError("the node never comes to rest")
        self._require_answered()
        for name in list(self.model.queues):
            self._require_equal(self.model.queues[name])
        self._require_no_other_queue()

    def crash(self, kept: int) -> None:
        rig, model = self.rig, self.model
        survived = rig.store.synced_writes + min(kept, rig.store.unsynced_batches)
        rig.crash(kept)
        model.crash(survived)
        self.judges.clear()
        self.gets.clear()
        self.by_peer.clear()
        for queue in model.queues.values():
            self._forget_removed(queue)

    def pass_time(self, steps: int) -> None:
        self.rig.now += steps * STEP_MS
        self.turn()

    # Replies

    def _judge(self, sent: Sent) -> None:
        if sent.re == "messages":
            self._judge_delivery(sent)
        elif sent.req is not None:
            assert sent.req in self.judges, f"answered twice or unasked: {sent}"
            self.judges.pop(sent.req)(sent)
        else:
            assert sent.re in ("closed", "cancelled"), sent

    def _judge_delivery(self, sent: Sent) -> None:
        name = sent["queue"]
        get = self.gets.pop(sent.req, None) if sent.req is not None else None
        if get is not None and sent.req is not None:
            self.judges.pop(sent.req)
        if name.startswith("auto"):
            # It may come after its taker has ended, for it waited for the commit.
            self._judge_taken(sent)
            return
        session = self.model.sessions[sent.peer]
        if get is None:
            taker = session.consumers[sent["consumer"]]
            assert len(sent.messages()) <= taker.credit
            taker.credit -= len(sent.messages())
            self._judge_held(taker.queue, session, taker.number, taker.lease_ms, sent)
        elif sent.messages():
            assert len(sent.messages()) <= get.most
            self._judge_held(get.queue, session, None, get.lease_ms, sent)
        else:
            assert get.ends_at <= self.rig.now
            assert not get.queue.ready(self.rig.now)

    def _judge_held(
        self, queue: ModelQueue, session: Session, consumer: int | None, lease: int, sent: Sent
    ) -> None:
        got = sent.messages()
        expected = queue.ready(self.rig.now)[: len(got)]
        assert [(d.position, d.attempts, d.priority, d.body) for d in got] == [
            (m.position, m.attempts, m.priority, m.body) for m in expected
        ]
        self.model.deliver(queue, expected, session, consumer, lease)
        client = self.by_peer[sent.peer]
        for first, count, attempts in sent.ranges():
            memory = Memory(queue.name, sent["tag"], first, count, attempts, queue)
            client.remember(memory)

    def _judge_taken(self, sent: Sent) -> None:
        if not sent.messages():
            return
        uuid = decode_tag(sent["tag"]).uuid
        queue = self.rig.machine(sent["queue"]).uuids.get(uuid)
        taken = self.taken.setdefault(uuid, set())
        for one in sent.messages():
            assert one.position not in taken, "at most once"
            taken.add(one.position)
            assert queue is None or queue.ledger.settled.contains(one.position)

    def _expect(self, req: int, code: int | None = None, op: Op | None = None, **want: Any) -> None:
        """The answer to ``req``: ``failed`` with ``code``, or ``ok`` after the commit of ``op``."""

        def judge(sent: Sent) -> None:
            assert sent.code == (code or 0), (sent, want)
            if op is not None:
                assert op.done, f"answered before it was durable: {sent}"
            for name, value in want.items():
                if value is not None:
                    assert sent[name] == value, (sent, name, value)

        self.judges[req] = judge

    # Agreement

    def _require_answered(self) -> None:
        waiting = set(self.judges) - set(self.gets)
        assert not waiting, f"never answered: {waiting}"
        for get in self.gets.values():
            queue = get.queue
            assert queue.auto_ack or not queue.ready(self.rig.now), (
                "a get waits beside a ready message"
            )

    def _forget_removed(self, queue: ModelQueue) -> None:
        """Removals that the model cannot time: of the expired, and under auto_ack."""
        core = self.rig.queue(queue.name)
        for position, message in list(queue.messages.items()):
            may_be_gone = queue.auto_ack or message.is_expired(self.rig.now)
            if may_be_gone and core.ledger.settled.contains(position):
                del queue.messages[position]

    def _require_equal(self, queue: ModelQueue) -> None:
        self._forget_removed(queue)
        now = self.rig.now
        core = self.rig.queue(queue.name)
        require_sound(self.rig, core)
        messages = list(queue.messages.values())
        live = core.ledger.settled.live_ranges(0, core.ledger.next_position)
        positions = [p for first, count in live for p in range(first, first + count)]
        assert positions == sorted(queue.messages)
        in_flight = sum(1 for m in messages if m.holding)
        delayed = sum(1 for m in messages if not m.holding and m.not_before > now)
        assert core.ledger.next_position == queue.next_position
        assert core.ledger.messages == len(messages)
        assert core.leases.messages == in_flight
        assert core.resting.positions + core.undue == delayed
        assert core.ready == len(messages) - in_flight - delayed
        for message in messages:
            assert core.ledger.attempts_at(message.position) == message.attempts
        if queue.ready(now):
            for session in self.model.sessions.values():
                for consumer in session.consumers.values():
                    assert consumer.queue is not queue or consumer.credit == 0 or queue.auto_ack

    def _require_no_other_queue(self) -> None:
        names = {name for s in self.rig.node._replicas for name in s.machine.names}
        assert names == set(self.model.queues)
