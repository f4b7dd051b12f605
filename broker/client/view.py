"""What can be read of a delivered message and of a batch of them, without asking anybody.

Owns the lazy decoding of bodies.  It never settles: the sync and async faces do.
"""

from __future__ import annotations

from typing import Any

from broker.client.content import BYTES, Header, decode_body
from broker.client.delivery import HELD, LOST, Part, Run
from broker.client.put_batch import MessageId


class MessageView:
    """One delivered message.  Its body is decoded when it is first looked at."""

    __slots__ = ("_decoded", "_index", "_run")

    def __init__(self, run: Run, index: int) -> None:
        self._run = run
        self._index = index

    @property
    def body(self) -> Any:
        """The body as its content type says; raises CannotDecode, and ``raw`` is still there."""
        content_type = self._run.content_type
        if content_type is None:
            return self.raw
        try:
            return self._decoded
        except AttributeError:
            self._decoded: Any = decode_body(self.raw, content_type)
            return self._decoded

    @property
    def raw(self) -> bytes:
        """The body's bytes as they were put."""
        run = self._run
        element = run.elements[run.offset + self._index]
        raw: bytes = element if element.__class__ is bytes else element[0]
        return raw

    @property
    def headers(self) -> dict[str, Header]:
        element = self._run.elements[self._run.offset + self._index]
        return {} if element.__class__ is bytes else element[1]

    @property
    def content_type(self) -> str:
        return self._run.content_type or BYTES

    @property
    def type(self) -> str | None:
        return self._run.type

    @property
    def id(self) -> MessageId:
        """The application's id, or ``queue:position``, which the put's confirm told, too."""
        run = self._run
        given = run.ids[run.offset + self._index] if run.ids is not None else None
        return given if given is not None else f"{self.queue}:{self.position}"

    @property
    def queue(self) -> str:
        return self._run.ledger.queue

    @property
    def position(self) -> int:
        """Its number in the queue, given when it was put."""
        return self._run.first + self._index

    @property
    def attempts(self) -> int:
        """How often it was tried before this delivery."""
        return self._run.attempts

    @property
    def priority(self) -> int:
        return self._run.priority

    @property
    def put_at(self) -> float | None:
        """When it was put, in seconds since the Unix epoch."""
        return None if self._run.put_at is None else self._run.put_at / 1000

    @property
    def is_held(self) -> bool:
        """True until it is settled here, or known to be lost."""
        return self._run.marks[self._index] == HELD

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r} attempts={self.attempts}>"


class BatchView:
    """Messages that were delivered together, in order."""

    __slots__ = ("_parts",)

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(stop - start for _, start, stop in self._parts)

    @property
    def bodies(self) -> list[Any]:
        """All bodies, decoded as their content types say."""
        bodies: list[Any] = []
        for run, start, stop in self._parts:
            elements = run.elements[run.offset + start : run.offset + stop]
            if run.content_type is None and set(map(type, elements)) == {bytes}:
                bodies += elements
            else:
                bodies += [MessageView(run, index).body for index in range(start, stop)]
        return bodies

    @property
    def queue(self) -> str:
        return self._parts[0][0].ledger.queue

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} messages of {self.queue!r}>"


def without_lost(parts: list[Part]) -> list[Part]:
    """``parts`` without what a reconnect gave to somebody else."""
    kept: list[Part] = []
    for run, start, stop in parts:
        if run.marks.find(LOST, start, stop) < 0:
            kept.append((run, start, stop))
            continue
        for first, count, _ in run.held(start, stop):
            kept.append((run, first - run.first, first - run.first + count))
    return kept
