"""A simulated consumer: takes under credit, works for a while, settles, now and then badly.

Law: a delivery of an older epoch than the highest seen of its slot is dropped unread; what is held
is settled once, and a settle with no answer is sent again as it was.
"""

from __future__ import annotations

from random import Random
from typing import Any

import msgpack

from broker.core.books.tags import decode_tag
from broker.errors import ConsumerExists, LeaseLost, ProducerExpired
from broker.testing.client import Clients, Header, SimulatedClient
from broker.testing.history import Kind
from broker.testing.network import Frames
from broker.testing.schedule import MS, SECOND

LEASE_MS = 8_000
CREDIT = 8
_FORGOTTEN, _OVERSLEPT, _NACKED = 0.01, 0.01, 0.04
#: Of the messages of a queue with a dead-letter queue.
_REJECTED = 0.1
#: Settled by transactions that put the same messages to the other queue.
STEPS = {"step": "done"}
#: Left to others until the second phase.
_LEFT_ALONE = frozenset({"dead"})


_SETTLED = {
    "ack": Kind.ACKED,
    "nack": Kind.NACKED,
    "reject": Kind.REJECTED,
    "transact": Kind.ACKED,
}


class _Run:
    """Consecutive positions of one delivery."""

    __slots__ = ("attempts", "epoch", "first", "ids", "queue", "slot", "tag")

    def __init__(self, queue: str, tag: bytes, fields: dict[str, Any], ids: list[str]) -> None:
        self.queue = queue
        self.tag = tag
        self.slot, self.epoch, _ = decode_tag(tag)
        self.first: int = fields["first"]
        self.attempts: int = fields.get("attempts", 0)
        self.ids = ids


class _Settle:
    """``ack``, ``nack``, ``reject`` or ``transact`` of the runs of one delivery, which came in the
    ``session``-th session; ``fields`` are those of its kind."""

    __slots__ = ("cmd", "fields", "runs", "session", "waits")

    def __init__(self, cmd: str, runs: list[_Run], session: int, fields: dict[str, Any]) -> None:
        self.cmd = cmd
        self.runs = runs
        self.session = session
        self.fields = fields
        #: True while it has no answer on this connection.
        self.waits = False

    @property
    def messages(self) -> int:
        return sum(len(run.ids) for run in self.runs)

    @property
    def ranges(self) -> list[list[int]]:
        return [[run.first, len(run.ids), run.attempts] for run in self.runs]


class Consumer(SimulatedClient):
    def __init__(self, name: str, clients: Clients, random: Random, queues: list[str]) -> None:
        super().__init__(name, clients, random)
        self._queues = queues
        #: slot -> the highest epoch seen
        self._epochs: dict[int, int] = {}
        self._unconfirmed: list[_Settle] = []
        self._sessions = 0
        #: Transactions have sequences of their own; a producer that expired gives way to a new one.
        self._transactions = 0
        self._producers = 1
        #: True in the second phase: everything is acknowledged at once.
        self.eager = False
        clients.on_declared.append(self._consume_declared)

    @property
    def unanswered(self) -> int:
        return len(self._unconfirmed)

    # Consuming

    def in_session(self) -> None:
        self._sessions += 1
        for queue in self._queues:
            self._consume_declared(queue)
        for settle in self._unconfirmed:
            self._send(settle)

    def become_eager(self) -> None:
        self.eager = True
        for queue in _LEFT_ALONE:
            self._consume_declared(queue)

    def _consume_declared(self, queue: str) -> None:
        """Consumes a queue that is there, when it is this client's to take from."""
        is_mine = queue in self._queues and (self.eager or queue not in _LEFT_ALONE)
        if self.has_session and is_mine and queue in self.clients.declared:
            self._consume(self._queues.index(queue))

    def _consume(self, number: int) -> None:
        fields = {"queue": self._queues[number], "consumer": number, "credit": CREDIT}
        self.ask(
            lambda header: self._consumed(number, header), "consume", lease_ms=LEASE_MS, **fields
        )

    def _consumed(self, number: int, header: Header) -> None:
        if header["re"] == "ok":
            return
        # It may exist still where its end is not known yet.
        if header["code"] == ConsumerExists.code or self.require_retryable(header):
            self._later(self._consume_again, number, self._sessions)

    def _consume_again(self, number: int, session: int) -> None:
        if self.has_session and session == self._sessions:
            self._consume(number)

    def _later(self, action: Any, *args: Any) -> None:
        delay_us = int((50 + 300 * self.random.random()) * MS)
        self.schedule.after(delay_us, f"{self.name} tries again", action, *args)

    # Deliveries

    def delivered(self, header: Header, frames: Frames) -> None:
        tag, queue = header["tag"], header["queue"]
        slot, epoch, _ = decode_tag(tag)
        if epoch < self._epochs.get(slot, 0):
            self._give_credit(queue, sum(fields["count"] for fields in header["runs"]))
            return
        self._epochs[slot] = epoch
        bodies = iter(msgpack.unpackb(frames[-1]))
        runs = []
        for fields in header["runs"]:
            ids = [next(bodies).decode() for _ in range(fields["count"])]
            runs.append(_Run(queue, tag, fields, ids))
        for run in runs:
            self._record(Kind.DELIVERED, run, run.ids)
        self._work(runs)

    def _give_credit(self, queue: str, count: int) -> None:
        self.send("credit", consumer=self._queues.index(queue), messages=count)

    def _work(self, runs: list[_Run]) -> None:
        chance, delay_us = self.random.random(), MS
        if self.eager:
            chance = 1.0
        else:
            delay_us += int(60 * MS * self.random.random() ** 3)
        if chance < _FORGOTTEN:
            self._give_credit(runs[0].queue, sum(len(run.ids) for run in runs))
            return
        if chance < _FORGOTTEN + _OVERSLEPT:
            delay_us += LEASE_MS * MS + SECOND
        cmd = self._verdict(runs[0].queue, chance)
        label = f"{self.name} has worked"
        self.schedule.after(delay_us, label, self._settle, cmd, runs, self._sessions)

    def _verdict(self, queue: str, chance: float) -> str:
        if chance < _FORGOTTEN + _OVERSLEPT + _NACKED:
            return "nack"
        if queue == "work" and not self.eager and self.random.random() < _REJECTED:
            return "reject"
        return "transact" if queue in STEPS else "ack"

    # Settles

    def _settle(self, cmd: str, runs: list[_Run], session: int) -> None:
        fields: dict[str, Any] = {}
        if cmd == "nack":
            fields = {"delay_ms": int(self.random.random() * 300)}
        elif cmd == "transact":
            fields = {"producer": self._transactor, "seq": self._transactions}
            self._transactions += 1
        settle = _Settle(cmd, runs, session, fields)
        self._unconfirmed.append(settle)
        for run in runs:
            if cmd == "transact":
                self.clients.history.record(STEPS[run.queue], Kind.PUT, self.name, run.ids)
            elif cmd == "ack":
                self.clients.history.record(run.queue, Kind.SETTLING, self.name, run.ids)
        if self.has_session:
            self._send(settle)

    def _send(self, settle: _Settle) -> None:
        """Credit goes back to the session that used it up: a new one began with all of it."""
        settle.waits = True
        if settle.cmd == "transact":
            self._transact(settle)
            return
        queue = settle.runs[0].queue
        fields = dict(settle.fields)
        if settle.session == self._sessions:
            fields |= {"consumer": self._queues.index(queue), "credit": settle.messages}
        self.ask(
            lambda header: self._answered(settle, header),
            settle.cmd,
            queue=queue,
            tag=settle.runs[0].tag,
            ranges=settle.ranges,
            **fields,
        )

    @property
    def _transactor(self) -> bytes:
        return f"{self.name}-{self._producers}".encode()

    def _transact(self, settle: _Settle) -> None:
        run = settle.runs[0]
        bodies = [message.encode() for each in settle.runs for message in each.ids]
        puts = [{"queue": STEPS[run.queue], "count": len(bodies)}]
        settles = [{"queue": run.queue, "tag": run.tag, "ranges": settle.ranges}]
        self.ask(
            lambda header: self._answered(settle, header),
            "transact",
            msgpack.packb([[b"", msgpack.packb(bodies)]]),
            settles=settles,
            puts=puts,
            **settle.fields,
        )
        if settle.session == self._sessions:
            self._give_credit(run.queue, settle.messages)
            settle.session = 0

    def _answered(self, settle: _Settle, header: Header) -> None:
        settle.waits = False
        lost: set[int] = set()
        if header["re"] == "failed":
            code = header["code"]
            if code == ProducerExpired.code and settle.fields.get("producer") == self._transactor:
                # It was refused, and so would be those behind it.
                self._producers += 1
                self._transactions = 0
            elif code not in (LeaseLost.code, ProducerExpired.code):
                if self.require_retryable(header):
                    self._later(self._send_again, settle)
                return
            for run in settle.runs:
                lost.update(range(run.first, run.first + len(run.ids)))
            if "lost" in header:
                named = [range(first, first + count) for first, count, *_ in header["lost"]]
                lost = {position for each in named for position in each}
        self._unconfirmed.remove(settle)
        for run in settle.runs:
            ids = [m for position, m in enumerate(run.ids, run.first) if position not in lost]
            self._record(_SETTLED[settle.cmd], run, ids)
            if settle.cmd == "transact":
                self.clients.history.record(STEPS[run.queue], Kind.CONFIRMED, self.name, ids)

    def _send_again(self, settle: _Settle) -> None:
        if self.has_session and not settle.waits and settle in self._unconfirmed:
            self._send(settle)

    def _record(self, kind: Kind, run: _Run, ids: list[str]) -> None:
        if not ids:
            return
        positions = range(run.first, run.first + len(ids)) if kind is Kind.DELIVERED else ()
        attempts = [run.attempts] * len(ids)
        self.clients.history.record(
            run.queue, kind, self.name, ids, list(positions), attempts, run.epoch
        )
