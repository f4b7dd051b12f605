"""The messages of one queue of the scripted broker, one Python object each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any


@dataclass
class ScriptedMessage:
    element: Any
    priority: int
    fields: dict[str, Any]
    id: Any = None
    attempts: int = 0
    holder: bytes | None = None


class ScriptedQueue:
    def __init__(self, name: str) -> None:
        self.name = name
        self.settings: dict[str, Any] = {}
        self.messages: dict[int, ScriptedMessage] = {}
        self.rejected: list[int] = []
        self._next = 0
        self._sequences: dict[bytes, set[int]] = {}

    @property
    def ready_count(self) -> int:
        return sum(message.holder is None for message in self.messages.values())

    @property
    def bodies(self) -> list[Any]:
        """All bodies that are kept, in order."""
        return [message.element for _, message in sorted(self.messages.items())]

    def known(self, producer: bytes, seq: int) -> bool | None:
        """True for a batch that was put before; None when the producer is not known."""
        if producer not in self._sequences and seq > 0:
            return None
        sequences = self._sequences.setdefault(producer, set())
        if seq in sequences:
            return True
        sequences.add(seq)
        return False

    def highest(self, producer: bytes) -> int:
        """Makes the producer known; -1 where nothing of it was put."""
        return max(self._sequences.setdefault(producer, set()), default=-1)

    def put(self, elements: list[Any], header: dict[str, Any], ids: list[Any] | None = None) -> int:
        first = self._next
        fields: dict[str, Any] = {
            name: header[name] for name in ("content_type", "type", "priority") if name in header
        }
        for index, element in enumerate(elements):
            message_id = ids[index] if ids else None
            priority = header.get("priority", 4)
            self.messages[self._next] = ScriptedMessage(element, priority, fields, message_id)
            self._next += 1
        return first

    def take(self, count: int, session: bytes, auto_ack: bool) -> list[int]:
        ready = [p for p, message in self.messages.items() if message.holder is None]
        ready.sort(key=lambda p: (-self.messages[p].priority, p))
        taken = ready[:count]
        for position in taken:
            self.messages[position].holder = session
        if auto_ack:
            self._gone = {p: self.messages.pop(p) for p in taken}
        else:
            self._gone = {}
        return taken

    def delivery(self, taken: list[int]) -> tuple[list[dict[str, Any]], list[Any], list[Any]]:
        """Runs, elements and ids of positions just taken."""
        found = {p: self._gone.get(p) or self.messages[p] for p in taken}

        def key(numbered: tuple[int, int]) -> Any:
            index, position = numbered
            return position - index, found[position].attempts, id(found[position].fields)

        runs = []
        for _, group in groupby(enumerate(taken), key):
            positions = [position for _, position in group]
            message = found[positions[0]]
            runs.append(
                {
                    "first": positions[0],
                    "count": len(positions),
                    "attempts": message.attempts,
                    "put_at": 1_700_000_000_000,
                    **message.fields,
                }
            )
        elements = [found[p].element for p in taken]
        return runs, elements, [found[p].id for p in taken]

    def settle(
        self, command: str, ranges: list[list[int]], session: bytes, charge: bool
    ) -> list[int]:
        """Carries out what it can; gives the positions that were not held."""
        lost = []
        for position, attempts in positions_of(ranges):
            message = self.messages.get(position)
            if message is None or message.holder != session or message.attempts != attempts:
                lost.append(position)
            elif command == "nack":
                message.holder = None
                message.attempts += charge
            else:
                del self.messages[position]
                if command == "reject":
                    self.rejected.append(position)
        return lost

    def extend(self, ranges: list[list[int]], session: bytes) -> tuple[list[int], list[int]]:
        held, lost = [], []
        for position, attempts in positions_of(ranges):
            message = self.messages.get(position)
            if (
                message is not None
                and message.attempts == attempts
                and message.holder in (None, session)
            ):
                message.holder = session
                held.append(position)
            else:
                lost.append(position)
        return held, lost

    def held_by(self, session: bytes) -> list[int]:
        return [p for p, message in self.messages.items() if message.holder == session]

    def give_back_all(self, session: bytes) -> None:
        for message in self.messages.values():
            if message.holder == session:
                message.holder = None

    def purge(self) -> int:
        ready = [p for p, message in self.messages.items() if message.holder is None]
        for position in ready:
            del self.messages[position]
        return len(ready)


def positions_of(ranges: list[list[int]]) -> list[tuple[int, int]]:
    return [
        (position, rest[0] if rest else 0)
        for first, count, *rest in ranges
        for position in range(first, first + count)
    ]


def ranges_of(positions: list[int]) -> list[list[int]]:
    return [[position, 1] for position in positions]
