"""The clients of the model: what each consumes, waits for and may settle."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.node.settings_model import Message, QueueFacts

STEP_MS = 1_000
NAMES = ("a", "b", "c")
OPERATOR = b"\0oper"


@dataclass(eq=False)
class Taker:
    """A consumer, or a get that waits."""

    peer: bytes
    queue: QueueFacts
    number: int | None
    credit: int
    lease_ms: int | None
    auto_ack: bool
    kind: str | None
    ends_at: int = 0

    def wants(self, message: Message) -> bool:
        return self.kind is None or self.kind == message.kind


@dataclass(eq=False)
class Memory:
    """A delivery that a client may settle at any later time."""

    queue: str
    uuid: bytes
    tag: bytes
    #: (position, attempts)
    parts: list[tuple[int, int]]


@dataclass(eq=False)
class Client:
    number: int
    peer: bytes = b""
    connects: int = 0
    session: bytes | None = None
    memory: list[Memory] = field(default_factory=list)
    #: Two at most; a number is never used again.
    consumers: dict[int, Taker] = field(default_factory=dict)
    consumed: int = 0
    transactions: int = 0
