"""A session without a socket that speaks to several brokers: the test is each of them.

Owns the map as the brokers tell it: ``a`` owns the queue Q, ``b`` owns OTHER, ``c`` owns none.
"""

from __future__ import annotations

from typing import Any

from broker.client.line import Line
from broker.client.session import Session, SessionOptions
from broker.model.slots import slot_of
from tests.client.rig import Rig, Sent

SLOTS = 2
CLUSTER = "shop"
#: Of two slots.
Q, OTHER = "q", "mail"


class ClusterRig(Rig):
    """Connected to broker ``a`` and the map asked for, not yet told."""

    def __init__(self, **options: Any) -> None:
        self.now = 1_000
        self.owners = [""] * SLOTS
        self.owners[slot_of(Q, SLOTS)], self.owners[slot_of(OTHER, SLOTS)] = "a", "b"
        self.epochs = [1] * SLOTS
        self.alive = ["a", "b", "c"]
        options.setdefault("addresses", ["tcp://first:1"])
        options.setdefault("batch_count", 1)
        self.session = Session(SessionOptions(**options), lambda count: b"\x07" * count)
        self.session.tick(self.now)
        self.open("a", self.line)

    def open(self, broker: str, line: Line) -> None:
        """Answers the hello on ``line`` as ``broker`` does."""
        hello = self.only("hello", line)
        session = b"session at " + broker.encode()
        self.reply(
            hello,
            re="welcome",
            session=session,
            timeout_ms=15_000,
            limits={},
            broker=broker,
            cluster=CLUSTER,
            slots=SLOTS,
        )

    def tell_map(self) -> None:
        """Answers the newest question for the map, wherever it was asked."""
        (question,) = [sent for line in self.session.lines for sent in self._maps(line)]
        self.answer_map(question)

    def answer_map(self, question: Sent) -> None:
        self.reply(
            question,
            cluster=CLUSTER,
            slots=SLOTS,
            brokers={broker: [f"tcp://{broker}:1"] for broker in self.alive},
            owners=self.owners,
            epochs=self.epochs,
        )

    def _maps(self, line: Line) -> list[Sent]:
        outgoing = line.exchange.outgoing
        sent = [(frames, Sent(frames, line)) for frames in outgoing]
        outgoing.clear()
        outgoing.extend(frames for frames, each in sent if each.cmd != "map")
        return [each for _, each in sent if each.cmd == "map"]

    def move(self, queue: str, broker: str) -> None:
        """The queue has a new owner, in a new epoch."""
        slot = slot_of(queue, SLOTS)
        self.owners[slot] = broker
        self.epochs[slot] += 1

    def line_to(self, broker: str) -> Line:
        """The line that goes to ``broker``; there must be one."""
        (found, *_) = [line for line in self.session.lines[::-1] if line.serves(broker)]
        return found

    def connect(self, broker: str) -> Line:
        """Lets the line to ``broker`` connect and opens it."""
        line = self.line_to(broker)
        self.after(0)
        self.open(broker, line)
        return line

    def at(self, broker: str, cmd: str | None = None) -> list[Sent]:
        """What went to ``broker`` since the last look, the questions for the map left out."""
        line = self.line_to(broker)
        sent = [each for each in self.sent(None, line) if each.cmd not in ("map", "ping")]
        assert cmd is None or all(each.cmd == cmd for each in sent), sent
        return sent

    def lose_line(self, line: Line) -> None:
        self.session.line_lost(line, self.now, "cut")

    def tag(self) -> bytes:
        """Of a delivery of Q by its present owner."""
        slot = slot_of(Q, SLOTS)
        return slot.to_bytes(2, "big") + self.epochs[slot].to_bytes(8, "big") + b"u" * 16


def connected() -> ClusterRig:
    """Speaks to ``a``, which owns q, and to ``b``, which owns the other queue."""
    rig = ClusterRig()
    rig.tell_map()
    rig.put(b"0", queue=OTHER)
    rig.connect("b")
    confirm(rig, *rig.at("b"))
    rig.after(3_000)
    return rig


def confirm(rig: ClusterRig, *puts: Sent) -> None:
    for put in puts:
        rig.reply(put, first=put["seq"], count=put["count"], copies=3)


def taken_over_by(rig: ClusterRig, broker: str) -> None:
    """Broker ``a``, which the client came to first, is gone; ``broker`` has its slot."""
    rig.move(Q, broker)
    rig.alive.remove("a")
    rig.lose_line(rig.session.lines[0])
    rig.after(0)
    rig.tell_map()


def told(sent: list[Sent], *fields: str) -> list[tuple[Any, ...]]:
    return [(each.cmd, *(each.header.get(field) for field in fields)) for each in sent]
