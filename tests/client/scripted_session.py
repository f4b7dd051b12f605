"""What the scripted broker knows of one connected client."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class ScriptedConsumer:
    number: int
    queue: str
    credit: int
    auto_ack: bool


@dataclass
class ScriptedSession:
    id: bytes
    peer: bytes
    consumers: dict[int, ScriptedConsumer] = field(default_factory=dict)
