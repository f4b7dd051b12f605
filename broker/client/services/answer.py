"""What a caller gets, and what a handler may give back.

Owns the views of one reply.  It never decodes a body before somebody looks at it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from broker.client.content import Header, Headers, decode_body
from broker.errors import MsgQueueError


class Result(NamedTuple):
    """What a handler returns when its body alone does not say enough."""

    body: Any
    content_type: str | None = None
    type: str | None = None
    headers: Headers | None = None


class Answer:
    """One reply, or one part of one.

    ``worker`` numbers the workers that a scattered call has asked, from 0; None for other calls.
    ``error`` is set where that worker failed; ``body`` raises it then.
    """

    __slots__ = ("_body", "_is_read", "content_type", "error", "headers", "raw", "type", "worker")

    def __init__(
        self, header: dict[str, Any], raw: bytes, error: MsgQueueError | None = None
    ) -> None:
        self.raw = raw
        self.content_type: str | None = header.get("content_type")
        self.type: str | None = header.get("type")
        self.headers: dict[str, Header] = header.get("headers") or {}
        self.worker: int | None = header.get("worker")
        self.error = error
        self._body: Any = None
        self._is_read = False

    @property
    def body(self) -> Any:
        """Decoded by its content type; raises CannotDecode, or the worker's error."""
        if self.error is not None:
            raise self.error
        if not self._is_read:
            self._body = decode_body(self.raw, self.content_type)
            self._is_read = True
        return self._body

    def __repr__(self) -> str:
        told = self.error.name if self.error is not None else f"{len(self.raw)} bytes"
        return f"<Answer {self.type or ''} {told}>"
