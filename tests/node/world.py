"""Commands of clients, given to a node and to its model alike."""

from __future__ import annotations

from typing import Any

import msgpack

from broker.core.books.tags import decode_tag
from broker.errors import ConsumerNotFound, LeaseLost, NoSession, ProducerExpired, QueueNotFound
from broker.model.commands import Range
from tests.node.judge import STEP_MS, Client, Judge, Memory, WaitingGet
from tests.node.queue_model import Consumer, Message, Op, Session
from tests.support.node_rig import Sent


class World(Judge):
    """What clients can do."""

    def __init__(self) -> None:
        super().__init__()
        for client in self.clients:
            self.connect(client)

    # Sessions

    def connect(self, client: Client, resume: bool = False, timeout_ms: int = 300_000) -> None:
        """A new connection of a client: a new peer, which says hello."""
        client.connect()
        fields = {"resume": client.session} if resume and client.session else {}
        model = self.model
        for former in list(model.sessions.values()):
            if fields and former.id == client.session:
                model.end(former, charge=False)
        req = self.rig.command(
            client.peer, "hello", client="world", timeout_ms=timeout_ms, **fields
        )
        session = Session(b"", client.peer, timeout_ms, self.rig.now, fields.get("resume", b""))
        model.sessions[client.peer] = session
        self.by_peer[client.peer] = client

        def judge(sent: Sent) -> None:
            assert sent.re == "welcome"
            session.id = client.session = sent["session"]

        self.judges[req] = judge
        # The welcome carries the id that a later resume names.
        self.turn()

    def send(self, client: Client, cmd: str, *frames: bytes, **fields: Any) -> int | None:
        """Gives the request's number, or None when there is no session (and expects that)."""
        req = self.rig.command(client.peer, cmd, *frames, **fields)
        session = self.model.sessions.get(client.peer)
        if session is None:
            self._expect(req, NoSession.code)
            return None
        session.heard_at = self.rig.now
        return req

    def ping(self, client: Client) -> None:
        req = self.send(client, "ping")
        if req is not None:
            self._expect(req)

    def bye(self, client: Client) -> None:
        req = self.send(client, "bye")
        if req is not None:
            self._expect(req)
            self.model.end(self.model.sessions[client.peer], charge=False)

    def vanish(self, client: Client) -> None:
        """The connection is found broken."""
        self.rig.node.unreachable(self.rig.now, client.peer, "gone")
        session = self.model.sessions.get(client.peer)
        if session is not None:
            self.model.end(session, charge=True)

    # Putting

    def put(
        self,
        client: Client,
        name: str,
        sizes: list[int],
        priority: int,
        ttl_ms: int | None,
        delay_ms: int = 0,
    ) -> None:
        producer, seq = client.producers.get(name, (b"", 0))
        if not producer:
            producer = b"%d-%d" % (client.number, self.bodies_put)
        client.producers[name] = (producer, seq + 1)
        self._put(client, name, sizes, priority, ttl_ms, producer, seq, delay_ms)

    def put_again(self, client: Client, name: str, back: int) -> None:
        """A repeat of an earlier sequence; its content does not matter."""
        producer, seq = client.producers.get(name, (b"", 0))
        if producer:
            self._put(client, name, [1], 4, None, producer, max(seq - 1 - back, 0))

    def _put(
        self,
        client: Client,
        name: str,
        sizes: list[int],
        priority: int,
        ttl_ms: int | None,
        producer: bytes,
        seq: int,
        delay_ms: int = 0,
    ) -> None:
        bodies = []
        for size in sizes:
            self.bodies_put += 1
            bodies.append(b"%d:" % self.bodies_put + b"x" * size)
        fields: dict[str, Any] = {"producer": producer, "seq": seq, "priority": priority}
        if ttl_ms:
            fields["ttl_ms"] = ttl_ms
        if delay_ms:
            fields["delay_ms"] = delay_ms
        req = self.send(
            client, "put", msgpack.packb(bodies), queue=name, count=len(bodies), **fields
        )
        if req is None:
            return
        queue = self.model.require_queue(name)
        repeated = queue.puts.get((producer, seq))
        if repeated is not None:
            self._expect(req, op=repeated, duplicate=True)
        elif seq and not any(known == producer for known, _ in queue.puts):
            self._expect(req, ProducerExpired.code)
            client.producers.pop(name, None)
        else:
            first = queue.proposed_next
            op = self.model.put(queue, bodies, priority, ttl_ms, delay_ms)
            queue.puts[producer, seq] = op
            self._expect(req, op=op, first=first, count=len(bodies))

    # Taking

    def get(self, client: Client, name: str, most: int, wait_ms: int, lease_ms: int) -> None:
        auto = name.startswith("auto")
        fields = {"timeout_ms": wait_ms, "lease_ms": lease_ms, "auto_ack": auto}
        req = self.send(client, "get", queue=name, max=most, **fields)
        if req is None:
            return
        queue = self.model.require_queue(name)
        session = self.model.sessions[client.peer]
        ends_at = self.rig.now + wait_ms
        self.gets[req] = WaitingGet(queue, session, most, lease_ms, ends_at)

        def judge(sent: Sent) -> None:
            assert sent["error"] == "queue_deleted"
            del self.gets[req]

        self.judges[req] = judge

    def consume(
        self, client: Client, name: str, number: int, credit: int, lease_ms: int, concurrency: int
    ) -> None:
        auto = name.startswith("auto")
        fields = {"credit": credit, "lease_ms": lease_ms, "concurrency": concurrency}
        req = self.send(client, "consume", queue=name, consumer=number, auto_ack=auto, **fields)
        if req is None:
            return
        session = self.model.sessions[client.peer]
        queue = self.model.require_queue(name)
        if number in session.consumers:
            self.judges[req] = lambda sent: _require(sent["error"] == "consumer_exists")
            return
        session.consumers[number] = Consumer(queue, number, credit, lease_ms, concurrency)
        self._expect(req)

    def credit(self, client: Client, number: int, messages: int) -> None:
        req = self.send(client, "credit", consumer=number, messages=messages)
        if req is None:
            return
        consumer = self.model.sessions[client.peer].consumers.get(number)
        if consumer is None:
            self._expect(req, ConsumerNotFound.code)
        else:
            consumer.credit += messages
            self._expect(req)

    def cancel(self, client: Client, number: int) -> None:
        req = self.send(client, "cancel", consumer=number)
        if req is None:
            return
        consumer = self.model.sessions[client.peer].consumers.pop(number, None)
        self._expect(req, ConsumerNotFound.code if consumer is None else None)

    def consumers_of(self, client: Client, name: str) -> list[int]:
        session = self.model.sessions.get(client.peer)
        consumers = session.consumers if session else {}
        return [number for number, c in consumers.items() if c.queue.name == name]

    # Settling

    def settle(
        self, client: Client, cmd: str, memory: Memory, ranges: list[Range], **fields: Any
    ) -> None:
        """``cmd`` is ack, nack, reject or extend."""
        if self._is_unforeseeable(memory, ranges):
            return
        req = self.send(client, cmd, queue=memory.queue, tag=memory.tag, ranges=ranges, **fields)
        if req is None:
            return
        session = self.model.sessions[client.peer]
        number = fields.get("consumer")
        if number in session.consumers and "credit" in fields:
            session.consumers[number].credit += fields["credit"]
        valid, lost = self._split(session, memory, ranges)
        if cmd == "extend":
            self._extended(req, session, memory, valid, lost, fields)
            return
        ops: list[Op] = []
        if valid and cmd == "nack":
            ops = self.model.give_back(valid, fields["charge"], fields["delay_ms"])
        elif valid:
            ops = [self.model.settle(memory.model, valid)]
        op = ops[-1] if ops else None
        if lost:
            self._expect_lost(req, lost, op)
        else:
            self._expect(req, op=op, count=len(valid))

    def _is_unforeseeable(self, memory: Memory, ranges: list[Range]) -> bool:
        """A message whose time is over and that an old tag names may be there or gone."""
        messages = memory.model.messages
        named = {p for first, count, _ in ranges for p in range(first, first + count)}
        return any(
            m.holding is None and m.is_expired(self.rig.now)
            for p in named
            if (m := messages.get(p)) is not None
        )

    def _split(
        self, session: Session, memory: Memory, ranges: list[Range]
    ) -> tuple[list[Message], list[tuple[int, int]]]:
        """(what the session may settle, the positions and attempts that it may not)"""
        valid: list[Message] = []
        lost: list[tuple[int, int]] = []
        queue = memory.model
        exists = self.model.queues.get(memory.queue) is queue
        is_old = decode_tag(memory.tag).epoch < self.rig.machine(memory.queue).log.epoch
        taken: set[int] = set()
        for first, count, attempts in ranges:
            for position in range(first, first + count):
                message = queue.messages.get(position) if exists else None
                if message is None or message.attempts != attempts or position in taken:
                    ok = False
                elif message.holding is not None:
                    ok = message.holding.session is session
                else:
                    waits = message.is_waiting and not queue.purging
                    former = message.returned_by
                    is_own = former is not None and former.id == session.resumes != b""
                    # Nobody can have been given what is not due yet.
                    waits = waits and message.due_at <= self.rig.now
                    ok = waits and (is_own or (is_old and not message.touched))
                if ok and message is not None:
                    taken.add(position)
                    valid.append(message)
                else:
                    lost.append((position, attempts))
        return valid, lost

    def _expect_lost(self, req: int, lost: list[tuple[int, int]], op: Op | None) -> None:
        def judge(sent: Sent) -> None:
            assert sent.code == LeaseLost.code, sent
            assert op is None or op.done
            assert _positions(sent["lost"]) == sorted(lost)

        self.judges[req] = judge

    def _extended(
        self,
        req: int,
        session: Session,
        memory: Memory,
        valid: list[Message],
        lost: list[tuple[int, int]],
        fields: dict[str, Any],
    ) -> None:
        orders = {m.position: m.holding.order for m in valid if m.holding}
        consumers = {m.position: m.holding.consumer for m in valid if m.holding}
        self.model.deliver(memory.model, valid, session, None, fields["lease_ms"])
        for message in valid:
            assert message.holding is not None
            message.holding.order = orders.get(message.position, message.holding.order)
            message.holding.consumer = consumers.get(message.position)
        held = sorted((m.position, m.attempts) for m in valid)

        def judge(sent: Sent) -> None:
            assert sent.re == "ok", sent
            assert _positions(sent["held"]) == held
            assert _positions(sent["lost"]) == sorted(lost)

        self.judges[req] = judge

    # Whole queues

    def purge(self, client: Client, name: str) -> None:
        req = self.send(client, "purge", queue=name)
        queue = self.model.queues.get(name)
        if req is None:
            return
        if queue is None:
            self._expect(req, QueueNotFound.code)
            return
        op, gone = self.model.purge(queue)
        sure = sum(1 for m in gone if not m.is_expired(self.rig.now))

        def judge(sent: Sent) -> None:
            assert sent.re == "ok", sent
            assert op.done
            assert queue.auto_ack or sent["count"] >= sure

        self.judges[req] = judge

    def delete(self, client: Client, name: str) -> None:
        req = self.send(client, "delete", queue=name, if_empty=False)
        queue = self.model.queues.get(name)
        if req is None:
            return
        if queue is None:
            self._expect(req, QueueNotFound.code)
        else:
            self._expect(req, op=self.model.delete(queue))

    def drain(self) -> None:
        """Takes and acknowledges all there is: every message comes once, in order."""
        client = self.clients[0]
        self.connect(client)
        self.quiet()
        for name in list(self.model.queues):
            self.purge(client, name) if name.startswith("auto") else self._drain(client, name)
        self.quiet()
        assert not any(queue.messages for queue in self.model.queues.values())

    def _drain(self, client: Client, name: str) -> None:
        queue = self.model.queues[name]
        while queue.messages:
            self.get(client, name, 7, 0, 60 * STEP_MS)
            self.quiet()
            for memory in client.memory:
                ranges = [(memory.first, memory.count, memory.attempts)]
                self.settle(client, "ack", memory, ranges)
            client.memory.clear()
            self.pass_time(1)


def _positions(ranges: list[list[int]]) -> list[tuple[int, int]]:
    return sorted((p, n) for first, count, n in ranges for p in range(first, first + count))


def _require(fact: bool) -> None:
    assert fact
