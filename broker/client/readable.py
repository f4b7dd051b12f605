"""What can be read of a message, of whatever kind, without asking anybody.

Owns the lazy decoding of bodies.  It never settles anything.
"""

from __future__ import annotations

from typing import Any, Protocol

from broker.client.content import BYTES, Header, decode_body
from broker.client.put_batch import MessageId
from broker.client.stretch import Death, Stretch


class Carrier(Protocol):
    """What messages stand in: elements of which ``elements[offset]`` is the first of its own."""

    elements: list[Any]
    offset: int
    content_type: str | None
    type: str | None


class Readable:
    """One message.  Its body is decoded when it is first looked at."""

    __slots__ = ("_decoded", "_index", "_run")

    def __init__(self, run: Carrier, index: int) -> None:
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
        """Those that came with it."""
        run = self._run
        element = run.elements[run.offset + self._index]
        return {} if element.__class__ is bytes else element[1]

    @property
    def content_type(self) -> str:
        return self._run.content_type or BYTES

    @property
    def type(self) -> str | None:
        return self._run.type


class ReadableMessage(Readable):
    """One message of a queue, delivered or only looked at."""

    __slots__ = ()

    _run: Stretch

    @property
    def headers(self) -> dict[str, Header]:
        """Those it was put with; of a dead letter ``x-death-*`` besides."""
        headers = super().headers
        death = self._run.death
        return headers if death is None else {**headers, **death.headers()}

    @property
    def id(self) -> MessageId:
        """The application's id, or ``queue:position``, which the put's confirm told, too."""
        given: MessageId | None = self._run.column("ids", self._index)
        return given if given is not None else f"{self.queue}:{self.position}"

    @property
    def queue(self) -> str:
        return self._run.queue

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
    def key(self) -> str | bytes | None:
        """The key that it was put with, where the queue orders by key or is partitioned."""
        key: str | bytes | None = self._run.column("keys", self._index)
        return self._run.key if key is None else key

    @property
    def death(self) -> Death | None:
        """Why a dead letter is one; None for any other message."""
        return self._run.death

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r} attempts={self.attempts}>"
